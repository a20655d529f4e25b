/**
 * What a power cut may leave. Everything that was not synced is a *unit*: a sector of 512 or 4096 bytes, a
 * file's size, a change of a name. Each has a fate of its own.
 */
import { SECTOR_BYTES } from '../disk.ts'
import { BLOCK_BYTES, Inode, SECTORS_PER_BLOCK, type Version, ZEROS } from './inode.ts'

/** Decides what survives a power cut: true, and the newer state does. */
export type Survival = () => boolean

/**
 * `old`: as it was before; `new`: as it was written last; `between`: as an earlier one of several unsynced
 * writes left it; `stale`: what another file had there before. Of a rename, `both` leaves both names.
 */
export type Fate = 'old' | 'new' | 'zeros' | 'garbage' | 'between' | 'stale' | 'both'

/** What a power cut leaves of a sector that was written and not synced. */
export type SectorFate = Exclude<Fate, 'both'>

/** What a device writes whole or not at all. */
export type SectorBytes = 512 | 4096

/** Decides all that a power cut leaves open. */
export interface Outcome {
  /** Of names and of sizes. */
  readonly survives: Survival
  /** Asked once for each unsynced sector, in the order of the files and then of the writes. */
  readonly fate: () => SectorFate
  /** The byte that a sector of fate `garbage` has at the next place; 0 to 255. */
  readonly garbage: () => number
  /** What the device writes at once: 512 or 4096; 512 unless told. */
  readonly sectorBytes?: SectorBytes
}

/** A name that was made, removed or changed. */
export interface NameChange {
  /** The name. */
  readonly name: string
  /** Of a rename. */
  readonly oldName?: string
  /** What it names now; undefined: it is removed. */
  readonly inode: Inode | undefined
}

/** Something that is unsynced, and survives a power cut or not. */
export type Unit =
  | { readonly kind: 'name'; readonly change: NameChange }
  | { readonly kind: 'size'; readonly inode: Inode }
  | {
      readonly kind: 'sector'
      readonly inode: Inode
      readonly block: number
      /** A bit for each sector of 512 bytes that shares this fate. */
      readonly sectors: number
      /** False when it comes to the same whether it survives. */
      readonly differs: boolean
      /** Whether there is a state between the old and the new one. */
      readonly hasBetween: boolean
    }

/** The sectors and sizes of a file that a power cut leaves open. */
export function unitsOf(inode: Inode, sectorBytes: SectorBytes): Unit[] {
  const units: Unit[] = []
  if (inode.size !== inode.durableSize) units.push({ kind: 'size', inode })
  for (const [block, versions] of inode.pending) {
    const old = inode.durable[block] ?? ZEROS
    const latest = versions.at(-1)!.block
    const written = versions.reduce((bits, { sectors }) => bits | sectors, 0)
    const hasBetween = versions.length > 1
    // Zeros over zeros, of which there are many while a segment is prepared, have one fate.
    if (sectorBytes === BLOCK_BYTES || old === latest) {
      const differs = old !== latest && Buffer.compare(old, latest) !== 0
      units.push({ kind: 'sector', inode, block, sectors: written, differs, hasBetween })
      continue
    }
    for (let sector = 0; sector < SECTORS_PER_BLOCK; sector++) {
      if ((written & (1 << sector)) === 0) continue
      const differs = !sameSector(old, latest, sector)
      units.push({ kind: 'sector', inode, block, sectors: 1 << sector, differs, hasBetween })
    }
  }
  return units
}

function sameSector(a: Uint8Array, b: Uint8Array, sector: number): boolean {
  if (a === b) return true
  const at = sector * SECTOR_BYTES
  const [one, other] = [a.subarray(at, at + SECTOR_BYTES), b.subarray(at, at + SECTOR_BYTES)]
  return one[0] === other[0] && Buffer.compare(one, other) === 0
}

/** Where bytes come from that nobody wrote there. */
export interface Junk {
  readonly garbage: () => number
  /** A block that some file had, perhaps one that is gone. */
  readonly stale: () => Uint8Array
}

/** A file as the power cut leaves it. `fateOf` is asked once for each of its units. */
export function survivorOf(
  inode: Inode,
  units: readonly Unit[],
  fateOf: (unit: Unit) => Fate,
  junk: Junk,
): Inode {
  const left = new Inode()
  let size = inode.durableSize
  const durable = inode.durable.slice()
  for (const unit of units) {
    if (unit.kind === 'name' || unit.inode !== inode) continue
    const fate = fateOf(unit)
    if (unit.kind === 'size') {
      if (fate === 'new') size = inode.size
    } else if (fate !== 'old') {
      const versions = inode.pending.get(unit.block)!
      durable[unit.block] = mixed(durable[unit.block] ?? ZEROS, versions, unit.sectors, fate, junk)
    }
  }
  const blocks = Math.ceil(size / BLOCK_BYTES)
  if (durable.length > blocks) durable.length = blocks
  // What lies behind the end is gone: a file that grows again has zeros there.
  if (size % BLOCK_BYTES !== 0 && durable[blocks - 1] !== undefined) {
    durable[blocks - 1] = durable[blocks - 1].slice().fill(0, size % BLOCK_BYTES)
  }
  left.size = left.durableSize = size
  left.durable = durable
  left.visible = durable.slice()
  return left
}

/** A block with some of its sectors replaced. */
function mixed(
  block: Uint8Array,
  versions: readonly Version[],
  sectors: number,
  fate: Fate,
  junk: Junk,
): Uint8Array {
  const source = sourceOf(versions, fate, junk)
  if (source !== undefined && sectors === 2 ** SECTORS_PER_BLOCK - 1) return source
  const made = block.slice()
  for (let sector = 0; sector < SECTORS_PER_BLOCK; sector++) {
    if ((sectors & (1 << sector)) === 0) continue
    const [from, to] = [sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES]
    if (source !== undefined) made.set(source.subarray(from, to), from)
    else for (let at = from; at < to; at++) made[at] = junk.garbage()
  }
  return made
}

function sourceOf(versions: readonly Version[], fate: Fate, junk: Junk): Uint8Array | undefined {
  if (fate === 'zeros') return ZEROS
  if (fate === 'stale') return junk.stale()
  if (fate === 'garbage') return undefined
  return (fate === 'between' ? (versions.at(-2) ?? versions.at(-1)) : versions.at(-1))!.block
}

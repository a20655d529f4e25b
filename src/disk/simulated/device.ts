/**
 * A disk in memory that keeps what a device with a volatile cache may keep: bytes, sizes and names are
 * durable only once synced, and when the power is cut any subset of the rest survives. It has one
 * directory.
 */
import { SystemError } from '../../errors.ts'
import type { OpenHow } from '../disk.ts'
import {
  EEXIST,
  type Effect,
  ENOENT,
  ENOSPC,
  type Interference,
  type OperationKind,
  PowerCut,
} from './effects.ts'
import { type FailedSync, Inode, ZEROS } from './inode.ts'
import {
  type Fate,
  type Junk,
  type NameChange,
  type Outcome,
  type SectorBytes,
  type Survival,
  survivorOf,
  type Unit,
  unitsOf,
} from './power-cut.ts'

/** Blocks of files that are gone, which a new file may show where nothing was written. */
const BURIED_MAX = 64

/** What a simulated disk is made of: names and bytes, durable or not. */
export class SimulatedDevice {
  /** Asked before each operation what to do instead. */
  interference: Interference | undefined
  /** The most bytes that all files may have together; ENOSPC beyond. */
  capacityBytes = Number.POSITIVE_INFINITY
  /** What becomes of a block when the sync of its file fails; it is gone, unless told. */
  failedSync: () => FailedSync = () => 'dropped'
  /** Reads and writes go through a page cache: the file system has no direct I/O. */
  hasPageCache = false
  #operations = 0
  #writes = 0
  #off = false
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  #nameChanges: NameChange[] = []
  #buried: Uint8Array[] = []

  /** How many operations there have been. */
  get operations(): number {
    return this.#operations
  }

  /** True once the power is cut or the process killed. */
  get isOff(): boolean {
    return this.#off
  }

  /** The number of the last write. */
  get writes(): number {
    return this.#writes
  }

  /** From now on no operation completes: whoever waits for one waits for ever. */
  cutPower(): void {
    this.#off = true
  }

  // ---- what comes after -----------------------------------------------------------------------

  /** What a new start finds: a device of its own, so that the old one can be asked again. */
  afterPowerCut(outcome: Survival | Outcome): SimulatedDevice {
    this.#off = true
    const decided = typeof outcome === 'function' ? oldOrNew(outcome) : outcome
    const { survives, fate, garbage, sectorBytes = 512 } = decided
    const nameOrSize = () => (survives() ? 'new' : 'old')
    const fateOf = (unit: Unit) => (unit.kind === 'sector' ? fate() : nameOrSize())
    return this.left(this.unsynced(sectorBytes), fateOf, garbage)
  }

  /** @internal All that a power cut now would leave open: names first, then what belongs to each file. */
  unsynced(sectorBytes: SectorBytes): Unit[] {
    const units: Unit[] = this.#nameChanges.map(change => ({ kind: 'name', change }))
    for (const inode of this.#reachable()) units.push(...unitsOf(inode, sectorBytes))
    return units
  }

  /**
   * @internal The device that a power cut leaves, this one being as it is.
   * @param units of {@link unsynced}, all of them
   * @param fateOf asked once for each, in their order
   * @param garbage bytes from 0 to 255
   */
  left(
    units: readonly Unit[],
    fateOf: (unit: Unit, index: number) => Fate,
    garbage: () => number,
  ): SimulatedDevice {
    const junk: Junk = { garbage, stale: () => this.staleBlock(garbage) }
    const names = new Map(this.#durableNames)
    const ofInode = new Map<Inode, Unit[]>()
    const fates = new Map<Unit, Fate>()
    for (const [index, unit] of units.entries()) {
      const fate = fateOf(unit, index)
      if (unit.kind === 'name') changeName(names, unit.change, fate)
      else {
        fates.set(unit, fate)
        const others = ofInode.get(unit.inode)
        if (others === undefined) ofInode.set(unit.inode, [unit])
        else others.push(unit)
      }
    }
    const survivors = new Map<Inode, Inode>()
    const survivor = (inode: Inode): Inode => {
      let made = survivors.get(inode)
      if (made === undefined) {
        made = survivorOf(inode, ofInode.get(inode) ?? [], unit => fates.get(unit)!, junk)
        survivors.set(inode, made)
      }
      return made
    }
    const next = new SimulatedDevice()
    for (const [name, inode] of names) next.#names.set(name, survivor(inode))
    next.#durableNames = new Map(next.#names)
    next.#buried = this.#buried
    next.hasPageCache = this.hasPageCache
    return next
  }

  /** The process was killed: what it wrote stays in the cache, still not durable; its locks are gone. */
  afterKill(): SimulatedDevice {
    this.#off = true
    return this.snapshot()
  }

  /** This device at this moment, its own going on: for a power cut that is looked at later. */
  snapshot(): SimulatedDevice {
    const copies = new Map<Inode, Inode>()
    const copyOf = (inode: Inode): Inode => {
      const made = copies.get(inode) ?? inode.copy()
      copies.set(inode, made)
      return made
    }
    const next = new SimulatedDevice()
    for (const [name, inode] of this.#names) next.#names.set(name, copyOf(inode))
    for (const [name, inode] of this.#durableNames) next.#durableNames.set(name, copyOf(inode))
    next.#nameChanges = this.#nameChanges.map(change => ({
      ...change,
      inode: change.inode && copyOf(change.inode),
    }))
    next.#writes = this.#writes
    next.hasPageCache = this.hasPageCache
    next.#buried = this.#buried
    return next
  }

  #reachable(): Set<Inode> {
    const inodes = new Set(this.#durableNames.values())
    for (const { inode } of this.#nameChanges) if (inode !== undefined) inodes.add(inode)
    return inodes
  }

  /** @internal What some file had once, or has. @param random bytes from 0 to 255 */
  staleBlock(random: () => number): Uint8Array {
    const blocks = this.#buried
    const pick = random() * 256 + random()
    if (blocks.length > 0) return blocks[pick % blocks.length]
    const files = [...this.#names.values()]
    const visible = files[pick % files.length]?.visible ?? []
    return visible[random() % Math.max(1, visible.length)] ?? ZEROS
  }

  // ---- for tests that look or damage ----------------------------------------------------------

  /** The bytes of a file as reads see them. @throws SystemError ENOENT */
  bytesOf(name: string): Uint8Array {
    return this.#named(name, 'open').bytes()
  }

  /** All names that there are now, sorted. */
  names(): string[] {
    return [...this.#names.keys()].sort()
  }

  /**
   * Changes the medium behind everybody's back; what was not synced is as good as synced then.
   * @param change gets the bytes of the file, and changes them or returns others
   * @throws SystemError ENOENT
   */
  damage(name: string, change: (bytes: Uint8Array) => Uint8Array | undefined): void {
    const inode = this.#named(name, 'open')
    const bytes = inode.bytes()
    const { size, visible } = Inode.of(change(bytes) ?? bytes)
    inode.size = inode.durableSize = size
    inode.visible = visible
    inode.durable = visible.slice()
    inode.pending.clear()
  }

  /** Puts a file there, durable at once. */
  putFile(name: string, bytes: Uint8Array): void {
    this.#names.set(name, Inode.of(bytes))
    this.#durableNames = new Map(this.#names)
  }

  /** Takes a file away, durably at once. */
  removeFile(name: string): void {
    this.#names.delete(name)
    this.#durableNames.delete(name)
  }

  // ---- operations -----------------------------------------------------------------------------

  /**
   * @internal An operation begins.
   * @returns what is done to it
   * @throws PowerCut, or what the interference says
   */
  enter(kind: OperationKind, name: string, position = 0, length = 0): Effect | undefined {
    if (this.#off) throw new PowerCut()
    const index = this.#operations++
    const effect = this.interference?.({ kind, name, position, length, index })
    if (this.#off) throw new PowerCut()
    if (effect instanceof Error) throw effect
    return effect
  }

  /** @internal */
  open(name: string, how: OpenHow): Inode {
    const found = this.#names.get(name)
    if (found !== undefined) {
      if (how === 'createNew') throw new SystemError(EEXIST, 'openat', name)
      return found
    }
    if (how === 'read' || how === 'write') throw new SystemError(ENOENT, 'openat', name)
    const made = new Inode()
    this.#names.set(name, made)
    this.#nameChanges.push({ name, inode: made })
    return made
  }

  /** @internal */
  lookUp(name: string): Inode | undefined {
    return this.#names.get(name)
  }

  /** @internal */
  linksOf(inode: Inode): number {
    let links = 0
    for (const each of this.#names.values()) if (each === inode) links++
    return links
  }

  /** @internal */
  unlink(name: string): void {
    const inode = this.#named(name, 'unlinkat')
    this.#names.delete(name)
    this.#nameChanges.push({ name, inode: undefined })
    this.#buried = [...inode.visible.filter(block => block !== ZEROS), ...this.#buried]
    this.#buried.length = Math.min(this.#buried.length, BURIED_MAX)
  }

  /** @internal */
  rename(oldName: string, name: string): void {
    const inode = this.#named(oldName, 'renameat')
    this.#names.delete(oldName)
    this.#names.set(name, inode)
    this.#nameChanges.push({ name, oldName, inode })
  }

  /** @internal */
  syncNames(): void {
    this.#durableNames = new Map(this.#names)
    this.#nameChanges = []
  }

  /** @internal */
  write(inode: Inode, bytes: Uint8Array, position: number): void {
    const end = position + bytes.length
    if (end > inode.size && Number.isFinite(this.capacityBytes)) {
      const used = [...this.#names.values()].reduce((sum, { size }) => sum + size, 0)
      if (used - inode.size + end > this.capacityBytes) throw new SystemError(ENOSPC, 'write')
    }
    inode.write(bytes, position, ++this.#writes)
  }

  /**
   * @internal Of a range, where one is given: its bytes and the file's length.
   * @param upTo the last write that it makes durable; all, unless told
   */
  sync(inode: Inode, from = 0, length = Number.POSITIVE_INFINITY, upTo = this.#writes): void {
    inode.sync(upTo, from, length)
  }

  /** @internal */
  failSync(inode: Inode): void {
    inode.failSync(this.failedSync, this.hasPageCache)
  }

  #named(name: string, syscall: string): Inode {
    const inode = this.#names.get(name)
    if (inode === undefined) throw new SystemError(ENOENT, syscall, name)
    return inode
  }
}

function changeName(names: Map<string, Inode>, change: NameChange, fate: Fate): void {
  const { name, oldName, inode } = change
  if (fate === 'old') return
  if (oldName !== undefined && fate !== 'both') names.delete(oldName)
  if (inode === undefined) names.delete(name)
  else names.set(name, inode)
}

function oldOrNew(survives: Survival): Outcome {
  return { survives, fate: () => (survives() ? 'new' : 'old'), garbage: () => 0 }
}

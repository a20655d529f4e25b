/**
 * The bytes of one simulated file, in blocks that are never changed once they are made. So a copy of a
 * file is a copy of its list of blocks, and all blocks of zeros are one.
 *
 * A block has what is on the medium for certain (`durable`), and behind it the versions that were written
 * and not synced (`pending`), of which a power cut may leave any sector.
 */
import { SECTOR_BYTES } from '../disk.ts'

export const BLOCK_BYTES = 4096
export const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES
const ALL_SECTORS = 2 ** SECTORS_PER_BLOCK - 1

/** Nobody writes into it. */
export const ZEROS: Uint8Array = new Uint8Array(BLOCK_BYTES)

/** What one write made of a block. */
export interface Version {
  /** Of all writes of the device. */
  readonly sequence: number
  readonly block: Uint8Array
  /** A bit for each sector that was written. */
  readonly sectors: number
}

/**
 * What a failed sync makes of a block: it is on the medium all the same, it is gone, or it is still to be
 * synced.
 */
export type FailedSync = 'reached' | 'dropped' | 'kept'

export class Inode {
  /** As reads see it. */
  size = 0
  durableSize = 0
  /** What reads see; a block that is not there is full of zeros. */
  visible: Uint8Array[] = []
  durable: Uint8Array[] = []
  /** Unsynced versions of a block, oldest first, by its index; in the order of the first writes. */
  readonly pending = new Map<number, Version[]>()
  locked = false
  /** Reported by the next sync of this process, once: a write-back that failed meanwhile. */
  lateError: Error | undefined

  static of(bytes: Uint8Array): Inode {
    const inode = new Inode()
    inode.size = inode.durableSize = bytes.length
    inode.visible = blocksOf(bytes)
    inode.durable = inode.visible.slice()
    return inode
  }

  /** Reads as read(2) does; returns the number of bytes. */
  read(into: Uint8Array, position: number): number {
    const end = Math.min(position + into.length, this.size)
    for (let at = position; at < end; ) {
      const within = at % BLOCK_BYTES
      const length = Math.min(BLOCK_BYTES - within, end - at)
      const block = this.visible[(at - within) / BLOCK_BYTES] ?? ZEROS
      into.set(
        within === 0 && length === BLOCK_BYTES ? block : block.subarray(within, within + length),
        at - position,
      )
      at += length
    }
    return Math.max(0, end - position)
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.size)
    this.read(all, 0)
    return all
  }

  write(bytes: Uint8Array, position: number, sequence: number): void {
    const end = position + bytes.length
    for (let at = position; at < end; ) {
      const within = at % BLOCK_BYTES
      const length = Math.min(BLOCK_BYTES - within, end - at)
      const piece = bytes.subarray(at - position, at - position + length)
      this.#writeBlock((at - within) / BLOCK_BYTES, piece, within, sequence)
      at += length
    }
    this.size = Math.max(this.size, end)
  }

  #writeBlock(index: number, piece: Uint8Array, within: number, sequence: number): void {
    let block = ZEROS
    if (piece.length < BLOCK_BYTES) {
      block = (this.visible[index] ?? ZEROS).slice()
      block.set(piece, within)
    } else if (!isZero(piece)) block = piece.slice()
    this.visible[index] = block
    const last = within + piece.length
    const sectors = last - within === BLOCK_BYTES ? ALL_SECTORS : sectorsOf(within, last)
    const versions = this.pending.get(index)
    if (versions === undefined) this.pending.set(index, [{ sequence, block, sectors }])
    else versions.push({ sequence, block, sectors })
  }

  /**
   * Makes durable what was written up to a write, and within a range of bytes; and the size.
   * @param sequence of that write
   */
  sync(sequence: number, from = 0, length = Number.POSITIVE_INFINITY): void {
    this.durableSize = this.size
    for (const [index, versions] of this.pending) {
      const at = index * BLOCK_BYTES
      if (at + BLOCK_BYTES <= from || at >= from + length) continue
      const latest = versions.findLast(version => version.sequence <= sequence)
      if (latest === undefined) continue
      this.durable[index] = latest.block
      const rest = versions.filter(version => version.sequence > sequence)
      if (rest.length === 0) this.pending.delete(index)
      else this.pending.set(index, rest)
    }
  }

  /**
   * A sync that failed. A second one comes back good all the same, and makes nothing of this durable but
   * what is `kept` (fsyncgate).
   * @param fateOf asked for each unsynced block
   * @param isCached reads go on to see what was written, until the cache is dropped
   */
  failSync(fateOf: () => FailedSync, isCached: boolean): void {
    for (const [index, versions] of this.pending) {
      const fate = fateOf()
      if (fate === 'kept') continue
      if (fate === 'reached') this.durable[index] = versions.at(-1)!.block
      else if (!isCached) this.visible[index] = this.durable[index] ?? ZEROS
      this.pending.delete(index)
    }
  }

  /** Reads see the device again. */
  dropCache(): void {
    this.visible = this.durable.slice()
    for (const [index, versions] of this.pending) this.visible[index] = versions.at(-1)!.block
  }

  /** The same file at this moment, which what happens to this one does not change. */
  copy(): Inode {
    const copy = new Inode()
    copy.size = this.size
    copy.durableSize = this.durableSize
    copy.visible = this.visible.slice()
    copy.durable = this.durable.slice()
    for (const [index, versions] of this.pending) copy.pending.set(index, versions.slice())
    return copy
  }
}

function blocksOf(bytes: Uint8Array): Uint8Array[] {
  const blocks: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const piece = bytes.subarray(at, at + BLOCK_BYTES)
    if (isZero(piece)) blocks.push(ZEROS)
    else {
      const block = new Uint8Array(BLOCK_BYTES)
      block.set(piece)
      blocks.push(block)
    }
  }
  return blocks
}

function isZero(bytes: Uint8Array): boolean {
  // A look at a few bytes first: most blocks that are not zeros say so at once.
  if (bytes[0] !== 0 || bytes[bytes.length >> 1] !== 0) return false
  return (
    Buffer.compare(
      bytes,
      bytes.length === BLOCK_BYTES ? ZEROS : ZEROS.subarray(0, bytes.length),
    ) === 0
  )
}

function sectorsOf(from: number, to: number): number {
  let sectors = 0
  const last = Math.ceil(to / SECTOR_BYTES)
  for (let sector = Math.floor(from / SECTOR_BYTES); sector < last; sector++) sectors |= 1 << sector
  return sectors
}

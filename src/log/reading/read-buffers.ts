/** The memory that single records are read into, for all logs of a thread. */
import { allocateBuffer, HUGE_PAGE_BYTES } from '../../disk/buffer.ts'
import type { DiskBuffer } from '../../disk/disk.ts'
import { KIB } from '../../units.ts'

/** What one read needs: a part of a buffer, or all of it. */
export interface ReadBuffer {
  readonly buffer: DiskBuffer
  /** Where it begins in the buffer. */
  readonly offset: number
  readonly bytes: Uint8Array
}

/** One read of so many bytes holds most records whole. */
export const READ_BYTES = 64 * KIB
/** Two huge pages: a record and its header mostly lie in two blocks, which in small pages are two pieces to the device. */
const MOST_PIECES = 64

const free: ReadBuffer[] = []
let made = 0

/**
 * @param bytes that are needed at least
 * @throws ERR_RIOLOG_OUT_OF_MEMORY
 */
export function takeReadBuffer(bytes: number): ReadBuffer {
  const piece = bytes > READ_BYTES ? undefined : (free.pop() ?? makePieces())
  if (piece !== undefined) return piece
  const buffer = allocateBuffer(bytes)
  return { buffer, offset: 0, bytes: buffer.bytes }
}

/** Only when the disk has answered. What was allocated for one read alone is left to the collector. */
export function giveReadBuffer(piece: ReadBuffer): void {
  if (piece.bytes.length < piece.buffer.bytes.length) free.push(piece)
}

/** One of them; undefined where there are enough. */
function makePieces(): ReadBuffer | undefined {
  if (made === MOST_PIECES) return undefined
  const buffer = allocateBuffer(HUGE_PAGE_BYTES)
  for (let end = HUGE_PAGE_BYTES; end > 0; end -= READ_BYTES) {
    const offset = end - READ_BYTES
    free.push({ buffer, offset, bytes: buffer.bytes.subarray(offset, end) })
    made++
  }
  return free.pop()
}

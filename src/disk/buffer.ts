import { addon, allocate } from '../native.ts'
import type { DiskBuffer } from './disk.ts'

/** From this length on memory is made of huge pages, where the system has them (native/core/memory.cpp). */
export const HUGE_PAGE_BYTES = 2 * 1024 * 1024

/** What is kept for the next one who borrows: so many buffers of each length, up to a length in bytes. */
const KEPT_OF_EACH = 4
const KEPT_BYTES_MAX = 512 * 1024
const LEAST_BYTES = 4096

/** By length, a power of two. */
const kept = new Map<number, DiskBuffer[]>()

/**
 * @param bytes length of the buffer, zeroed and aligned to 64 KiB, from 2 MiB on to 2 MiB
 * @throws ERR_RIOLOG_OUT_OF_MEMORY
 */
export function allocateBuffer(bytes: number): DiskBuffer {
  const memory = allocate(bytes)
  return { memory, bytes: new Uint8Array(memory.buffer) }
}

/**
 * For a short while: mapping memory and touching it for the first time costs more than reading into it, and
 * an opening reads many small things. It is not zeroed, and may be longer.
 * @param bytes that are needed at least
 * @throws ERR_RIOLOG_OUT_OF_MEMORY
 */
export function borrowBuffer(bytes: number): DiskBuffer {
  const length = lengthFor(bytes)
  return kept.get(length)?.pop() ?? allocateBuffer(length)
}

/** Only when the disk has answered all that was asked with it, and nobody looks at its bytes any more. */
export function returnBuffer(buffer: DiskBuffer): void {
  const { length } = buffer.bytes
  if (length > KEPT_BYTES_MAX || length !== lengthFor(length)) return
  const others = kept.get(length)
  if (others === undefined) kept.set(length, [buffer])
  else if (others.length < KEPT_OF_EACH) others.push(buffer)
}

/**
 * The same bytes, for views that are made from now on: those made before have length 0. Whoever had such a view may
 * have handed its memory on (ArrayBuffer.prototype.transfer, from Node 21 on), and would see what is read into it
 * later: then it is theirs, and these are a copy.
 * @throws ERR_RIOLOG_OUT_OF_MEMORY
 */
export function renewBuffer({ memory, bytes }: DiskBuffer): DiskBuffer {
  const { id, handle } = memory
  if (bytes.length === 0) {
    const content = new Uint8Array(addon().viewOf(handle))
    const copy = allocateBuffer(content.length)
    copy.bytes.set(content)
    return copy
  }
  addon().detach(bytes.buffer as ArrayBuffer)
  const buffer = addon().viewOf(handle)
  return { memory: { id, handle, buffer }, bytes: new Uint8Array(buffer) }
}

/** Borrows one until `run` has settled; where the disk never answers, it is never given back. */
export async function withBuffer<T>(
  bytes: number,
  run: (buffer: DiskBuffer) => Promise<T>,
): Promise<T> {
  const buffer = borrowBuffer(bytes)
  try {
    return await run(buffer)
  } finally {
    returnBuffer(buffer)
  }
}

function lengthFor(bytes: number): number {
  return Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(bytes)))
}

import { allocate } from '../native.ts'
import type { DiskBuffer } from './disk.ts'

/**
 * @param bytes length of the buffer, zeroed and aligned to 64 KiB
 * @throws ERR_RIOLOG_OUT_OF_MEMORY
 */
export function allocateBuffer(bytes: number): DiskBuffer {
  const memory = allocate(bytes)
  return { memory, bytes: new Uint8Array(memory.buffer) }
}

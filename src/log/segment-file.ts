/** The file of a new segment: recycled, or full of zeros; then its header. Nothing of it is named yet. */
import { allocateBuffer, withBuffer } from '../disk/buffer.ts'
import type { DiskBuffer, DiskDirectory, DiskFile } from '../disk/disk.ts'
import { KIB } from '../segment/format.ts'

/** Zeros are written in pieces of this size, one after the other: commits beside them go first. */
const PIECE_BYTES = 256 * KIB

let zeros: DiskBuffer | undefined

/**
 * Locks the file, and writes it full of zeros behind its header block unless it is a recycled one. A
 * descriptor that writes a segment holds its lock, so that nobody recycles the file while a write of a
 * killed process may still land in it.
 * @param step awaited before each write; if it throws, nothing more is written
 */
export async function layOutSegmentFile(
  file: DiskFile,
  { fileBytes, alignment }: { readonly fileBytes: number; readonly alignment: number },
  isRecycled: boolean,
  step: () => Promise<void>,
): Promise<void> {
  file.tryLock()
  if (isRecycled) return
  zeros ??= allocateBuffer(PIECE_BYTES)
  for (let at = alignment; at < fileBytes; at += PIECE_BYTES) {
    await step()
    await file.write(zeros, 0, Math.min(PIECE_BYTES, fileBytes - at), at)
  }
}

/** @param block the header block, as long as the alignment */
export async function writeHeaderBlock(file: DiskFile, block: Uint8Array): Promise<void> {
  await withBuffer(block.length, async buffer => {
    buffer.bytes.set(block)
    await file.write(buffer, 0, block.length, 0)
  })
}

/** Takes away a file that nothing names; it may not be there. */
export async function dropFile(directory: DiskDirectory, name: string): Promise<void> {
  await directory.unlink(name).catch(() => {})
}

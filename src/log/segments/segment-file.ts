/** The file of a new segment: recycled, or full of zeros; then its header. Nothing of it is named yet. */
import { allocateBuffer, HUGE_PAGE_BYTES, withBuffer } from '../../disk/buffer.ts'
import type { DiskBuffer, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { KIB, MIB } from '../../units.ts'

/** Zeros are written in pieces, one after the other; short ones, so that commits beside them do not wait long. */
const PIECE_BYTES = 256 * KIB
/** While nobody can commit before the file is there. */
const AWAITED_PIECE_BYTES = MIB

/**
 * How soon the file is wanted. `awaited`: by somebody who cannot go on without it. `outrun`: by large groups, which fill files
 * faster than zeros can be written. Writing into space that is only allocated costs small groups twice as much, and
 * large ones little (docs/DECISIONS.md).
 */
export type Haste = 'none' | 'awaited' | 'outrun'

/**
 * Awaited before each write or sync; if it throws, nothing more is written.
 * @param done the part that is written, up to 1
 */
export type Step = (done: number) => Promise<Haste>

/** Never written to: one huge page of zeros, which is the system's own. */
let zeros: DiskBuffer | undefined

/**
 * Locks the file, and writes it full of zeros behind its header block, or where those are outrun takes the
 * space alone; a recycled one has its bytes. A descriptor that writes a segment holds its lock, so that nobody recycles the file while a write of a
 * killed process may still land in it.
 * @returns where space begins that is only allocated; the length of the file, when there is none
 */
export async function layOutSegmentFile(
  file: DiskFile,
  { fileBytes, alignment }: { readonly fileBytes: number; readonly alignment: number },
  isRecycled: boolean,
  step: Step,
): Promise<number> {
  file.tryLock()
  if (isRecycled) return fileBytes
  for (let at = alignment; at < fileBytes; ) {
    const haste = await step(at / fileBytes)
    if (haste === 'outrun' && (await file.allocate(at, fileBytes - at))) return at
    at += await writeZeros(file, at, fileBytes, haste)
  }
  return fileBytes
}

/** One piece of them. @returns its length in bytes */
export async function writeZeros(
  file: DiskFile,
  from: number,
  to: number,
  haste: Haste,
): Promise<number> {
  zeros ??= allocateBuffer(HUGE_PAGE_BYTES)
  const piece = Math.min(haste === 'none' ? PIECE_BYTES : AWAITED_PIECE_BYTES, to - from)
  await file.write(zeros, 0, piece, from)
  return piece
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

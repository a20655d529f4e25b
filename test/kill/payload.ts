/** Records that say of themselves which append they came from, so that one nobody was told of can be judged. */
import { createHash } from 'node:crypto'

export const STAMP_BYTES = 16
/** Ids of one life of the writer, at most. */
export const IDS_A_LIFE = 2 ** 20

export interface Stamp {
  /** Unique in a log, and in the order of the appends of one life. */
  readonly id: number
  /** The batch that it was appended with; alone, its own id and 1. */
  readonly batchFirst: number
  readonly batchCount: number
}

export function lifeOf(id: number): number {
  return Math.floor(id / IDS_A_LIFE)
}

/** At least {@link STAMP_BYTES} long. The same stamp and length always give the same bytes. */
export function makeRecord({ id, batchFirst, batchCount }: Stamp, bytes: number): Buffer {
  const record = Buffer.alloc(bytes)
  record.writeUInt32LE(id, 0)
  record.writeUInt32LE(bytes, 4)
  record.writeUInt32LE(batchFirst, 8)
  record.writeUInt32LE(batchCount, 12)
  // 37 bytes again and again: no part of a record looks like another part of the same block.
  const body = createHash('sha512').update(`${id} ${bytes}`).digest().subarray(0, 37)
  if (bytes > STAMP_BYTES) record.fill(body, STAMP_BYTES)
  return record
}

/** Undefined when not every byte is as it was made. */
export function readStamp(record: Buffer): Stamp | undefined {
  if (record.length < STAMP_BYTES) return undefined
  const id = record.readUInt32LE(0)
  const stamp = { id, batchFirst: record.readUInt32LE(8), batchCount: record.readUInt32LE(12) }
  return makeRecord(stamp, record.length).equals(record) ? stamp : undefined
}

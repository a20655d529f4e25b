/**
 * What happens to a job, as records of riolog:
 *
 * ```
 *   enqueued   1 version   1   data
 *   completed  1 version   2   id (u64, little-endian)
 *   retried    1 version   3   id (u64)   attempts (u32)   data
 * ```
 *
 * A job's id is the LSN of the record that it was enqueued with: it names that job and no other, for ever. A retry
 * carries the data again: so the job is at the end of the queue, and the log before it can be trimmed.
 */
export type QueueRecord<Data extends Uint8Array = Uint8Array> =
  | { readonly kind: 'enqueued'; readonly data: Data }
  | { readonly kind: 'completed'; readonly id: number }
  | {
      readonly kind: 'retried'
      readonly id: number
      readonly attempts: number
      readonly data: Data
    }

const VERSION = 1
const KINDS = ['enqueued', 'completed', 'retried'] as const

export function encode(record: QueueRecord): Buffer {
  const head = Buffer.of(VERSION, KINDS.indexOf(record.kind) + 1)
  if (record.kind === 'enqueued') return Buffer.concat([head, record.data])
  const id = Buffer.alloc(8)
  id.writeBigUInt64LE(BigInt(record.id))
  if (record.kind === 'completed') return Buffer.concat([head, id])
  const attempts = Buffer.alloc(4)
  attempts.writeUInt32LE(record.attempts)
  return Buffer.concat([head, id, attempts, record.data])
}

/** @throws Error for a record of another version: nothing is guessed */
export function decode(record: Buffer): QueueRecord<Buffer> {
  const kind = KINDS[record[1] - 1]
  if (record[0] !== VERSION || kind === undefined) {
    throw new Error(`a record of version ${record[0]}, kind ${record[1]}`)
  }
  if (kind === 'enqueued') return { kind, data: record.subarray(2) }
  const id = Number(record.readBigUInt64LE(2))
  if (kind === 'completed') return { kind, id }
  return { kind, id, attempts: record.readUInt32LE(10), data: record.subarray(14) }
}

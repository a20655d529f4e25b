/**
 * Entries of a Raft log as records of riolog:
 *
 * ```
 *   0 version   1 kind   2 term (u64, little-endian)   10 index (u64)   18 data
 * ```
 *
 * A record of the kind `snapshot` has no data: it says that the log goes on behind a snapshot that came from the
 * leader, and that the entries before it count no more. No checksum and no length: riolog has them.
 */
import { RaftError } from './errors.ts'

export interface Entry {
  readonly index: number
  readonly term: number
  readonly data: Buffer
}

export interface Decoded extends Entry {
  readonly kind: 'entry' | 'snapshot'
}

const VERSION = 1
const KINDS = ['entry', 'snapshot'] as const
const HEADER_BYTES = 18

export function encodeEntry({
  term,
  index,
  data,
}: {
  term: number
  index: number
  data: Uint8Array
}): Buffer {
  return encode('entry', term, index, data)
}

export function encodeSnapshot(term: number, index: number): Buffer {
  return encode('snapshot', term, index, new Uint8Array())
}

function encode(kind: Decoded['kind'], term: number, index: number, data: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(VERSION, 0)
  header.writeUInt8(KINDS.indexOf(kind), 1)
  header.writeBigUInt64LE(BigInt(term), 2)
  header.writeBigUInt64LE(BigInt(index), 10)
  return Buffer.concat([header, data])
}

/** @throws ERR_RAFT_CORRUPT for what this version does not write */
export function decode(record: Buffer): Decoded {
  const kind = KINDS[record[1]]
  if (record.length < HEADER_BYTES || record[0] !== VERSION || kind === undefined) {
    throw new RaftError('ERR_RAFT_CORRUPT', `a record of version ${record[0]}, kind ${record[1]}`)
  }
  const term = Number(record.readBigUInt64LE(2))
  const index = Number(record.readBigUInt64LE(10))
  return { kind, term, index, data: record.subarray(HEADER_BYTES) }
}

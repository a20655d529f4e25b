/** Groups as JavaScript sees them; the bytes are sealed and verified by native/core/framing. */
import { addon } from '../native.ts'
import {
  alignUp,
  GROUP_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  recordSpan,
  type Salt,
} from './format.ts'

/** Where a group stands in a batch that is longer than one group (BatchPart in framing.h). */
export const BATCH_NONE = 0
export const BATCH_FIRST = 1
export const BATCH_MIDDLE = 2
export const BATCH_LAST = 3

/** What a record's header says of it (RecordFlag in framing.h). */
export const RECORD_GOES_ON = 1
export const RECORD_CONTINUATION = 2
export const RECORD_COMPRESSED = 4
export const RECORD_ENCRYPTED = 8

export interface GroupInfo {
  readonly lsn: number
  /** The end of the log before this group: its own LSN, or in a segment's first group the link. */
  readonly previousEnd: number
  /** D: what was durable when the group was sealed. */
  readonly durableLsn: number
  readonly payloadBytes: number
  readonly recordCount: number
  readonly batch: number
}

export type GroupFinding =
  /** `future`: all of it verifies, but a record has a flag that is not known here. */
  | { readonly kind: 'whole' | 'torn' | 'future'; readonly group: GroupInfo }
  | { readonly kind: 'none' }

/** What the bytes at a place are held against. */
export interface Place {
  readonly salt: Salt
  readonly lsn: number
}

const fields = new Float64Array(6)

function takeFields(): GroupInfo {
  const [lsn, previousEnd, durableLsn, payloadBytes, recordCount, batch] = fields
  return { lsn, previousEnd, durableLsn, payloadBytes, recordCount, batch }
}

/** The end of a group: the place behind it, up to the alignment. */
export function groupEnd(group: GroupInfo, alignment: number): number {
  return group.lsn + alignUp(GROUP_HEADER_BYTES + group.payloadBytes, alignment)
}

/** By GroupStatus in framing.h; 2 is none. */
const GROUP_KINDS = ['whole', 'torn', 'torn', 'future'] as const

/** Header, payload checksum and every record, of the bytes from `offset` to the array's end. */
export function verifyGroup(
  bytes: Uint8Array,
  offset: number,
  { salt, lsn }: Place,
  maxGroupBytes: number,
): GroupFinding {
  const status = addon().verifyGroup(bytes, offset, salt.low, salt.high, lsn, maxGroupBytes, fields)
  if (status === 2) return { kind: 'none' }
  return { kind: GROUP_KINDS[status], group: takeFields() }
}

/** The header alone: evidence, also where what follows is torn. */
export function readGroupHeader(
  bytes: Uint8Array,
  offset: number,
  { salt, lsn }: Place,
  maxGroupBytes: number,
): GroupInfo | undefined {
  const good = addon().readGroupHeader(
    bytes,
    offset,
    salt.low,
    salt.high,
    lsn,
    maxGroupBytes,
    fields,
  )
  return good ? takeFields() : undefined
}

/**
 * Copies `count` slices of `source` into a group as records without flags, from its byte `offset` on, and tells `lsns`
 * where each stands. Returns the offset behind the last record; 0 when they leave `source`, `bounds`, `lsns` or the `limit`.
 * @param lsn the group's own
 * @param bounds where each begins and ends, by turns
 */
export function copySlices(
  bytes: Uint8Array,
  limit: number,
  offset: number,
  lsn: number,
  source: Uint8Array,
  bounds: Uint32Array,
  count: number,
  lsns: Float64Array,
): number {
  return addon().copySlices(bytes, limit, offset, lsn, source, bounds, count, lsns)
}

export interface SealedFields extends GroupInfo {
  readonly salt: Salt
}

/**
 * Completes a group whose records stand in `bytes` from byte 64 on, and returns its length, padding
 * included.
 * @param payloadCrc what {@link sealRecords} has given; without it the records are sealed here
 * @throws Error when the records are not what the fields say: a bug, and nothing may be written
 */
export function sealGroup(
  bytes: Uint8Array,
  group: SealedFields,
  alignment: number,
  payloadCrc?: number,
): number {
  const paddedBytes = alignUp(GROUP_HEADER_BYTES + group.payloadBytes, alignment)
  const sealed = addon().sealGroup(
    bytes,
    paddedBytes,
    group.salt.low,
    group.salt.high,
    group.lsn,
    group.previousEnd,
    group.durableLsn,
    group.payloadBytes,
    group.recordCount,
    group.batch,
    payloadCrc,
  )
  if (!sealed) throw notAsCounted(group.lsn)
  return paddedBytes
}

/**
 * The part of {@link sealGroup} that costs time, for a group that has to wait for the disk.
 * @throws what {@link sealGroup} throws
 */
export function sealRecords(
  bytes: Uint8Array,
  { salt, lsn }: Place,
  payloadBytes: number,
  recordCount: number,
): number {
  const crc = addon().sealRecords(bytes, salt.low, salt.high, lsn, payloadBytes, recordCount)
  if (crc < 0) throw notAsCounted(lsn)
  return crc
}

function notAsCounted(lsn: number): Error {
  return new Error(`group at LSN ${lsn} does not hold what its writer counted`)
}

/** Of {@link verifyRecord}: it verifies, but has a flag that is not known here. */
export const RECORD_OF_THE_FUTURE = -2

/** The payload's length when the record at `offset` verifies at its place, else below 0. */
export function verifyRecord(bytes: Uint8Array, offset: number, { salt, lsn }: Place): number {
  return addon().verifyRecord(bytes, offset, salt.low, salt.high, lsn)
}

/** What a record's header says of its length, to be believed only once the record verifies. */
export function claimedLength(bytes: Uint8Array, offset: number): number {
  const at = offset + 4
  return bytes[at] + bytes[at + 1] * 0x100 + bytes[at + 2] * 0x10000 + bytes[at + 3] * 0x1000000
}

/** The flags of a record that verifies: those that are known have few enough bits for one byte. */
export function flagsOf(bytes: Uint8Array, offset: number): number {
  return bytes[offset + 8]
}

/** A record as it stands in its group, or a fragment of one. */
export interface StoredRecord {
  readonly lsn: number
  /** RECORD_* */
  readonly flags: number
  /** Where its bytes stand. */
  readonly from: number
  readonly to: number
}

/** The records of a verified group whose header stands at `offset`, one after the other, without garbage. */
export class RecordCursor implements StoredRecord {
  lsn = 0
  flags = 0
  from = 0
  to = 0
  readonly #bytes: Uint8Array
  readonly #offset: number
  readonly #groupLsn: number
  #left: number
  #at = GROUP_HEADER_BYTES

  constructor(bytes: Uint8Array, offset: number, group: GroupInfo) {
    this.#bytes = bytes
    this.#offset = offset
    this.#groupLsn = group.lsn
    this.#left = group.recordCount
  }

  /** Goes on to the next one; false when there is none. */
  next(): boolean {
    if (this.#left === 0) return false
    this.#left--
    const place = this.#offset + this.#at
    const length = claimedLength(this.#bytes, place)
    this.lsn = this.#groupLsn + this.#at
    this.flags = flagsOf(this.#bytes, place)
    this.from = place + RECORD_HEADER_BYTES
    this.to = this.from + length
    this.#at += recordSpan(length)
    return true
  }
}

/** The same, as objects of their own. */
export function* recordsOf(
  bytes: Uint8Array,
  offset: number,
  group: GroupInfo,
): Generator<StoredRecord> {
  const cursor = new RecordCursor(bytes, offset, group)
  while (cursor.next()) {
    const { lsn, flags, from, to } = cursor
    yield { lsn, flags, from, to }
  }
}

/**
 * The constants of the on-disk format, and the arithmetic of places. docs/FORMAT.md is the
 * specification; native/core/framing.h holds the same numbers for groups and records.
 */
import { SECTOR_BYTES } from '../disk/disk.ts'
import { addon } from '../native.ts'
import { KIB, MIB } from '../units.ts'

export const FORMAT_VERSION = 1

/** A, the boundary of groups and header blocks: fixed when a log is created. */
export const MIN_ALIGNMENT = 4096
export const MAX_ALIGNMENT = 64 * KIB

export const GROUP_HEADER_BYTES = 64
export const RECORD_HEADER_BYTES = 12
export const RECORD_ALIGNMENT = 8
export const SEGMENT_HEADER_BYTES = 96

export const MIN_SEGMENT_SIZE = 64 * KIB
export const MAX_SEGMENT_SIZE = 16 * 1024 * MIB
export const DEFAULT_SEGMENT_SIZE = 64 * MIB

const GROUP_PAYLOAD_GOAL = MIB

/** The most bytes that a group takes up, its header and padding included: a constant of the format. */
export function maxGroupBytes(segmentSize: number, alignment: number): number {
  return Math.min(GROUP_PAYLOAD_GOAL + 2 * alignment, segmentSize - 2 * alignment)
}

/** The shortest file that a segment may have: any group that may be cut fits into it. */
export function minFileBytes(segmentSize: number, alignment: number): number {
  return 2 * alignment + maxGroupBytes(segmentSize, alignment)
}

/** Whether the file of a segment can have this length. */
export function isFileLength(bytes: number, segmentSize: number, alignment: number): boolean {
  const fits = bytes >= minFileBytes(segmentSize, alignment) && bytes <= segmentSize
  return fits && bytes % alignment === 0
}

/** The most bytes of the user's in a segment's header block. */
export function maxMetadataBytes(alignment: number): number {
  return alignment - SEGMENT_HEADER_BYTES
}

/** The longest record that needs no fragments, in bytes of payload. */
export function maxWholeRecordBytes(segmentSize: number, alignment: number): number {
  return maxGroupBytes(segmentSize, alignment) - GROUP_HEADER_BYTES - RECORD_HEADER_BYTES
}

/** Bytes that a record takes up in its group. */
export function recordSpan(payloadBytes: number): number {
  // On every append: bit operators, since a record is far below 2^31.
  return (RECORD_HEADER_BYTES + payloadBytes + RECORD_ALIGNMENT - 1) & -RECORD_ALIGNMENT
}

/** No bit operators here: LSNs pass 2^31. */
export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}

export function alignDown(value: number, alignment: number): number {
  return value - (value % alignment)
}

export function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value))
}

/** Whether a log can have this segment size and this alignment. */
export function areDimensions(segmentSize: number, alignment: number): boolean {
  const sizeFits =
    isPowerOfTwo(segmentSize) && segmentSize >= MIN_SEGMENT_SIZE && segmentSize <= MAX_SEGMENT_SIZE
  const alignmentFits =
    alignment >= MIN_ALIGNMENT && alignment <= MAX_ALIGNMENT && alignment % MIN_ALIGNMENT === 0
  // Room for a header block, and for at least two groups behind it.
  return sizeFits && alignmentFits && segmentSize % alignment === 0 && segmentSize >= 4 * alignment
}

/** The segment that holds the record at an LSN. */
export function segmentOf(lsn: number, segmentSize: number): number {
  return Math.floor(lsn / segmentSize)
}

/** The segment of an end. Ends are exclusive: one at a segment's very end belongs to that segment. */
export function segmentOfEnd(end: number, segmentSize: number): number {
  return Math.floor((end - 1) / segmentSize)
}

/** The highest segment number for which every place is a safe integer. */
export function maxSegmentNumber(segmentSize: number): number {
  return Math.floor(Number.MAX_SAFE_INTEGER / segmentSize) - 1
}

const NAME = /^(\d{16})\.seg$/

export function segmentName(number: number): string {
  return `${String(number).padStart(16, '0')}.seg`
}

/** The number of a canonical file name in range; undefined for anything else, which is foreign. */
export function parseSegmentName(name: string, segmentSize: number): number | undefined {
  const found = NAME.exec(name)
  if (!found) return undefined
  const number = Number(found[1])
  return number >= 1 && number <= maxSegmentNumber(segmentSize) ? number : undefined
}

/** 64 random bits as two numbers, which cross to native code at less cost than a bigint. */
export interface Salt {
  readonly low: number
  readonly high: number
}

export const NO_SALT: Salt = { low: 0, high: 0 }

export function sameSalt(a: Salt, b: Salt): boolean {
  return a.low === b.low && a.high === b.high
}

/** Relations between the constants, and with those of native code; called once a process. */
export function checkFormat(): void {
  const native = addon()
  const holds = [
    native.groupHeaderBytes === GROUP_HEADER_BYTES,
    native.recordHeaderBytes === RECORD_HEADER_BYTES,
    GROUP_HEADER_BYTES <= SECTOR_BYTES,
    GROUP_HEADER_BYTES % RECORD_ALIGNMENT === 0,
    MIN_ALIGNMENT % RECORD_ALIGNMENT === 0,
    SEGMENT_HEADER_BYTES <= SECTOR_BYTES,
    MIN_ALIGNMENT % SECTOR_BYTES === 0,
    MAX_ALIGNMENT % MIN_ALIGNMENT === 0,
    minFileBytes(MIN_SEGMENT_SIZE, MIN_ALIGNMENT) <= MIN_SEGMENT_SIZE,
    maxWholeRecordBytes(DEFAULT_SEGMENT_SIZE, MIN_ALIGNMENT) >= MIB,
  ]
  const broken = holds.indexOf(false)
  if (broken !== -1) throw new Error(`format constants disagree (relation ${broken})`)
}

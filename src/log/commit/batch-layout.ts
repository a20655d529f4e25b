/**
 * Where the records of a batch stand that is longer than one group, and where a record is cut that is
 * longer than one. Numbers in, numbers out.
 */
import {
  alignDown,
  alignUp,
  GROUP_HEADER_BYTES,
  RECORD_ALIGNMENT,
  RECORD_HEADER_BYTES,
  recordSpan,
} from '../../segment/format.ts'

/** Less than this of a record is not worth a fragment: it goes into the next group. In bytes. */
const LEAST_FRAGMENT_BYTES = 1024

export interface Dimensions {
  readonly alignment: number
  /** The longest group of the format; in bytes, as all of these. */
  readonly maxGroup: number
  /** Bytes that sealing adds to each record or fragment. */
  readonly overhead: number
}

export interface Room extends Dimensions {
  /** The longest group, unless a single record is longer. */
  readonly groupLimit: number
  /** From the end of the log to that of its segment's file. */
  readonly roomLeft: number
  /** In the segment that comes next, behind its header block; not above 0 without one. */
  readonly nextRoom: number
}

/** A place among the records: so many whole ones, and so many bytes of the one behind them. */
export interface Cut {
  readonly record: number
  readonly byte: number
}

export interface BatchLayout {
  /** Where each group ends. */
  readonly groups: readonly Cut[]
  /** The group that begins the next segment; -1: none. */
  readonly rotatesBefore: number
}

/** Whether a record has to be cut: no group holds it. */
export function isLong(length: number, { maxGroup, overhead }: Dimensions): boolean {
  return GROUP_HEADER_BYTES + recordSpan(length + overhead) > maxGroup
}

/** Fills group after group; undefined when that does not fit. @param lengths bytes of each record */
export function layOut(lengths: readonly number[], room: Room): BatchLayout | undefined {
  const groups: Cut[] = []
  let rotatesBefore = -1
  let left = room.roomLeft
  for (let at: Cut = { record: 0, byte: 0 }; at.record < lengths.length; ) {
    let filled = fillGroup(lengths, at, left, room)
    if (filled === undefined && rotatesBefore < 0) {
      rotatesBefore = groups.length
      left = room.nextRoom
      filled = fillGroup(lengths, at, left, room)
    }
    if (filled === undefined) return undefined
    at = filled.end
    groups.push(at)
    left -= alignUp(filled.bytes, room.alignment)
  }
  return { groups, rotatesBefore }
}

/** As much as one group takes, from a place on; undefined when that is nothing. */
function fillGroup(
  lengths: readonly number[],
  from: Cut,
  left: number,
  { overhead, maxGroup, groupLimit, ...others }: Room,
): { end: Cut; bytes: number } | undefined {
  const dimensions = { overhead, maxGroup, alignment: others.alignment }
  const rest = GROUP_HEADER_BYTES + recordSpan(lengths[from.record] - from.byte + overhead)
  const most = Math.min(left, Math.max(groupLimit, Math.min(rest, maxGroup)))
  const limit = alignDown(most, RECORD_ALIGNMENT)
  let { record, byte } = from
  let bytes = GROUP_HEADER_BYTES
  while (record < lengths.length) {
    const span = recordSpan(lengths[record] - byte + overhead)
    if (bytes + span > limit) {
      if (!isLong(lengths[record], dimensions)) break
      const part = limit - bytes - RECORD_HEADER_BYTES - overhead
      if (part < LEAST_FRAGMENT_BYTES) break
      // What goes on is the last record of its group.
      return { end: { record, byte: byte + part }, bytes: limit }
    }
    bytes += span
    record++
    byte = 0
  }
  const isNothing = record === from.record && byte === from.byte
  return isNothing ? undefined : { end: { record, byte }, bytes }
}

/**
 * The longest record, in bytes, that so many groups hold within `roomBytes`: the limit of what
 * {@link layOut} lays out in a fresh segment.
 */
export function longestRecord(groups: number, roomBytes: number, dimensions: Dimensions): number {
  const { maxGroup, overhead } = dimensions
  const heads = GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + overhead
  let bytes = 0
  let left = roomBytes
  for (let i = 0; i < groups && left > 0; i++) {
    const size = Math.min(maxGroup, left)
    bytes += size - heads
    left -= size
  }
  return bytes
}

/** A group on its way to the disk: filled by append, sealed when it is submitted, kept until durable. */
import { performance } from 'node:perf_hooks'
import { invalidArgument } from '../../errors.ts'
import {
  alignUp,
  GROUP_HEADER_BYTES,
  RECORD_HEADER_BYTES,
  recordSpan,
} from '../../segment/format.ts'
import {
  BATCH_NONE,
  claimedLength,
  copySlices,
  flagsOf,
  RECORD_CONTINUATION,
  RECORD_GOES_ON,
  type StoredRecord,
  sealGroup,
  sealRecords,
} from '../../segment/group.ts'
import type { Fragments } from '../records/fragments.ts'
import { copyTo, type Payload } from '../records/payload.ts'
import type { LiveSegment } from '../segments/live-chain.ts'
import type { Arena } from './arena-pool.ts'
import type { CommitWay } from './commit-way.ts'
import type { Slices } from './slices.ts'
import type { Waiters } from './waiters.ts'

/** LSNs, on their way from native code: a typed array of its own for each call is memory that only the collector gives back. */
let places = new Float64Array(1024)

export class PendingGroup {
  readonly arena: Arena
  readonly segment: LiveSegment
  /** The group's own place. */
  readonly lsn: number
  /** The end of the log before it. */
  readonly previousEnd: number
  /** Which part of a batch that is longer than one group (BATCH_*). */
  batch: number = BATCH_NONE
  /** Bytes used, the group's header included. */
  fill = GROUP_HEADER_BYTES
  /** Records, and fragments of such. */
  count = 0
  /** Records that begin here. */
  begun = 0
  /** Bytes of the records themselves. */
  recordBytes = 0
  /** Of its first record, of its write, and of the moment from which it counts: `performance.now`. */
  openedAt = 0
  submittedAt = 0
  durableAt = 0
  /** Headers and padding included; known once it is sealed. */
  writtenBytes = 0
  /** How it becomes durable; decided when it is submitted. */
  way: CommitWay | undefined
  /** Its place among all that were submitted. */
  sequence = 0
  /** The last that was submitted when this one's commit came back good; 0: it has not. */
  besideUpTo = 0
  isDurable = false
  /** Who waited for it has been told that it is. */
  isTold = false
  /** Nothing more is waited for before it is cut: a flush asked, or its delay is over. */
  isDue = false
  #payloadCrc: number | undefined
  readonly #limit: number

  constructor(
    arena: Arena,
    segment: LiveSegment,
    lsn: number,
    previousEnd: number,
    limitBytes: number,
  ) {
    this.arena = arena
    this.segment = segment
    this.lsn = lsn
    this.previousEnd = previousEnd
    this.#limit = limitBytes
  }

  /** @param spanBytes what the records take up ({@link recordSpan}) */
  fits(spanBytes: number): boolean {
    return this.fill + spanBytes <= this.#limit
  }

  /**
   * Copies a record in and returns its LSN. The checksums are left to {@link seal}, for all at once.
   * @param flags RECORD_*
   */
  add(payload: Payload, length: number, flags: number): number {
    const at = this.fill
    if (this.count === 0) this.openedAt = performance.now()
    this.recordBytes += length
    const { bytes, words } = this.arena
    const word = at >>> 2
    words[word + 1] = length
    words[word + 2] = flags
    copyTo(bytes, payload, at + RECORD_HEADER_BYTES)
    this.fill = at + recordSpan(length)
    this.count++
    if ((flags & RECORD_CONTINUATION) === 0) this.begun++
    return this.lsn + at
  }

  /**
   * The same for many records at once; returns the LSN of each.
   * @throws ERR_RIOLOG_INVALID_ARGUMENT when they are not what they were by now; nothing was taken then
   */
  addSlices({ bytes, bounds, count, length, span }: Slices): number[] {
    if (places.length < count) places = new Float64Array(2 * count)
    const end = copySlices(
      this.bytes,
      this.#limit,
      this.fill,
      this.lsn,
      bytes,
      bounds,
      count,
      places,
    )
    if (end !== this.fill + span) throw invalidArgument('the slices changed while they were copied')
    if (this.count === 0) this.openedAt = performance.now()
    this.recordBytes += length
    this.fill = end
    this.count += count
    this.begun += count
    const lsns = new Array<number>(count)
    for (let i = 0; i < count; i++) lsns[i] = places[i]
    return lsns
  }

  end(alignment: number): number {
    return this.lsn + alignUp(this.fill, alignment)
  }

  /** Nothing is added any more, and the disk is busy: what can be done before its turn comes. */
  sealEarly(): void {
    const place = { salt: this.segment.header.salt, lsn: this.lsn }
    const payloadBytes = this.fill - GROUP_HEADER_BYTES
    this.#payloadCrc = sealRecords(this.bytes, place, payloadBytes, this.count)
  }

  /** Completes the group's bytes, of which there are {@link writtenBytes}. D is read now, as late as can be. */
  seal(durableLsn: number, alignment: number): void {
    const group = {
      salt: this.segment.header.salt,
      lsn: this.lsn,
      previousEnd: this.previousEnd,
      durableLsn,
      payloadBytes: this.fill - GROUP_HEADER_BYTES,
      recordCount: this.count,
      batch: this.batch,
    }
    this.writtenBytes = sealGroup(this.bytes, group, alignment, this.#payloadCrc)
  }

  get waiters(): Waiters {
    return this.arena.waiters
  }

  get bytes(): Uint8Array {
    return this.arena.bytes
  }

  /** The record or fragment at an LSN within this group; undefined when none starts there. */
  recordAt(lsn: number): StoredRecord | undefined {
    const { bytes } = this
    let at = GROUP_HEADER_BYTES
    while (at < this.fill && this.lsn + at < lsn) at += recordSpan(claimedLength(bytes, at))
    if (at >= this.fill || this.lsn + at !== lsn) return undefined
    const from = at + RECORD_HEADER_BYTES
    return { lsn, flags: flagsOf(bytes, at), from, to: from + claimedLength(bytes, at) }
  }
}

/** A copy of the record at an LSN, from groups in their order; undefined when none starts there. */
export function readPending(
  groups: readonly PendingGroup[],
  lsn: number,
  fragments: Fragments,
): Uint8Array | undefined {
  const at = groups.findIndex(group => lsn >= group.lsn && lsn < group.lsn + group.fill)
  const found = at < 0 ? undefined : groups[at].recordAt(lsn)
  if (found === undefined) return undefined
  let { segment, bytes } = groups[at]
  const piece = { ...found, segment, bytes: copyOf(bytes, found) }
  let whole = fragments.take(piece)
  for (const group of groups.slice(at + 1)) {
    if (whole !== undefined || (found.flags & RECORD_GOES_ON) === 0) break
    const next = group.recordAt(group.lsn + GROUP_HEADER_BYTES)!
    ;({ segment, bytes } = group)
    whole = fragments.take({ ...next, segment, bytes: copyOf(bytes, next) })
  }
  return whole?.data
}

function copyOf(bytes: Uint8Array, { from, to }: StoredRecord): Buffer {
  return Buffer.from(bytes.subarray(from, to))
}

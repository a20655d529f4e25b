/**
 * The commit pipeline: what stands between `append` and the disk.
 *
 * append copies a record into the open group and makes no native call. One commit (a chain of write
 * and fdatasync) is in flight at a time, unless `commitsInFlight` says more; while it is, the next group
 * fills: the sync in flight is the batching window. When it completes, the group's waiters are told, the callers that were waiting
 * append again, and only behind them the next group is cut, sealed and submitted.
 */
import type { DiskDirectory, DiskFile, SyncMode } from '../disk/disk.ts'
import { PoisonedError, RiologError } from '../errors.ts'
import { GROUP_HEADER_BYTES, recordSpan } from '../segment/format.ts'
import {
  BATCH_FIRST,
  BATCH_LAST,
  BATCH_MIDDLE,
  RECORD_CONTINUATION,
  RECORD_GOES_ON,
} from '../segment/group.ts'
import type { SegmentRef } from '../segment/header.ts'
import { type BatchLayout, type Cut, type Dimensions, isLong, layOut } from './batch-layout.ts'
import type { Codec, Packed } from './codec.ts'
import { Fragments } from './fragments.ts'
import type { Limits } from './limits.ts'
import { deadOf, type LiveChain, type LiveSegment } from './live-chain.ts'
import { NO_SEGMENT } from './manifest.ts'
import type { ManifestFile } from './manifest-file.ts'
import { type CommitFigures, CommitMetrics } from './metrics.ts'
import { Arena, PendingGroup } from './pending-group.ts'
import type { DeadSegment } from './recycle-pool.ts'
import type { PreparedSegment, SegmentMaker } from './segment-maker.ts'
import { isHarmless, SegmentSupply } from './segment-supply.ts'
import { Watchdog } from './watchdog.ts'

/** The next segment is prepared once this part of the current file is used. */
const PREPARE_AT = 1 / 4

interface WaitingAppend {
  readonly record: Packed
  readonly resolve: (lsn: number) => void
  readonly reject: (error: unknown) => void
}

export interface WriterParts {
  readonly directory: DiskDirectory
  readonly manifest: ManifestFile
  readonly chain: LiveChain
  readonly maker: SegmentMaker
  /** The end of the log as recovery found it. */
  readonly end: number
  readonly limits: Limits
  readonly codec: Codec
  /** The longest group that is cut, unless a single record is longer. */
  readonly maxGroupBytes: number
  readonly commitsInFlight: number
  readonly sync: SyncMode
  /** Milliseconds that a group is held open for more records while the disk is idle; 0: not at all. */
  readonly maxDelayMs: number
  /** Milliseconds without an append, after which the manifest is told the durable LSN; 0: never. */
  readonly idleStampMs: number
  /** Milliseconds without an answer of the disk, after which the log is poisoned; 0: never. */
  readonly commitTimeoutMs: number
  /** Lets others go first, for so many milliseconds. */
  readonly pause: (milliseconds: number) => Promise<void>
  /** Told of each failure that poisons, and of files that could not be prepared. */
  readonly onTrouble: (what: string, error: unknown) => void
  /** Told of the cut at the moment that a rewind is in force. */
  readonly onRewound: (cut: number) => void
  /** Told when the opening's first segment is in force: both manifest copies name it. */
  readonly onForked: () => void
}

export class Writer {
  readonly maxRecordBytes: number
  readonly #parts: WriterParts
  readonly #alignment: number
  readonly #segmentSize: number
  readonly #maxGroup: number
  readonly #dimensions: Dimensions
  /** The longest group that is cut, unless a single record is longer. */
  readonly #groupLimit: number

  /** D: the end of what has been synced, also of a batch whose last group has not. */
  #syncedLsn: number
  /** What is promised: never inside a batch. */
  #durableLsn: number
  #insideBatch = false
  /** The end of everything appended, up to the open group. */
  #position: number
  #segment: LiveSegment | undefined
  #open: PendingGroup | undefined
  readonly #closed: PendingGroup[] = []
  /** Submitted and not yet known to be durable, in the order of their LSNs. */
  readonly #inFlight: PendingGroup[] = []
  /** How many the disk has not answered; also after a poison. */
  #unanswered = 0
  #submitted = 0
  /** The group whose delay is running. */
  #delayed: PendingGroup | undefined
  /** Synced groups of a batch that is not durable yet: until it is, they are read from memory. */
  readonly #unfinished: PendingGroup[] = []
  #cutScheduled = false

  readonly #freeArenas: Arena[] = []
  #arenasLeft: number
  readonly #arenaCount: number

  readonly #supply: SegmentSupply
  readonly #metrics: CommitMetrics
  readonly #watchdog: Watchdog
  /** Rejecters of those who wait for the manifest, or for a rewind's fork. */
  readonly #whenPoisoned = new Set<(error: unknown) => void>()
  /** What the disk has been asked for them and has not answered, also when nobody waits any more. */
  readonly #asked = new Set<Promise<unknown>>()
  /** Files of forks that came to nothing, to be closed when the disk has answered. */
  readonly #abandoned: Promise<DiskFile | undefined>[] = []
  #forked = false

  readonly #waitingAppends: WaitingAppend[] = []
  /** Resolvers of those who wait for the durable LSN to move. */
  #watchers: (() => void)[] = []
  /** Lengths of the records of a batch, or of a record in fragments, that there was no room for. */
  #refusedBatch: readonly number[] | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #stamping: Promise<void> = Promise.resolve()
  #stopped = false
  /** Rewinds under way or waiting for their turn: nothing is taken meanwhile. */
  #paused = 0
  #waitingForRoom: { resolve: () => void; reject: (error: unknown) => void }[] = []
  #poison: PoisonedError | undefined

  constructor(parts: WriterParts) {
    this.#parts = parts
    const { alignment, segmentSize } = parts.manifest.current
    this.#alignment = alignment
    this.#segmentSize = segmentSize
    const { dimensions, groupCount, maxRecordBytes } = parts.limits
    this.#dimensions = dimensions
    this.#maxGroup = dimensions.maxGroup
    this.maxRecordBytes = maxRecordBytes
    this.#groupLimit = Math.min(this.#maxGroup, parts.maxGroupBytes)
    this.#syncedLsn = parts.end
    this.#durableLsn = parts.end
    this.#position = parts.end
    this.#arenaCount = groupCount
    this.#arenasLeft = this.#arenaCount
    this.#metrics = new CommitMetrics(parts.directory.path)
    this.#watchdog = new Watchdog(
      parts.commitTimeoutMs,
      () => this.#isAwaited(),
      () => this.#failAll(stuck(parts.commitTimeoutMs)),
    )
    this.#supply = new SegmentSupply({
      maker: parts.maker,
      manifest: parts.manifest,
      batchBytes: alignment + this.#arenaCount * this.#maxGroup,
      durableLsn: () => this.#durableLsn,
      pause: parts.pause,
      isAwaited: () => this.#waitingAppends.length > 0 || this.#waitingForRoom.length > 0,
      onReady: () => {
        this.#watchdog.answered()
        this.#offerRoom()
      },
      onRefused: error => this.#onRefused(error),
      onFailed: error => this.#failAll(error),
    })
  }

  get durableLsn(): number {
    return this.#durableLsn
  }

  /** The end of everything appended. */
  get end(): number {
    return this.#open && this.#open.count > 0 ? this.#open.end(this.#alignment) : this.#position
  }

  get poison(): PoisonedError | undefined {
    return this.#poison
  }

  /** True when the manifest has to be told of this opening's end. */
  get hasForked(): boolean {
    return this.#forked
  }

  /**
   * Takes a record, or throws with nothing taken.
   * @throws ERR_RIOLOG_RECORD_TOO_LARGE, ERR_RIOLOG_BACKPRESSURE, ERR_RIOLOG_NO_SPACE,
   *   ERR_RIOLOG_POISONED
   */
  append(payload: Uint8Array): number {
    this.#refuse(payload.length)
    const { bytes, flags } = this.#parts.codec.pack(payload)
    const lsn = this.#waitingAppends.length === 0 ? this.#takeRecord(bytes, flags) : undefined
    if (lsn !== undefined) return lsn
    if (isLong(bytes.length, this.#dimensions)) this.#refusedBatch = [bytes.length]
    throw this.#noRoom()
  }

  /**
   * Takes all of the records, to be recovered all or none, or throws with nothing taken.
   * @throws ERR_RIOLOG_BATCH_TOO_LARGE, and what {@link append} throws
   */
  appendBatch(payloads: readonly Uint8Array[]): number[] {
    for (const payload of payloads) this.#refuse(payload.length)
    if (payloads.length === 0) return []
    if (payloads.length === 1) return [this.append(payloads[0])]
    const { codec } = this.#parts
    const records = payloads.map(payload => codec.pack(payload))
    const lengths = records.map(({ bytes }) => bytes.length)
    const span = lengths.reduce((sum, length) => sum + recordSpan(length + codec.overhead), 0)
    if (GROUP_HEADER_BYTES + span > this.#groupLimit) {
      this.#refuseTooLong(lengths)
      const lsns = this.#waitingAppends.length === 0 ? this.#takeLong(records, lengths) : undefined
      if (lsns !== undefined) return lsns
      this.#refusedBatch = lengths
      throw this.#noRoom()
    }
    // What stands in one group is found as a whole, or not at all.
    const group = this.#waitingAppends.length === 0 ? this.#groupFor(span) : undefined
    if (group === undefined) throw this.#noRoom()
    return records.map(({ bytes, flags }) => this.#take(group, bytes, flags))
  }

  /**
   * Takes what is longer than a group, or undefined: there is no room for all of it now. It begins a
   * group, and its last group ends with it: groups that say so belong together.
   */
  #takeLong(records: readonly Packed[], lengths: readonly number[]): number[] | undefined {
    const layout = this.#layOutNow(lengths)
    if (layout === undefined) return undefined
    this.#refusedBatch = undefined
    const lsns: number[] = []
    const last = layout.groups.length - 1
    this.#closeOpenGroup()
    let at: Cut = { record: 0, byte: 0 }
    for (const [i, end] of layout.groups.entries()) {
      const from = this.#position
      const rotates = i === layout.rotatesBefore
      if (rotates) this.#rotate(from)
      const segment = this.#segment!
      const lsn = rotates ? segment.base + this.#alignment : from
      const group = new PendingGroup(this.#takeArena(), segment, lsn, from, 0)
      group.batch = i === 0 ? BATCH_FIRST : i === last ? BATCH_LAST : BATCH_MIDDLE
      this.#fill(group, records, at, end, lsns)
      at = end
      this.#open = group
      this.#closeOpenGroup()
    }
    this.#cutSoon()
    return lsns
  }

  /** Where the groups of a batch would stand; undefined when there is no room for all of them now. */
  #layOutNow(lengths: readonly number[]): BatchLayout | undefined {
    if (!this.#canTake(0)) return undefined
    if (!this.#forked) this.#fork()
    const { base, header } = this.#segment!
    const nextRoom = this.#supply.readyFileBytes - this.#alignment
    // What does not fit into both may do so where the next segment has it alone.
    const layout = [base + header.fileBytes - this.end, 0]
      .map(roomLeft => this.#layOut(lengths, roomLeft, nextRoom))
      .find(found => found !== undefined && found.groups.length <= this.#arenaCount)
    if (layout === undefined) this.#supply.request(this.#nextParent())
    const arenas = this.#freeArenas.length + this.#arenasLeft
    return layout !== undefined && layout.groups.length <= arenas ? layout : undefined
  }

  #layOut(lengths: readonly number[], roomLeft: number, nextRoom: number): BatchLayout | undefined {
    return layOut(lengths, {
      ...this.#dimensions,
      groupLimit: this.#groupLimit,
      roomLeft,
      nextRoom,
    })
  }

  /** @throws ERR_RIOLOG_BATCH_TOO_LARGE for what would never have room */
  #refuseTooLong(lengths: readonly number[]): void {
    const groups = this.#arenaCount - 1
    const room = this.#segmentSize - this.#alignment
    const layout = this.#layOut(lengths, room, 0)
    if (layout !== undefined && layout.groups.length <= groups) return
    const bytes = lengths.reduce((sum, length) => sum + recordSpan(length), 0)
    throw new RiologError(
      'ERR_RIOLOG_BATCH_TOO_LARGE',
      `a batch of ${bytes} bytes; it has to fit into ${groups} groups of ${this.#groupLimit} bytes ` +
        `(maxBufferedBytes) and into a segment of ${room} bytes (segmentSize)`,
    )
  }

  /** Takes a record as soon as there is room; resolves to its LSN once it is durable. */
  appendDurable(payload: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#refuse(payload.length)
      const record = this.#parts.codec.pack(payload)
      if (this.#waitingAppends.length === 0 && this.#takeWaiting(record, resolve, reject)) return
      this.#askAgain()
      // The caller may reuse its bytes at once, here too.
      const { bytes, flags } = record
      this.#waitingAppends.push({ record: { bytes: Buffer.from(bytes), flags }, resolve, reject })
      this.#watchdog.asked()
    })
  }

  /** Resolves to the durable LSN once everything appended so far is durable. */
  flush(): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#poison) throw this.#poison
      const last = this.#lastPending()
      if (last === undefined) return resolve(this.#durableLsn)
      last.waiters.push({ resolve: () => resolve(this.#durableLsn), reject, lsn: 0 })
      last.isDue = true
      this.#cutSoon()
    })
  }

  /** The same, holding up the thread. */
  flushSync(): number {
    const last = this.#lastPending()
    if (last !== undefined) last.isDue = true
    while (this.#poison === undefined && last?.isDurable === false) {
      this.#cut()
      this.#inFlight.find(({ besideUpTo }) => besideUpTo === 0)?.segment.file.waitForCommit()
    }
    if (this.#poison) throw this.#poison
    return this.#durableLsn
  }

  /** Resolves once a record of a group's length would be taken, and what was refused last. */
  drain(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#poison) throw this.#poison
      if (this.#waitingAppends.length === 0 && this.#hasRoom()) return resolve()
      this.#askAgain()
      this.#waitingForRoom.push({ resolve, reject })
      this.#watchdog.asked()
    })
  }

  /** A copy of a record that is appended but not yet durable; undefined when none starts there. */
  readPending(lsn: number): Uint8Array | undefined {
    const groups = this.#pending()
    const at = groups.findIndex(group => lsn >= group.lsn && lsn < group.lsn + group.fill)
    const found = at < 0 ? undefined : groups[at].recordAt(lsn)
    if (found === undefined) return undefined
    const fragments = new Fragments(this.#parts.codec, this.#segmentSize)
    let { segment, bytes } = groups[at]
    const piece = { ...found, segment, bytes: bytes.subarray(found.from, found.to) }
    let whole = fragments.take(piece)
    for (const group of groups.slice(at + 1)) {
      if (whole !== undefined || (found.flags & RECORD_GOES_ON) === 0) break
      const next = group.recordAt(group.lsn + GROUP_HEADER_BYTES)!
      ;({ segment, bytes } = group)
      whole = fragments.take({ ...next, segment, bytes: bytes.subarray(next.from, next.to) })
    }
    return whole?.data
  }

  /** Prepares the opening's first segment; a failure is told at the first append. */
  async prepareFirst(): Promise<void> {
    this.#supply.request(this.#nextParent())
    await this.#supply.settled()
  }

  /** Waits for everything accepted, and for what is under way beside it. */
  async stop(): Promise<void> {
    while (!this.#poison && (this.#waitingAppends.length > 0 || this.#lastPending())) {
      await (this.#lastPending() ? this.flush() : this.drain()).catch(() => {})
    }
    this.#stopped = true
    this.#wakeWatchers()
    clearTimeout(this.#idleTimer)
    this.#watchdog.stop()
    await this.#stamping
    this.#supply.stop()
    await this.#reaped()
    for (const waiting of this.#waitingAppends.splice(0)) waiting.reject(this.#noRoom())
    await this.#supply.close()
  }

  /**
   * Resolves when the durable LSN is beyond a place, or will never be: the log is poisoned or closed.
   * @param signal ends the wait, too
   */
  async durableBeyond(lsn: number, signal: AbortSignal | undefined): Promise<void> {
    while (this.#durableLsn <= lsn && !this.#stopped && !this.#poison && !signal?.aborted) {
      await new Promise<void>(resolve => {
        const wake = () => {
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        this.#watchers.push(wake)
        signal?.addEventListener('abort', wake, { once: true })
      })
    }
  }

  #wakeWatchers(): void {
    for (const wake of this.#watchers.splice(0)) wake()
  }

  /**
   * Tells the manifest something that is not a segment. The floor goes with it.
   * @throws ERR_RIOLOG_POISONED: whether it is in force is undecided then
   */
  async updateManifest(change: () => { readonly trimLsn?: number }): Promise<void> {
    if (this.#poison) throw this.#poison
    try {
      const { manifest } = this.#parts
      // A rewind may have raised the floor and not yet told us.
      const floor = () => Math.max(manifest.current.floor, this.#durableLsn)
      await this.#orPoisoned(manifest.update(() => ({ ...change(), floor: floor() })))
    } catch (error) {
      this.#failAll(error)
      throw this.#poison
    }
    this.#offerRoom() // an opening's fork waits for the manifest
  }

  /**
   * Drops everything from a place on that `cutOf` finds once all is durable that was appended. The
   * caller has paused appends. Returns the segments that are dead then.
   * @throws what `cutOf` throws, ERR_RIOLOG_NO_SPACE: nothing has changed
   * @throws ERR_RIOLOG_POISONED: whether it is in force is undecided
   */
  async rewind(cutOf: () => Promise<number>): Promise<DeadSegment[]> {
    await this.flush()
    const cut = await cutOf()
    return cut === this.#durableLsn ? [] : await this.#forkAt(cut)
  }

  /** What is appended from now on comes behind a rewind; it is taken when all of them are done. */
  pause(): void {
    this.#paused++
  }

  resume(): void {
    this.#paused--
    if (this.#paused === 0 && !this.#poison) this.#offerRoom()
  }

  /** As {@link #fork}, but beside the event loop: nothing is in flight, and appends wait. */
  async #forkAt(cut: number): Promise<DeadSegment[]> {
    const { chain, directory, manifest } = this.#parts
    // A cut right behind what a trim has freed: the header names the parent that is gone.
    const parent = cut === 0 ? NO_SEGMENT : chain.holdingEnd(cut)?.header
    const preparing = this.#supply.prepareFork(parent ?? chain.segments[0].header.parent)
    let prepared: PreparedSegment
    try {
      prepared = await this.#orPoisoned(preparing)
    } catch (error) {
      if (isHarmless(error)) throw error
      this.#abandoned.push(
        preparing.then(
          ({ file }) => file,
          () => undefined,
        ),
      )
      this.#failAll(error)
      throw this.#poison
    }
    const segment = this.#asLive(prepared)
    const arena = this.#takeArena()
    const { link, length } = this.#linkGroup(arena, segment, cut)
    const end = link.end(this.#alignment)
    try {
      await this.#orPoisoned(segment.file.write(arena.buffer, 0, length, this.#alignment))
      await this.#orPoisoned(segment.file.sync())
      await this.#orPoisoned(directory.sync())
      const newest = segment.header
      await this.#orPoisoned(manifest.update({ newest, floor: end, pinned: false }))
    } catch (error) {
      this.#abandoned.push(Promise.resolve(segment.file))
      this.#failAll(error)
      throw this.#poison
    }
    this.#freeArenas.push(arena)
    const dropped = deadOf(chain.rewindTo(cut))
    this.#parts.onRewound(cut)
    const spare = this.#supply.forkedTo(prepared)
    if (spare !== undefined) dropped.push({ number: spare, busy: false })
    this.#moveInto(segment, cut, end)
    return dropped
  }

  /** After a poison too: what the kernel has, it may still be writing from our memory. */
  async #reaped(): Promise<void> {
    while (this.#unanswered > 0) {
      await new Promise<void>(resolve => {
        this.#whenIdle = resolve
      })
    }
    await Promise.allSettled(this.#asked)
    // Not before: a write that goes on behind a close would land in whatever gets the descriptor's number.
    for (const file of await Promise.all(this.#abandoned.splice(0))) file?.close()
  }

  #whenIdle: (() => void) | undefined

  #refuse(payloadBytes: number): void {
    if (this.#poison) throw this.#poison
    if (payloadBytes <= this.maxRecordBytes) return
    throw new RiologError(
      'ERR_RIOLOG_RECORD_TOO_LARGE',
      `a record of ${payloadBytes} bytes; the longest that this log takes has ${this.maxRecordBytes}, ` +
        'by maxBufferedBytes and segmentSize',
    )
  }

  /** Its place is fixed now: the group and how far it is filled. */
  #add(group: PendingGroup, bytes: Uint8Array, flags: number): number {
    const { overhead } = this.#dimensions
    if (overhead === 0) return group.add(bytes, flags)
    const place = { header: group.segment.header, lsn: group.lsn + group.fill }
    const sealed = this.#parts.codec.seal({ bytes, flags }, place)
    return group.add(sealed.bytes, sealed.flags)
  }

  /** Copies records, from one place among them to another; adds the LSNs of those that begin. */
  #fill(
    group: PendingGroup,
    records: readonly Packed[],
    from: Cut,
    end: Cut,
    lsns: number[],
  ): void {
    let { record, byte } = from
    while (record < end.record || byte < (record === end.record ? end.byte : 0)) {
      const { bytes, flags } = records[record]
      const to = record === end.record ? end.byte : bytes.length
      const goesOn = to < bytes.length ? RECORD_GOES_ON : 0
      const continues = byte > 0 ? RECORD_CONTINUATION : 0
      const lsn = this.#add(group, bytes.subarray(byte, to), flags | goesOn | continues)
      if (byte === 0) lsns.push(lsn)
      if (goesOn !== 0) return
      record++
      byte = 0
    }
  }

  #take(group: PendingGroup, bytes: Uint8Array, flags: number): number {
    const lsn = this.#add(group, bytes, flags)
    // Never here: callers that append in one turn share a group.
    this.#cutSoon()
    return lsn
  }

  #pending(): PendingGroup[] {
    const groups = [...this.#unfinished]
    groups.push(...this.#inFlight, ...this.#closed)
    if (this.#open && this.#open.count > 0) groups.push(this.#open)
    return groups
  }

  #lastPending(): PendingGroup | undefined {
    if (this.#open && this.#open.count > 0) return this.#open
    return this.#closed.at(-1) ?? this.#inFlight.at(-1)
  }

  /** Takes a record of any length; undefined when there is no room for it now. */
  #takeRecord(bytes: Uint8Array, flags: number): number | undefined {
    const span = recordSpan(bytes.length + this.#dimensions.overhead)
    if (GROUP_HEADER_BYTES + span > this.#maxGroup) {
      return this.#takeLong([{ bytes, flags }], [bytes.length])?.[0]
    }
    const group = this.#groupFor(span)
    return group && this.#take(group, bytes, flags)
  }

  /** The same, for one who is told when it is durable; false when there is no room. */
  #takeWaiting(
    record: Packed,
    resolve: (lsn: number) => void,
    reject: (error: unknown) => void,
  ): boolean {
    const lsn = this.#takeRecord(record.bytes, record.flags)
    if (lsn !== undefined) this.#lastPending()!.waiters.push({ resolve, reject, lsn })
    return lsn !== undefined
  }

  /** An open group with room for records; undefined when memory or the next segment is not there. */
  #groupFor(spanBytes: number): PendingGroup | undefined {
    if (this.#paused > 0) return undefined
    if (this.#open?.fits(spanBytes)) return this.#open
    if (!this.#canTake(spanBytes)) return undefined
    if (!this.#forked) this.#fork()
    const from = this.end
    const rotates = this.#mustRotate(spanBytes)
    const arena = this.#takeArena()
    this.#closeOpenGroup()
    if (rotates) this.#rotate(from)
    const segment = this.#segment!
    const lsn = rotates ? segment.base + this.#alignment : from
    const most = Math.max(this.#groupLimit, GROUP_HEADER_BYTES + spanBytes)
    const limit = Math.min(most, this.#roomIn(segment, lsn))
    this.#open = new PendingGroup(arena, segment, lsn, from, limit)
    return this.#open
  }

  /** Whether a record would be taken now. If only the next segment is missing, it is asked for. */
  #canTake(spanBytes: number): boolean {
    if (this.#paused > 0) return false
    if (this.#open?.fits(spanBytes)) return true
    if (!this.#forked && this.#parts.manifest.busy) return false
    const needsSegment = !this.#forked || this.#mustRotate(spanBytes)
    if (needsSegment && !this.#supply.isReady) {
      if (this.#supply.refusal === undefined) this.#supply.request(this.#nextParent())
      return false
    }
    return this.#freeArenas.length > 0 || this.#arenasLeft > 0 || this.#open?.count === 0
  }

  /** Whether a record of a group's length would be taken, and a batch that was refused before. */
  #hasRoom(): boolean {
    if (!this.#canTake(this.#maxGroup - GROUP_HEADER_BYTES)) return false
    if (this.#refusedBatch === undefined) return true
    if (this.#layOutNow(this.#refusedBatch) === undefined) return false
    this.#refusedBatch = undefined
    return true
  }

  /** Who waits is told of a fresh refusal, not of an old one: there may be space by now. */
  #askAgain(): void {
    if (this.#supply.refusal !== undefined) this.#supply.request(this.#nextParent())
  }

  #mustRotate(spanBytes: number): boolean {
    return this.#roomIn(this.#segment!, this.end) < GROUP_HEADER_BYTES + spanBytes
  }

  #roomIn(segment: LiveSegment, lsn: number): number {
    return Math.min(this.#maxGroup, segment.base + segment.header.fileBytes - lsn)
  }

  /** Only after {@link #canTake}, which bounds the memory. */
  #takeArena(): Arena {
    if (this.#open?.count === 0) {
      // An open group without records gives its arena to the one that replaces it.
      const { arena } = this.#open
      this.#open = undefined
      return arena
    }
    const free = this.#freeArenas.pop()
    if (free !== undefined) return free
    this.#arenasLeft--
    return new Arena(this.#maxGroup)
  }

  #closeOpenGroup(): void {
    const group = this.#open
    this.#open = undefined
    if (group === undefined || group.count === 0) return
    this.#position = group.end(this.#alignment)
    this.#closed.push(group)
  }

  /** Behind the microtasks of this turn, and behind those that they queue: so that callers which are
   *  several promises deep still share the group. */
  #scheduleCut(): void {
    if (this.#cutScheduled) return
    this.#cutScheduled = true
    queueMicrotask(() =>
      process.nextTick(() => {
        this.#cutScheduled = false
        this.#cut()
      }),
    )
  }

  #cutSoon(): void {
    if (this.#unanswered < this.#parts.commitsInFlight) this.#scheduleCut()
  }

  #cut(): void {
    while (this.#unanswered < this.#parts.commitsInFlight && this.#poison === undefined) {
      if (this.#closed.length === 0 && this.#mayCut(this.#open)) this.#closeOpenGroup()
      const group = this.#closed.shift()
      if (group === undefined) return
      this.#submit(group)
    }
  }

  /** Whether the open group waits for no more records. With a delay, that begins to run here. */
  #mayCut(group: PendingGroup | undefined): boolean {
    const { maxDelayMs, pause } = this.#parts
    if (group === undefined || group.count === 0) return false
    if (maxDelayMs === 0 || group.isDue) return true
    if (this.#delayed === group) return false
    this.#delayed = group
    pause(maxDelayMs).then(() => {
      group.isDue = true
      this.#cutSoon()
    })
    return false
  }

  #submit(group: PendingGroup): void {
    this.#inFlight.push(group)
    let length: number
    try {
      length = group.seal(this.#syncedLsn, this.#alignment)
    } catch (error) {
      // A group that does not hold what was counted is a bug; nothing may be written on top of it.
      this.#failAll(error)
      return
    }
    const { file, base } = group.segment
    group.submittedAt = performance.now()
    group.sequence = ++this.#submitted
    this.#unanswered++
    this.#watchdog.asked()
    const { buffer } = group.arena
    const done = (error: Error | undefined) => this.#onCommitted(group, error)
    try {
      file.commit(buffer, 0, length, group.lsn - base, this.#parts.sync, done)
    } catch (error) {
      done(error as Error)
    }
  }

  #onCommitted(group: PendingGroup, error: Error | undefined): void {
    this.#unanswered--
    this.#watchdog.answered()
    if (error !== undefined) this.#failAll(error)
    if (this.#poison !== undefined) {
      if (this.#unanswered === 0) this.#whenIdle?.()
      return
    }
    group.besideUpTo = this.#submitted
    const landedUpTo = this.#lastLanded()
    // A flush that fails may have dropped the bytes of a sync beside it, and Linux tells that once, to
    // one of the two: so a commit counts when all those came back good that were in flight beside it.
    while (this.#inFlight.length > 0) {
      const [oldest] = this.#inFlight
      if (oldest.besideUpTo === 0 || oldest.besideUpTo > landedUpTo) break
      this.#inFlight.shift()
      this.#onDurable(oldest)
    }
    this.#prepareSpareInTime()
    this.#offerRoom()
    this.#scheduleCut()
    this.#stampWhenIdle()
  }

  /** The last of the unbroken run of groups whose commits came back good. */
  #lastLanded(): number {
    const missing = this.#inFlight.find(({ besideUpTo }) => besideUpTo === 0)
    return missing === undefined ? this.#submitted : missing.sequence - 1
  }

  #onDurable(group: PendingGroup): void {
    group.isDurable = true
    this.#syncedLsn = group.end(this.#alignment)
    group.segment.firstGroupEnd ??= this.#syncedLsn
    this.#measure(group)
    if (group.batch === BATCH_FIRST) this.#insideBatch = true
    if (group.batch === BATCH_LAST) this.#insideBatch = false
    if (!this.#insideBatch) {
      this.#durableLsn = this.#syncedLsn
      this.#wakeWatchers()
    }
    for (const waiter of group.waiters) waiter.resolve(waiter.lsn)
    this.#unfinished.push(group)
    if (!this.#insideBatch) {
      for (const { arena } of this.#unfinished.splice(0)) this.#freeArenas.push(arena)
    }
  }

  #measure(group: PendingGroup): void {
    const { lsn, count, begun, recordBytes, openedAt, submittedAt } = group
    const writtenBytes = this.#syncedLsn - lsn
    this.#metrics.committed({ lsn, count, begun, recordBytes, writtenBytes, openedAt, submittedAt })
  }

  metrics(): CommitFigures {
    const limit = this.#arenaCount * this.#maxGroup
    const free = (this.#freeArenas.length + this.#arenasLeft) * this.#maxGroup
    return this.#metrics.read(limit, limit - free)
  }

  /** The timer looks once in a while, and holds no process open; setting one a commit would cost more. */
  #stampWhenIdle(): void {
    const { idleStampMs, manifest } = this.#parts
    if (idleStampMs === 0 || this.#idleTimer !== undefined) return
    const seen = this.#durableLsn
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = undefined
      if (this.#stopped || this.#poison || this.#durableLsn <= manifest.current.floor) return
      if (seen === this.#durableLsn)
        this.#stamping = this.updateManifest(() => ({})).catch(() => {})
      else this.#stampWhenIdle()
    }, idleStampMs)
    this.#idleTimer.unref()
  }

  /** Appends that wait are taken in their order; then those who asked for room are told. */
  #offerRoom(): void {
    const waiting = this.#waitingAppends
    while (waiting.length > 0) {
      const { record, resolve, reject } = waiting[0]
      if (!this.#takeWaiting(record, resolve, reject)) return
      waiting.shift()
    }
    if (this.#waitingForRoom.length === 0 || !this.#hasRoom()) return
    for (const { resolve } of this.#waitingForRoom.splice(0)) resolve()
  }

  #refuseRoom(error: unknown): void {
    for (const { reject } of this.#waitingAppends.splice(0)) reject(error)
    for (const { reject } of this.#waitingForRoom.splice(0)) reject(error)
  }

  #noRoom(): Error {
    const { refusal } = this.#supply
    if (refusal !== undefined) {
      // Told once, and tried again for the next append.
      this.#askAgain()
      return refusal as Error
    }
    return new RiologError(
      'ERR_RIOLOG_BACKPRESSURE',
      'appended records wait for the disk: nothing was taken; await drain() and append again',
    )
  }

  // ---- segments ------------------------------------------------------------------------------

  /** The segment that holds the last byte before the end; never one without a group. */
  #parentOfEnd(): SegmentRef {
    const { chain } = this.#parts
    return this.#position === 0 ? NO_SEGMENT : chain.holdingEnd(this.#position)!.header
  }

  /**
   * The first append of an opening starts a segment of its own, so that no segment ever has two
   * writers. It holds up the thread: its link group, which tells where the parent ends, and the
   * manifest that names it have to be durable before an LSN in it may be handed out.
   */
  #fork(): void {
    const { directory, manifest } = this.#parts
    const cut = this.#position
    const arena = this.#takeArena()
    const segment = this.#asLive(this.#supply.take())
    const { link, length } = this.#linkGroup(arena, segment, cut)
    const end = link.end(this.#alignment)
    try {
      segment.file.writeBlocking(arena.buffer, 0, length, this.#alignment)
      segment.file.syncBlocking()
      directory.syncBlocking()
      manifest.updateBlocking({ newest: segment.header, floor: end, pinned: false })
    } catch (error) {
      segment.file.close()
      this.#failAll(error)
      throw this.#poison
    }
    this.#freeArenas.push(arena)
    this.#supply.nameFromNowOn()
    this.#moveInto(segment, cut, end)
  }

  /** The group without records that tells where the parent ends. */
  #linkGroup(arena: Arena, segment: LiveSegment, cut: number) {
    const at = segment.base + this.#alignment
    const link = new PendingGroup(arena, segment, at, cut, this.#maxGroup)
    return { link, length: link.seal(cut, this.#alignment) }
  }

  /** The manifest names a segment whose link group is durable. */
  #moveInto(segment: LiveSegment, cut: number, end: number): void {
    const isFirst = !this.#forked
    this.#forked = true
    this.#metrics.forks++
    this.#enter(segment, cut)
    segment.firstGroupEnd = end
    this.#position = end
    this.#syncedLsn = end
    this.#durableLsn = end
    this.#wakeWatchers()
    if (isFirst) this.#parts.onForked()
  }

  #rotate(link: number): void {
    const segment = this.#asLive(this.#supply.take())
    this.#metrics.rotations++
    this.#enter(segment, link)
  }

  #enter(segment: LiveSegment, link: number): void {
    const parent = this.#parts.chain.segments.at(-1)
    if (parent !== undefined) parent.cut = Math.min(parent.cut, link)
    segment.link = link
    this.#parts.chain.segments.push(segment)
    this.#segment = segment
  }

  #asLive({ header, file }: PreparedSegment): LiveSegment {
    const base = header.number * this.#segmentSize
    const cut = base + header.fileBytes
    const state = { link: undefined, firstGroupEnd: undefined, readers: 0, retired: false }
    return { header, file, base, firstGroup: undefined, cut, ...state }
  }

  #prepareSpareInTime(): void {
    const segment = this.#segment!
    const used = this.#position - segment.base
    const due = used >= segment.header.fileBytes * PREPARE_AT
    // After a refusal, not at every commit again: only when somebody needs the segment.
    if (due && this.#supply.refusal === undefined) this.#supply.request(segment.header)
  }

  #nextParent(): SegmentRef {
    return this.#segment?.header ?? this.#parentOfEnd()
  }

  #onRefused(error: unknown): void {
    this.#parts.onTrouble('no segment could be prepared', error)
    this.#refuseRoom(error)
  }

  #isAwaited(): boolean {
    const { length } = this.#waitingAppends
    const waits = length > 0 || this.#waitingForRoom.length > 0 || this.#whenPoisoned.size > 0
    return this.#unanswered > 0 || waits
  }

  /** What the disk may never answer: it rejects when the log is poisoned meanwhile. */
  async #orPoisoned<T>(asked: Promise<T>): Promise<T> {
    this.#watchdog.asked()
    this.#asked.add(asked)
    const answered = () => this.#asked.delete(asked)
    asked.then(answered, answered)
    let whenPoisoned!: (error: unknown) => void
    const poisoned = new Promise<never>((_, reject) => {
      whenPoisoned = reject
    })
    this.#whenPoisoned.add(whenPoisoned)
    try {
      return await Promise.race([asked, poisoned])
    } finally {
      this.#whenPoisoned.delete(whenPoisoned)
      this.#watchdog.answered()
    }
  }

  /** Poisons: nothing is written any more, and nothing that completes later counts. */
  #failAll(cause: unknown): void {
    if (this.#poison !== undefined) return
    const poison = new PoisonedError(this.#durableLsn, this.end, cause)
    this.#poison = poison
    this.#supply.stop({ poisoned: true })
    this.#parts.manifest.stop()
    this.#parts.onTrouble('the log is poisoned', poison)
    this.#wakeWatchers()
    for (const group of this.#pending()) {
      for (const waiter of group.waiters) waiter.reject(poison)
    }
    this.#refuseRoom(poison)
    for (const reject of this.#whenPoisoned) reject(poison)
  }
}

function stuck(milliseconds: number): RiologError {
  const message = `the disk has answered nothing for ${milliseconds} ms (commitTimeoutMs)`
  return new RiologError('ERR_RIOLOG_TIMEOUT', message)
}

/**
 * What stands between `append` and the disk. append copies a record into the group that fills and makes
 * no native call; the queue commits that group (commit-queue.ts), and the segment that it lies in is
 * followed by the next (current-segment.ts).
 */

import type { BusyPoll } from '../../busy-poll.ts'
import type { Clock } from '../../disk/clock.ts'
import type { DiskDirectory } from '../../disk/disk.ts'
import { logClosed, type PoisonedError, RiologError } from '../../errors.ts'
import { GROUP_HEADER_BYTES, recordSpan } from '../../segment/format.ts'
import { BATCH_FIRST, BATCH_LAST, BATCH_MIDDLE } from '../../segment/group.ts'
import { type CommitFigures, CommitMetrics } from '../metrics.ts'
import type { Codec, Packed } from '../records/codec.ts'
import { Fragments } from '../records/fragments.ts'
import { lengthOf, ownBytes, type Payload, viewOf } from '../records/payload.ts'
import { IdleStamp } from '../segments/idle-stamp.ts'
import type { LiveChain } from '../segments/live-chain.ts'
import type { ManifestFile } from '../segments/manifest-file.ts'
import type { DeadSegment } from '../segments/recycle-pool.ts'
import type { SegmentMaker } from '../segments/segment-maker.ts'
import { SegmentSupply } from '../segments/segment-supply.ts'
import { type Arena, ArenaPool } from './arena-pool.ts'
import { fillGroup } from './batch-filling.ts'
import { type BatchLayout, type Cut, type Dimensions, isLong, layOut } from './batch-layout.ts'
import { CommitQueue } from './commit-queue.ts'
import type { CommitWayChoice } from './commit-way.ts'
import { CurrentSegment, type Fork } from './current-segment.ts'
import { Health } from './health.ts'
import type { Limits } from './limits.ts'
import { Overlap, type OverlapMode } from './overlap.ts'
import { PendingGroup, readPending } from './pending-group.ts'
import { payloadsOf, type Slices } from './slices.ts'
import type { WhenDurable } from './waiters.ts'
import { type WaitingAppend, WaitingRoom } from './waiting-room.ts'

export interface WriterParts {
  readonly clock: Clock
  readonly directory: DiskDirectory
  readonly manifest: ManifestFile
  readonly chain: LiveChain
  readonly maker: SegmentMaker
  /** Files full of zeros that are kept ready for bursts, at most. */
  readonly zeroedSegments: number
  /** The end of the log as recovery found it. */
  readonly end: number
  readonly limits: Limits
  readonly codec: Codec
  /** The longest group that is cut, unless a single record is longer. */
  readonly maxGroupBytes: number
  readonly commitsInFlight: number | undefined
  readonly ways: CommitWayChoice
  readonly busyPoll: BusyPoll | undefined
  readonly overlap: OverlapMode
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
  /** Told each time that the durable LSN has moved. */
  readonly onDurable: (durableLsn: number) => void
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

  readonly #arenas: ArenaPool
  readonly #health: Health
  readonly #metrics: CommitMetrics
  readonly #queue: CommitQueue
  readonly #supply: SegmentSupply
  readonly #current: CurrentSegment
  readonly #room = new WaitingRoom()
  readonly #idleStamp: IdleStamp
  /** How far the floor has been asked to move. */
  #stampedLsn = 0

  /** Lengths of the records of a batch, or of a record in fragments, that there was no room for. */
  #refusedBatch: readonly number[] | undefined
  /** Rewinds under way or waiting for their turn: nothing is taken meanwhile. */
  #paused = 0

  constructor(parts: WriterParts) {
    this.#parts = parts
    const { directory, manifest, chain, maker, pause } = parts
    const { alignment, segmentSize } = manifest.current
    this.#alignment = alignment
    this.#segmentSize = segmentSize
    const { dimensions, groupCount, maxRecordBytes } = parts.limits
    this.#dimensions = dimensions
    this.#maxGroup = dimensions.maxGroup
    this.maxRecordBytes = maxRecordBytes
    this.#groupLimit = Math.min(this.#maxGroup, parts.maxGroupBytes)
    this.#arenas = new ArenaPool(groupCount, this.#maxGroup)
    this.#metrics = new CommitMetrics(directory.path)
    this.#health = new Health({
      clock: parts.clock,
      commitTimeoutMs: parts.commitTimeoutMs,
      isAwaited: () => this.#queue.isAwaited || !this.#room.isEmpty,
      undecided: () => ({ durableLsn: this.durableLsn, end: this.end }),
      onPoisoned: poison => this.#onPoisoned(poison),
    })
    const [arenas, health, metrics] = [this.#arenas, this.#health, this.#metrics]
    const onCommitted = () => this.#offerRoom()
    const tidyUp = () => this.#tidyUp()
    const overlap = new Overlap(parts.overlap)
    const own = { alignment, arenas, health, metrics, onCommitted, tidyUp, overlap }
    this.#queue = new CommitQueue({ ...parts, ...own })
    this.#supply = new SegmentSupply({
      maker,
      manifest,
      zeroedSegments: parts.zeroedSegments,
      batchBytes: alignment + groupCount * this.#maxGroup,
      durableLsn: () => this.durableLsn,
      pause,
      isAwaited: () => !this.#room.isEmpty,
      isStreaming: () => this.#queue.isStreaming,
      isCommitting: () => this.#queue.isAwaited,
      roomLeft: () => (this.#current.hasForked ? this.#current.roomBehind(this.end) : 0),
      onReady: () => {
        health.answered()
        this.#offerRoom()
      },
      onRefused: error => {
        this.#room.refuse(error)
        parts.onTrouble('no segment could be prepared', error)
      },
      onFailed: error => health.fail(error),
      onAnswered: () => health.answered(),
    })
    manifest.onAnswered = () => health.answered()
    const supply = this.#supply
    this.#current = new CurrentSegment({ directory, manifest, chain, supply, health })
    this.#idleStamp = new IdleStamp({
      clock: parts.clock,
      idleMs: parts.idleStampMs,
      durableLsn: () => this.durableLsn,
      stampedLsn: () => manifest.current.floor,
      stamp: () => this.updateManifest(() => ({})),
    })
  }

  get durableLsn(): number {
    return this.#queue.durableLsn
  }

  /** The end of everything appended. */
  get end(): number {
    return this.#queue.end
  }

  get poison(): PoisonedError | undefined {
    return this.#health.poison
  }

  /** True when the manifest has to be told of this opening's end. */
  get hasForked(): boolean {
    return this.#current.hasForked
  }

  // ---- taking records ------------------------------------------------------------------------

  /**
   * Takes a record, or throws with nothing taken.
   * @param whenDurable told once, when it is or never will be
   * @throws ERR_RIOLOG_RECORD_TOO_LARGE, ERR_RIOLOG_BACKPRESSURE, ERR_RIOLOG_NO_SPACE,
   *   ERR_RIOLOG_POISONED
   */
  append(payload: Payload, whenDurable: WhenDurable | undefined): number {
    const given = lengthOf(payload)
    const group = this.#groupAtOnce(given)
    if (group !== undefined) {
      const lsn = group.add(payload, given, 0)
      if (whenDurable !== undefined) group.waiters.addCallback(whenDurable, lsn)
      return lsn
    }
    this.#queue.beforeAppend()
    this.#refuse(given)
    const { bytes, length, flags } = this.#parts.codec.pack(payload, given)
    const lsn = this.#takeInTurn(bytes, length, flags)
    if (lsn !== undefined) {
      if (whenDurable !== undefined)
        this.#queue.lastPending()!.waiters.addCallback(whenDurable, lsn)
      return lsn
    }
    if (isLong(length, this.#dimensions)) this.#refusedBatch = [length]
    throw this.#noRoom()
  }

  /**
   * Takes all of the records, to be recovered all or none, or throws with nothing taken.
   * @throws ERR_RIOLOG_BATCH_TOO_LARGE, and what {@link append} throws
   */
  appendBatch(payloads: readonly Payload[]): number[] {
    this.#queue.beforeAppend()
    // A loop, also where the records are added: `map` calls for each record, and begins with a list of integers.
    const given = new Array<number>(payloads.length)
    for (let i = 0; i < given.length; i++) {
      given[i] = lengthOf(payloads[i])
      this.#refuse(given[i])
    }
    if (payloads.length === 0) return []
    if (payloads.length === 1) return [this.append(payloads[0], undefined)]
    const { codec } = this.#parts
    const { bytes, lengths, flags } = codec.packAll(payloads, given)
    let span = 0
    for (const length of lengths) span += recordSpan(length + codec.overhead)
    if (GROUP_HEADER_BYTES + span > this.#groupLimit) {
      this.#refuseTooLong(lengths)
      const records = bytes.map((each, i) => ({
        bytes: each,
        length: lengths[i],
        flags: flags?.[i] ?? 0,
      }))
      const lsns = this.#room.hasAppends ? undefined : this.#takeLong(records, lengths)
      if (lsns !== undefined) return lsns
      this.#refusedBatch = lengths
      throw this.#noRoom()
    }
    // What stands in one group is found as a whole, or not at all.
    const group = this.#groupInTurn(span)
    const lsns = new Array<number>(bytes.length)
    this.#wholly(() => {
      for (let i = 0; i < bytes.length; i++) {
        lsns[i] = this.#add(group, bytes[i], lengths[i], flags?.[i] ?? 0)
      }
    })
    this.#queue.cutSoon()
    return lsns
  }

  /** The same for slices of one piece of memory. */
  appendSlices(slices: Slices): number[] {
    const { count, length, span } = slices
    const most = this.#groupLimit - GROUP_HEADER_BYTES
    if (count === 0 || length > most || span > most || !this.#parts.codec.isPlain) {
      return this.appendBatch(payloadsOf(slices))
    }
    this.#queue.beforeAppend()
    const lsns = this.#groupInTurn(span).addSlices(slices)
    this.#queue.cutSoon()
    return lsns
  }

  /**
   * Takes a record as soon as there is room; resolves to its LSN once it is durable.
   * @throws what {@link append} throws but ERR_RIOLOG_BACKPRESSURE
   */
  appendDurable(payload: Payload): Promise<number> {
    const given = lengthOf(payload)
    const group = this.#groupAtOnce(given)
    if (group !== undefined) return group.waiters.promise(group.add(payload, given, 0))
    this.#queue.beforeAppend()
    this.#refuse(given)
    const { bytes, length, flags } = this.#parts.codec.pack(payload, given)
    const lsn = this.#takeInTurn(bytes, length, flags)
    if (lsn !== undefined) return this.#queue.lastPending()!.waiters.promise(lsn)
    return new Promise((resolve, reject) => {
      this.#askAgain()
      // The caller may reuse its bytes at once, here too.
      const record = { bytes: ownBytes(Buffer.from(viewOf(bytes))), length, flags }
      this.#room.addAppend({ record, resolve, reject })
      this.#queue.disturb()
      this.#health.asked()
    })
  }

  /** Resolves once a record of a group's length would be taken, and what was refused last. */
  drain(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#health.refuseIfPoisoned()
      if (!this.#room.hasAppends && this.#hasRoom()) return resolve()
      this.#askAgain()
      this.#room.addCaller(resolve, reject)
      this.#health.asked()
    })
  }

  #refuse(payloadBytes: number): void {
    this.#health.refuseIfPoisoned()
    if (payloadBytes <= this.maxRecordBytes) return
    throw new RiologError(
      'ERR_RIOLOG_RECORD_TOO_LARGE',
      `a record of ${payloadBytes} bytes; the longest that this log takes has ${this.maxRecordBytes}, ` +
        'by maxBufferedBytes and segmentSize',
    )
  }

  /** An open group that takes the record as it is, with nothing else to be asked; undefined: ask. */
  #groupAtOnce(length: number): PendingGroup | undefined {
    const group = this.#queue.undisturbed
    return group?.fits(recordSpan(length)) ? group : undefined
  }

  /** Takes a record unless others wait for room; undefined: it has to wait, too. */
  #takeInTurn(bytes: Payload, length: number, flags: number): number | undefined {
    if (this.#room.hasAppends) return undefined
    const lsn = this.#takeRecord(bytes, length, flags)
    // Who is told of an opening's end, in the middle of this, may wait for room by now. The rest has been asked since.
    const isCalm = lsn !== undefined && !this.#room.hasAppends
    if (isCalm && this.#parts.codec.isPlain) this.#queue.settle()
    return lsn
  }

  /** Takes a record of any length; undefined when there is no room for it now. */
  #takeRecord(bytes: Payload, length: number, flags: number): number | undefined {
    const span = recordSpan(length + this.#dimensions.overhead)
    if (GROUP_HEADER_BYTES + span > this.#maxGroup) {
      return this.#takeLong([{ bytes, length, flags }], [length])?.[0]
    }
    const group = this.#groupFor(span)
    return group && this.#take(group, bytes, length, flags)
  }

  /** The same, for one who has waited for room; false when there is none. */
  #takeWaiting({ record, resolve, reject }: WaitingAppend): boolean {
    const lsn = this.#takeRecord(record.bytes, record.length, record.flags)
    if (lsn !== undefined) this.#queue.lastPending()!.waiters.addPromise(resolve, reject, lsn)
    return lsn !== undefined
  }

  #take(group: PendingGroup, bytes: Payload, length: number, flags: number): number {
    const lsn = this.#add(group, bytes, length, flags)
    // Behind this turn: callers that append in one turn share a group.
    this.#queue.cutSoon()
    return lsn
  }

  /** Its place is fixed now: the group and how far it is filled. */
  #add(group: PendingGroup, bytes: Payload, length: number, flags: number): number {
    const { overhead } = this.#dimensions
    if (overhead === 0) return group.add(bytes, length, flags)
    const place = { header: group.segment.header, lsn: group.lsn + group.fill }
    const sealed = this.#parts.codec.seal({ bytes, length, flags }, place)
    return group.add(sealed.bytes, sealed.length, sealed.flags)
  }

  /** An open group with room for records; undefined when memory or the next segment is not there. */
  #groupFor(spanBytes: number): PendingGroup | undefined {
    // Who is told in the middle of an append may have met a failing disk: nobody would be told of what is taken behind it.
    this.#health.refuseIfPoisoned()
    if (this.#paused > 0) return undefined
    const { open } = this.#queue
    if (open?.fits(spanBytes)) return open
    if (!this.#canTake(spanBytes)) return undefined
    if (!this.#current.hasForked) {
      this.#fork()
      // Listeners were told of its end, and may have appended.
      return this.#groupFor(spanBytes)
    }
    const from = this.end
    const rotates = this.#mustRotate(spanBytes)
    const arena = this.#takeArena()
    this.#queue.closeOpen()
    const lsn = rotates ? this.#rotate(from) : from
    const most = Math.max(this.#groupLimit, GROUP_HEADER_BYTES + spanBytes)
    const limit = Math.min(most, this.#roomBehind(lsn))
    const group = new PendingGroup(arena, this.#current.segment, lsn, from, limit)
    this.#queue.begin(group)
    return group
  }

  /**
   * The same unless others wait for room.
   * @throws ERR_RIOLOG_BACKPRESSURE, ERR_RIOLOG_NO_SPACE
   */
  #groupInTurn(spanBytes: number): PendingGroup {
    const group = this.#room.hasAppends ? undefined : this.#groupFor(spanBytes)
    if (group === undefined) throw this.#noRoom()
    return group
  }

  /** Whether a record would be taken now. If only the next segment is missing, it is asked for. */
  #canTake(spanBytes: number): boolean {
    const { open } = this.#queue
    if (this.#paused > 0) return false
    if (open?.fits(spanBytes)) return true
    const { hasForked } = this.#current
    if (!hasForked && this.#parts.manifest.busy) return false
    const needsSegment = !hasForked || this.#mustRotate(spanBytes)
    if (needsSegment && !this.#supply.isReady) {
      if (this.#supply.refusal === undefined) this.#requestNext()
      return false
    }
    return this.#arenas.available > 0 || open?.count === 0
  }

  #mustRotate(spanBytes: number): boolean {
    return this.#roomBehind(this.end) < GROUP_HEADER_BYTES + spanBytes
  }

  #roomBehind(lsn: number): number {
    return Math.min(this.#maxGroup, this.#current.roomBehind(lsn))
  }

  /** Only after {@link #canTake}. */
  #takeArena(): Arena {
    return this.#queue.takeUnused() ?? this.#arenas.take()
  }

  // ---- what is longer than a group -----------------------------------------------------------

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
    const arenas = this.#takeArenas(layout.groups.length)
    this.#wholly(() => {
      this.#queue.closeOpen()
      let at: Cut = { record: 0, byte: 0 }
      for (const [i, end] of layout.groups.entries()) {
        const from = this.#queue.position
        const lsn = i === layout.rotatesBefore ? this.#rotate(from) : from
        const group = new PendingGroup(arenas[i], this.#current.segment, lsn, from, 0)
        group.batch = i === 0 ? BATCH_FIRST : i === last ? BATCH_LAST : BATCH_MIDDLE
        fillGroup(records, at, end, lsns, (bytes, length, flags) =>
          this.#add(group, bytes, length, flags),
        )
        at = end
        this.#queue.begin(group)
        this.#queue.closeOpen()
      }
    })
    this.#queue.cutSoon()
    return lsns
  }

  /** All that a batch needs, before the first of it stands anywhere. @throws ERR_RIOLOG_OUT_OF_MEMORY */
  #takeArenas(count: number): Arena[] {
    const taken: Arena[] = []
    try {
      while (taken.length < count) taken.push(this.#takeArena())
      return taken
    } catch (error) {
      for (const arena of taken) this.#arenas.give(arena)
      throw error
    }
  }

  /** A batch that cannot be finished poisons: its first records stand in a group that others share, or in one that is closed. */
  #wholly<T>(add: () => T): T {
    try {
      return add()
    } catch (error) {
      throw this.#health.fail(error)
    }
  }

  /** Where the groups of a batch would stand; undefined when there is no room for all of them now. */
  #layOutNow(lengths: readonly number[]): BatchLayout | undefined {
    this.#health.refuseIfPoisoned()
    if (!this.#canTake(0)) return undefined
    if (!this.#current.hasForked) {
      this.#fork()
      return this.#layOutNow(lengths)
    }
    const nextRoom = this.#supply.readyFileBytes - this.#alignment
    // What does not fit into both may do so where the next segment has it alone.
    const layout = [this.#current.roomBehind(this.end), 0]
      .map(roomLeft => this.#layOut(lengths, roomLeft, nextRoom))
      .find(found => found !== undefined && found.groups.length <= this.#arenas.count)
    if (layout === undefined) this.#requestNext()
    return layout !== undefined && layout.groups.length <= this.#arenas.available
      ? layout
      : undefined
  }

  #layOut(lengths: readonly number[], roomLeft: number, nextRoom: number): BatchLayout | undefined {
    const groupLimit = this.#groupLimit
    return layOut(lengths, { ...this.#dimensions, groupLimit, roomLeft, nextRoom })
  }

  /** @throws ERR_RIOLOG_BATCH_TOO_LARGE for what would never have room */
  #refuseTooLong(lengths: readonly number[]): void {
    const groups = this.#arenas.count - 1
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

  // ---- back-pressure -------------------------------------------------------------------------

  /** Whether a record of a group's length would be taken, and a batch that was refused before. */
  #hasRoom(): boolean {
    if (!this.#canTake(this.#maxGroup - GROUP_HEADER_BYTES)) return false
    if (this.#refusedBatch === undefined) return true
    if (this.#layOutNow(this.#refusedBatch) === undefined) return false
    this.#refusedBatch = undefined
    return true
  }

  #offerRoom(): void {
    this.#room.offer(
      waiting => this.#takeWaiting(waiting),
      () => this.#hasRoom(),
    )
  }

  /** Who waits is told of a fresh refusal, not of an old one: there may be space by now. */
  #askAgain(): void {
    if (this.#supply.refusal !== undefined) this.#requestNext()
  }

  #noRoom(): Error {
    const { refusal } = this.#supply
    // Beside a rewind there is no room for another reason.
    if (refusal !== undefined && this.#paused === 0) {
      // Told once, and tried again for the next append.
      this.#askAgain()
      return refusal as Error
    }
    return new RiologError(
      'ERR_RIOLOG_BACKPRESSURE',
      'appended records wait for the disk: nothing was taken; await drain() and append again',
    )
  }

  // ---- durability ----------------------------------------------------------------------------

  /** Resolves to the durable LSN once everything appended so far is durable. */
  flush(): Promise<number> {
    return this.#queue.flush()
  }

  /** The same, holding up the thread. */
  flushSync(): number {
    return this.#queue.flushSync()
  }

  /** As {@link CommitQueue.durableBeyond}. */
  durableBeyond(lsn: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#queue.durableBeyond(lsn, signal)
  }

  /** A copy of a record that is appended but not yet durable; undefined when none starts there. */
  readPending(lsn: number): Uint8Array | undefined {
    const fragments = new Fragments(this.#parts.codec, this.#segmentSize)
    return readPending(this.#queue.pending(), lsn, fragments)
  }

  metrics(): CommitFigures {
    return this.#metrics.read(this.#arenas.limitBytes, this.#arenas.bytesInUse)
  }

  #tidyUp(): void {
    this.#metrics.count()
    this.#current.requestInTime(this.#queue.position)
    this.#idleStamp.moved()
    this.#stampInTime()
  }

  /**
   * An opening reads from the floor on. So it moves once a segment holds something durable, and again when it is half a
   * segment behind: what is read stays below one segment, also while the manifest is being told.
   */
  #stampInTime(): void {
    const { segment } = this.#current
    const { durableLsn } = this
    const from = Math.max(this.#stampedLsn, this.#parts.manifest.current.floor)
    if (durableLsn <= segment.base) return
    if (from >= segment.base && durableLsn - from <= this.#segmentSize / 2) return
    this.#stampedLsn = durableLsn
    this.#idleStamp.fellBehind()
  }

  /** Nothing is written any more, and nothing that completes later counts. */
  #onPoisoned(poison: PoisonedError): void {
    this.#idleStamp.stop()
    this.#supply.stop({ poisoned: true })
    this.#parts.manifest.stop()
    this.#queue.fail(poison)
    this.#room.refuse(poison)
    this.#parts.onTrouble('the log is poisoned', poison)
  }

  // ---- segments and the manifest -------------------------------------------------------------

  /** Prepares the opening's first segment; a failure is told at the first append. */
  async prepareFirst(): Promise<void> {
    this.#requestNext()
    await this.#supply.settled()
  }

  #requestNext(): void {
    this.#current.requestNext(this.#queue.position)
  }

  /** Returns the LSN at which the next segment begins. */
  #rotate(link: number): number {
    this.#current.rotate(link)
    this.#metrics.rotations++
    return this.#current.segment.base + this.#alignment
  }

  /** The opening's first segment. */
  #fork(): void {
    const arena = this.#takeArena()
    this.#moveInto(this.#current.fork(this.#queue.position, arena), arena)
    this.#parts.onForked()
  }

  #moveInto({ end }: Fork, arena: Arena): void {
    this.#arenas.give(arena)
    this.#metrics.forks++
    this.#queue.moveTo(end)
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
    if (cut === this.durableLsn) return []
    const isFirst = !this.#current.hasForked
    const arena = this.#takeArena()
    let fork: Fork
    try {
      fork = await this.#current.forkAt(cut, arena)
    } catch (error) {
      // After a poison the disk may still be writing from it.
      if (this.poison === undefined) this.#arenas.give(arena)
      throw error
    }
    this.#parts.onRewound(cut)
    this.#moveInto(fork, arena)
    if (isFirst) this.#parts.onForked()
    return fork.dropped
  }

  /** What is appended from now on comes behind a rewind; it is taken when all of them are done. */
  pause(): void {
    this.#paused++
    this.#queue.disturb()
  }

  resume(): void {
    this.#paused--
    if (this.#paused > 0 || this.poison !== undefined) return
    // Who came beside a fork has asked for nothing.
    if (!this.#room.isEmpty) this.#askAgain()
    this.#offerRoom()
  }

  /**
   * Tells the manifest something that is not a segment. The floor goes with it.
   * @throws ERR_RIOLOG_POISONED: whether it is in force is undecided then
   */
  async updateManifest(change: () => { readonly trimLsn?: number }): Promise<void> {
    this.#health.refuseIfPoisoned()
    try {
      const { manifest } = this.#parts
      // A rewind may have raised the floor and not yet told us.
      const floor = () => Math.max(manifest.current.floor, this.durableLsn)
      const updating = manifest.update(() => ({ ...change(), floor: floor() }))
      await this.#health.orPoisoned(updating)
    } catch (error) {
      throw this.#health.fail(error)
    }
    this.#offerRoom() // an opening's fork waits for the manifest
  }

  /** As {@link Health.orPoisoned}. */
  orPoisoned<T>(asked: Promise<T>): Promise<T> {
    return this.#health.orPoisoned(asked)
  }

  /** Waits for everything accepted, and for what is under way beside it. */
  async stop(): Promise<void> {
    const last = () => this.#queue.lastPending()
    while (!this.poison && (this.#room.hasAppends || last())) {
      await (last() ? this.flush() : this.drain()).catch(() => {})
    }
    this.#idleStamp.stop()
    this.#queue.stop()
    this.#health.stop()
    await this.#idleStamp.settled()
    this.#supply.stop()
    await this.#queue.answered()
    await this.#health.settled()
    this.#room.refuse(logClosed())
    await this.#supply.close()
  }
}

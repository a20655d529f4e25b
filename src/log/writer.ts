/**
 * The commit pipeline: what stands between `append` and the disk.
 *
 * append copies a record into the open group and makes no native call. One chain (write, then
 * fdatasync) is in flight at a time; while it is, the next group fills: the sync in flight is the
 * batching window. When it completes, the group's waiters are told, the callers that were waiting
 * append again, and only behind them the next group is cut, sealed and submitted.
 */
import type { DiskDirectory } from '../disk/disk.ts'
import { PoisonedError, RiologError } from '../errors.ts'
import { GROUP_HEADER_BYTES, maxGroupBytes, maxRecordBytes, recordSpan } from '../segment/format.ts'
import type { SegmentRef } from '../segment/header.ts'
import type { LiveChain, LiveSegment } from './live-chain.ts'
import { NO_SEGMENT } from './manifest.ts'
import type { ManifestFile } from './manifest-file.ts'
import { Arena, PendingGroup } from './pending-group.ts'
import type { PreparedSegment, SegmentMaker } from './segment-maker.ts'
import { SegmentSupply } from './segment-supply.ts'

/** The next segment is prepared once this part of the current file is used. */
const PREPARE_AT = 1 / 4

interface WaitingAppend {
  readonly payload: Uint8Array
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
  /** The most memory for groups that are not yet durable, in bytes. */
  readonly maxBufferedBytes: number
  /** Told of each failure that poisons, and of files that could not be prepared. */
  readonly onTrouble: (what: string, error: unknown) => void
  /** Told when the opening's first segment is in force: both manifest copies name it. */
  readonly onForked: () => void
}

export class Writer {
  readonly maxRecordBytes: number
  readonly #parts: WriterParts
  readonly #alignment: number
  readonly #segmentSize: number
  readonly #maxGroup: number

  #durableLsn: number
  /** The end of everything appended, up to the open group. */
  #position: number
  #segment: LiveSegment | undefined
  #open: PendingGroup | undefined
  readonly #closed: PendingGroup[] = []
  #inFlight: PendingGroup | undefined
  #cutScheduled = false

  readonly #freeArenas: Arena[] = []
  #arenasLeft: number

  readonly #supply: SegmentSupply
  #forked = false

  readonly #waitingAppends: WaitingAppend[] = []
  #waitingForRoom: { resolve: () => void; reject: (error: unknown) => void }[] = []
  #poison: PoisonedError | undefined

  constructor(parts: WriterParts) {
    this.#parts = parts
    const { alignment, segmentSize } = parts.manifest.current
    this.#alignment = alignment
    this.#segmentSize = segmentSize
    this.#maxGroup = maxGroupBytes(segmentSize, alignment)
    this.maxRecordBytes = maxRecordBytes(segmentSize, alignment)
    this.#durableLsn = parts.end
    this.#position = parts.end
    this.#arenasLeft = Math.max(2, Math.floor(parts.maxBufferedBytes / this.#maxGroup))
    this.#supply = new SegmentSupply({
      maker: parts.maker,
      manifest: parts.manifest,
      durableLsn: () => this.#durableLsn,
      isAwaited: () => this.#waitingAppends.length > 0 || this.#waitingForRoom.length > 0,
      onReady: () => this.#offerRoom(),
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
    const group = this.#waitingAppends.length === 0 ? this.#groupFor(payload.length) : undefined
    if (group === undefined) throw this.#noRoom()
    return this.#take(group, payload)
  }

  /** Takes a record as soon as there is room; resolves to its LSN once it is durable. */
  appendDurable(payload: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#refuse(payload.length)
      const group = this.#waitingAppends.length === 0 ? this.#groupFor(payload.length) : undefined
      if (group !== undefined) {
        group.waiters.push({ resolve, reject, lsn: this.#take(group, payload) })
        return
      }
      this.#askAgain()
      // The caller may reuse its bytes at once, here too.
      this.#waitingAppends.push({ payload: Buffer.from(payload), resolve, reject })
    })
  }

  /** Resolves to the durable LSN once everything appended so far is durable. */
  flush(): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#poison) throw this.#poison
      const last = this.#lastPending()
      if (last === undefined) return resolve(this.#durableLsn)
      last.waiters.push({ resolve: () => resolve(this.#durableLsn), reject, lsn: 0 })
      if (last === this.#open && last.count > 0) this.#scheduleCut()
    })
  }

  /** Resolves once a record of any length would be taken. */
  drain(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#poison) throw this.#poison
      if (this.#waitingAppends.length === 0 && this.#canTake(this.maxRecordBytes)) return resolve()
      this.#askAgain()
      this.#waitingForRoom.push({ resolve, reject })
    })
  }

  /** A copy of a record that is appended but not yet durable; undefined when none starts there. */
  readPending(lsn: number): Uint8Array | undefined {
    for (const group of this.#pending()) {
      if (lsn >= group.lsn && lsn < group.lsn + group.fill) return group.recordAt(lsn)
    }
    return undefined
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
    this.#supply.stop()
    await this.#reaped()
    for (const waiting of this.#waitingAppends.splice(0)) waiting.reject(this.#noRoom())
    await this.#supply.close()
  }

  /** After a poison too: what the kernel has, it may still be writing from our memory. */
  async #reaped(): Promise<void> {
    while (this.#inFlight !== undefined) {
      await new Promise<void>(resolve => {
        this.#whenIdle = resolve
      })
    }
  }

  #whenIdle: (() => void) | undefined

  #refuse(payloadBytes: number): void {
    if (this.#poison) throw this.#poison
    if (payloadBytes <= this.maxRecordBytes) return
    throw new RiologError(
      'ERR_RIOLOG_RECORD_TOO_LARGE',
      `a record of ${payloadBytes} bytes; the longest that this log takes has ${this.maxRecordBytes}`,
    )
  }

  #take(group: PendingGroup, payload: Uint8Array): number {
    const lsn = group.add(payload)
    // Never here: callers that append in one turn share a group.
    if (this.#inFlight === undefined) this.#scheduleCut()
    return lsn
  }

  #pending(): PendingGroup[] {
    const groups = [...this.#closed]
    if (this.#inFlight) groups.unshift(this.#inFlight)
    if (this.#open && this.#open.count > 0) groups.push(this.#open)
    return groups
  }

  #lastPending(): PendingGroup | undefined {
    if (this.#open && this.#open.count > 0) return this.#open
    return this.#closed.at(-1) ?? this.#inFlight
  }

  /** An open group with room for a record; undefined when memory or the next segment is not there. */
  #groupFor(payloadBytes: number): PendingGroup | undefined {
    if (this.#open?.fits(payloadBytes)) return this.#open
    if (!this.#canTake(payloadBytes)) return undefined
    if (!this.#forked) this.#fork()
    const from = this.end
    const rotates = this.#mustRotate(payloadBytes)
    const arena = this.#takeArena()
    this.#closeOpenGroup()
    if (rotates) this.#rotate(from)
    const segment = this.#segment!
    const lsn = rotates ? segment.base + this.#alignment : from
    this.#open = new PendingGroup(arena, segment, lsn, from, this.#roomIn(segment, lsn))
    return this.#open
  }

  /** Whether a record would be taken now. If only the next segment is missing, it is asked for. */
  #canTake(payloadBytes: number): boolean {
    if (this.#open?.fits(payloadBytes)) return true
    const needsSegment = !this.#forked || this.#mustRotate(payloadBytes)
    if (needsSegment && !this.#supply.isReady) {
      if (this.#supply.refusal === undefined) this.#supply.request(this.#nextParent())
      return false
    }
    return this.#freeArenas.length > 0 || this.#arenasLeft > 0 || this.#open?.count === 0
  }

  /** Who waits is told of a fresh refusal, not of an old one: there may be space by now. */
  #askAgain(): void {
    if (this.#supply.refusal !== undefined) this.#supply.request(this.#nextParent())
  }

  #mustRotate(payloadBytes: number): boolean {
    const needed = GROUP_HEADER_BYTES + recordSpan(payloadBytes)
    return this.#roomIn(this.#segment!, this.end) < needed
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

  #cut(): void {
    if (this.#inFlight !== undefined || this.#poison !== undefined) return
    if (this.#closed.length === 0) this.#closeOpenGroup()
    const group = this.#closed.shift()
    if (group === undefined) return
    this.#inFlight = group
    try {
      const length = group.seal(this.#durableLsn, this.#alignment)
      const { file, base } = group.segment
      file.commit(group.arena.buffer, 0, length, group.lsn - base, error =>
        this.#onCommitted(group, error),
      )
    } catch (error) {
      // A group that does not hold what was counted is a bug; nothing may be written on top of it.
      this.#inFlight = undefined
      this.#closed.unshift(group)
      this.#failAll(error)
    }
  }

  #onCommitted(group: PendingGroup, error: Error | undefined): void {
    this.#inFlight = undefined
    if (error !== undefined && this.#poison === undefined) {
      this.#closed.unshift(group)
      this.#failAll(error)
    }
    if (this.#poison !== undefined) {
      this.#whenIdle?.()
      return
    }
    this.#durableLsn = group.end(this.#alignment)
    for (const waiter of group.waiters) waiter.resolve(waiter.lsn)
    this.#freeArenas.push(group.arena)
    this.#prepareSpareInTime()
    this.#offerRoom()
    this.#scheduleCut()
  }

  /** Appends that wait are taken in their order; then those who asked for room are told. */
  #offerRoom(): void {
    const waiting = this.#waitingAppends
    while (waiting.length > 0) {
      const group = this.#groupFor(waiting[0].payload.length)
      if (group === undefined) return
      const { payload, resolve, reject } = waiting.shift()!
      group.waiters.push({ resolve, reject, lsn: this.#take(group, payload) })
    }
    if (this.#waitingForRoom.length === 0 || !this.#canTake(this.maxRecordBytes)) return
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
    const at = segment.base + this.#alignment
    const link = new PendingGroup(arena, segment, at, cut, this.#maxGroup)
    const length = link.seal(cut, this.#alignment)
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
    this.#forked = true
    this.#supply.nameFromNowOn()
    this.#enter(segment, link.previousEnd)
    this.#position = end
    this.#durableLsn = end
    this.#parts.onForked()
  }

  #rotate(link: number): void {
    const segment = this.#asLive(this.#supply.take())
    this.#enter(segment, link)
  }

  #enter(segment: LiveSegment, link: number): void {
    const parent = this.#parts.chain.segments.at(-1)
    if (parent !== undefined) parent.cut = Math.min(parent.cut, link)
    this.#parts.chain.segments.push(segment)
    this.#segment = segment
  }

  #asLive({ header, file }: PreparedSegment): LiveSegment {
    const base = header.number * this.#segmentSize
    return { header, file, base, firstGroup: undefined, cut: base + header.fileBytes }
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

  /** Poisons: nothing is written any more, and nothing that completes later counts. */
  #failAll(cause: unknown): void {
    if (this.#poison !== undefined) return
    const poison = new PoisonedError(this.#durableLsn, this.end, cause)
    this.#poison = poison
    this.#supply.stop({ poisoned: true })
    this.#parts.manifest.stop()
    this.#parts.onTrouble('the log is poisoned', poison)
    for (const group of this.#pending()) {
      for (const waiter of group.waiters) waiter.reject(poison)
    }
    this.#refuseRoom(poison)
  }
}

/**
 * The commit pipeline: what stands between `append` and the disk.
 *
 * append copies a record into the open group and makes no native call. One chain (write, then
 * fdatasync) is in flight at a time; while it is, the next group fills: the sync in flight is the
 * batching window. When it completes, the group's waiters are told, the callers that were waiting
 * append again, and only behind them the next group is cut, sealed and submitted.
 */
import { setTimeout } from 'node:timers/promises'
import type { DiskDirectory } from '../disk/disk.ts'
import { PoisonedError, RiologError, SystemError } from '../errors.ts'
import { GROUP_HEADER_BYTES, maxGroupBytes, maxRecordBytes, recordSpan } from '../segment/format.ts'
import type { SegmentRef } from '../segment/header.ts'
import type { LiveChain, LiveSegment } from './live-chain.ts'
import { NO_SEGMENT } from './manifest.ts'
import type { ManifestFile } from './manifest-file.ts'
import { Arena, PendingGroup } from './pending-group.ts'
import { type PreparedSegment, SegmentMaker } from './segment-maker.ts'

/** The next segment is prepared once this part of the current file is used. */
const PREPARE_AT = 1 / 4
/** The pause between two pieces of it, in milliseconds, while nobody waits for it. */
const PACE_MS = 1

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

  /** Ready to be appended to: the opening's first before its fork, later the spare. */
  #prepared: PreparedSegment | undefined
  #preparing: Promise<void> | undefined
  #prepareError: unknown
  #lastFileBytes = 0
  #forked = false

  readonly #waitingAppends: WaitingAppend[] = []
  #waitingForRoom: { resolve: () => void; reject: (error: unknown) => void }[] = []
  #poison: PoisonedError | undefined
  #stopped = false

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
      this.#askForSegment(payload.length)
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
      this.#askForSegment(this.maxRecordBytes)
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
    this.#prepareNext()
    await this.#preparing
  }

  /** Waits for everything accepted, and for what is under way beside it. */
  async stop(): Promise<void> {
    while (!this.#poison && (this.#waitingAppends.length > 0 || this.#lastPending())) {
      await (this.#lastPending() ? this.flush() : this.drain()).catch(() => {})
    }
    this.#stopped = true
    await this.#settled()
    for (const waiting of this.#waitingAppends.splice(0)) waiting.reject(this.#noRoom())
    // A spare that the manifest names stays; the next opening makes it dead.
    const unnamed = this.#prepared
    this.#prepared = undefined
    if (unnamed === undefined) return
    if (this.#forked || this.#poison) unnamed.file.close()
    else await this.#parts.maker.discard(unnamed)
  }

  /** After a poison too: what the kernel has, it may still be writing from our memory. */
  async #settled(): Promise<void> {
    await this.#preparing
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
    if (needsSegment && this.#prepared === undefined) {
      if (this.#prepareError === undefined) this.#prepareNext()
      return false
    }
    return this.#freeArenas.length > 0 || this.#arenasLeft > 0 || this.#open?.count === 0
  }

  /** Who waits is told of a fresh failure, not of an old one: there may be space by now. */
  #askForSegment(payloadBytes: number): void {
    this.#prepareError = undefined
    this.#canTake(payloadBytes)
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
    const error = this.#prepareError
    if (error !== undefined) {
      // Told once, and tried again for the next append.
      this.#askForSegment(this.maxRecordBytes)
      return error as Error
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
    const segment = this.#asLive(this.#prepared!)
    const arena = this.#takeArena()
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
      this.#failAll(error)
      throw this.#poison
    }
    this.#freeArenas.push(arena)
    this.#forked = true
    this.#prepared = undefined
    this.#enter(segment, link.previousEnd)
    this.#position = end
    this.#durableLsn = end
    this.#parts.onForked()
  }

  #rotate(link: number): void {
    const segment = this.#asLive(this.#prepared!)
    this.#prepared = undefined
    this.#enter(segment, link)
  }

  #enter(segment: LiveSegment, link: number): void {
    this.#dropUnused()
    const parent = this.#parts.chain.segments.at(-1)
    if (parent !== undefined) parent.cut = Math.min(parent.cut, link)
    this.#parts.chain.segments.push(segment)
    this.#segment = segment
    this.#lastFileBytes = segment.header.fileBytes
  }

  /** Segments that were prepared by an earlier opening and never got a group are dead after the fork. */
  #dropUnused(): void {
    const { segments } = this.#parts.chain
    const parent = this.#parentOfEnd().number
    while (segments.length > 0 && segments.at(-1)!.header.number > parent) {
      segments.pop()!.file.close()
    }
  }

  #asLive({ header, file }: PreparedSegment): LiveSegment {
    const base = header.number * this.#segmentSize
    return { header, file, base, firstGroup: undefined, cut: base + header.fileBytes }
  }

  #prepareSpareInTime(): void {
    const segment = this.#segment!
    const used = this.#position - segment.base
    const due = used >= segment.header.fileBytes * PREPARE_AT
    // After a failure, not at every commit again: only when somebody needs the segment.
    if (due && this.#prepareError === undefined) this.#prepareNext()
  }

  #prepareNext(): void {
    const busy = this.#prepared !== undefined || this.#preparing !== undefined
    if (busy || this.#poison !== undefined || this.#stopped) return
    const parent = this.#segment?.header ?? this.#parentOfEnd()
    this.#preparing = this.#prepare(parent).finally(() => {
      this.#preparing = undefined
    })
  }

  async #prepare(parent: SegmentRef): Promise<void> {
    const { maker, manifest } = this.#parts
    let prepared: PreparedSegment
    try {
      const fileBytes = SegmentMaker.fileBytes(manifest.current, this.#lastFileBytes)
      prepared = await maker.prepare(manifest.current, parent, fileBytes, () => this.#pace())
    } catch (error) {
      this.#onUnprepared(error)
      return
    }
    try {
      // Only when the manifest names it may an LSN in it be handed out. The opening's first is named
      // by the fork.
      if (this.#forked) {
        await manifest.update(() => ({ newest: prepared.header, floor: this.#durableLsn }))
      }
      this.#prepared = prepared
      this.#offerRoom()
    } catch (error) {
      this.#failAll(error)
    }
  }

  /** The zeros of the next segment are written in the pauses of the commits, unless somebody waits. */
  async #pace(): Promise<void> {
    const awaited = this.#waitingAppends.length > 0 || this.#waitingForRoom.length > 0
    if (this.#forked && !awaited && !this.#stopped) await setTimeout(PACE_MS)
  }

  #onUnprepared(error: unknown): void {
    this.#parts.onTrouble('a segment could not be prepared', error)
    if (isHarmless(error)) {
      this.#prepareError = error
      this.#refuseRoom(error)
    } else {
      this.#failAll(error)
    }
  }

  /** Poisons: nothing is written any more, and nothing that completes later counts. */
  #failAll(cause: unknown): void {
    if (this.#poison !== undefined) return
    const poison = new PoisonedError(this.#durableLsn, this.end, cause)
    this.#poison = poison
    this.#parts.manifest.stop()
    this.#parts.onTrouble('the log is poisoned', poison)
    for (const group of this.#pending()) {
      for (const waiter of group.waiters) waiter.reject(poison)
    }
    this.#refuseRoom(poison)
  }
}

/** The disk is full, or no file could be made: no manifest names it, and nothing else is in doubt. */
function isHarmless(error: unknown): boolean {
  if (!(error instanceof RiologError)) return false
  if (error instanceof SystemError && error.syscall === 'openat') return true
  return error.code === 'ERR_RIOLOG_NO_SPACE' || error.code === 'ERR_RIOLOG_LSN_EXHAUSTED'
}

/**
 * Groups on their way to the disk: one fills, those behind it are closed, in flight, durable.
 *
 * One commit (a chain of write and fdatasync) is in flight at a time, unless `commitsInFlight` says more;
 * while it is, the next group fills: the sync in flight is the batching window. When it completes, the
 * group's waiters are told, the callers that were waiting append again, and only behind them the next
 * group is cut, sealed and submitted; where they take long, half of them at a time (overlap.ts). What else a commit
 * entails (figures, the next segment) comes behind that: the disk has something to do then. A group that ran full has
 * no more records to wait for, and most of its commit is the transfer: a large one goes to the disk beside others.
 */
import { performance } from 'node:perf_hooks'
import type { BusyPoll } from '../../busy-poll.ts'
import type { RiologError } from '../../errors.ts'
import { BATCH_FIRST, BATCH_LAST } from '../../segment/group.ts'
import { KIB } from '../../units.ts'
import type { CommitMetrics } from '../metrics.ts'
import type { Arena, ArenaPool } from './arena-pool.ts'
import type { CommitWayChoice } from './commit-way.ts'
import type { Health } from './health.ts'
import type { Overlap } from './overlap.ts'
import type { PendingGroup } from './pending-group.ts'

export interface CommitQueueParts {
  readonly alignment: number
  /** The end of the log as recovery found it. */
  readonly end: number
  /** Undefined: one, but more of groups that ran full at {@link LARGE_GROUP_BYTES} or beyond. */
  readonly commitsInFlight: number | undefined
  readonly ways: CommitWayChoice
  readonly busyPoll: BusyPoll | undefined
  readonly overlap: Overlap
  /** Milliseconds that a group is held open for more records while the disk is idle; 0: not at all. */
  readonly maxDelayMs: number
  /** Lets others go first, for so many milliseconds. */
  readonly pause: (milliseconds: number) => Promise<void>
  readonly arenas: ArenaPool
  readonly health: Health
  readonly metrics: CommitMetrics
  /** A commit came back good, and who waited for it is told: memory may be free. */
  readonly onCommitted: () => void
  /** What a commit leaves to be done and nobody waits for: when the next one is with the disk, which would wait. */
  readonly tidyUp: () => void
  /** The durable LSN has moved. */
  readonly onDurable: (durableLsn: number) => void
}

/** From here on commits beside each other win, and below they lose (docs/DECISIONS.md). */
const LARGE_GROUP_BYTES = 512 * KIB
const LARGE_COMMITS_IN_FLIGHT = 4

/** From here on a group had better lie in a huge page (docs/DECISIONS.md). */
const LONG_GROUP_BYTES = 32 * KIB
/** From here on a commit beside zeros for the next file takes longer than one into space that is only allocated (docs/DECISIONS.md). */
const STREAMED_GROUP_BYTES = 128 * KIB
/** How many groups tell how long they are: a long record among short ones is no stream. */
const RECENT_GROUPS = 16

const resolved = Promise.resolve()
/** The global `process` has a getter. An import of node:process by an ES module would open process.stdin. */
const { nextTick } = process
const isUnanswered = ({ besideUpTo }: PendingGroup) => besideUpTo === 0

export class CommitQueue {
  readonly #parts: CommitQueueParts
  readonly #alignment: number
  /** D: the end of what has been synced, also of a batch whose last group has not. */
  #syncedLsn: number
  /** What is promised: never inside a batch. */
  #durableLsn: number
  #insideBatch = false
  /** Bytes, a running mean. */
  #recentFill = 0
  /** The end of everything appended, up to the open group. */
  #position: number
  #open: PendingGroup | undefined
  #undisturbed: PendingGroup | undefined
  /** Records that it may hold until the next one asks again. */
  #undisturbedUpTo = 0
  readonly #closed: PendingGroup[] = []
  /** Submitted and not yet known to be durable, in the order of their LSNs. */
  readonly #inFlight: PendingGroup[] = []
  /** How many the disk has not answered; also after a poison. */
  #unanswered = 0
  #submitted = 0
  /** When a commit came back good, by `performance.now`. */
  #answeredAt = 0
  /** The group whose delay is running. */
  #delayed: PendingGroup | undefined
  /** Synced groups whose waiters are being told, and those of a batch that is not durable yet: until it is, they are read from memory. */
  readonly #unfinished: PendingGroup[] = []
  #cutScheduled = false
  #leftThingsToDo = false
  /** Resolvers of those who wait for the durable LSN to move. */
  #watchers: (() => void)[] = []
  #whenAnswered: (() => void) | undefined
  #stopped = false
  readonly #cutNow = () => {
    this.#cutScheduled = false
    this.#parts.overlap.wentOn()
    this.#cut()
    if (!this.#leftThingsToDo) return
    this.#leftThingsToDo = false
    if (this.#parts.health.poison === undefined) this.#parts.tidyUp()
  }
  readonly #cutBehindMicrotasks = () => nextTick(this.#cutNow)

  constructor(parts: CommitQueueParts) {
    this.#parts = parts
    this.#alignment = parts.alignment
    this.#syncedLsn = parts.end
    this.#durableLsn = parts.end
    this.#position = parts.end
  }

  get durableLsn(): number {
    return this.#durableLsn
  }

  /** The end of everything appended. */
  get end(): number {
    return this.#open && this.#open.count > 0 ? this.#open.end(this.#alignment) : this.#position
  }

  /** The same, up to the group that fills. */
  get position(): number {
    return this.#position
  }

  /** The group that fills. */
  get open(): PendingGroup | undefined {
    return this.#open
  }

  /**
   * The group that fills, for a record that has nothing to ask but whether it fits: another one was taken in turn, and
   * since then this group was not closed, no commit was answered, and nothing called {@link disturb}. Most appends of a
   * turn of the event loop are such, and the questions take longer than to copy 128 bytes.
   */
  get undisturbed(): PendingGroup | undefined {
    const group = this.#undisturbed
    return group !== undefined && group.count < this.#undisturbedUpTo ? group : undefined
  }

  /** A record was taken in turn: what it asked need not be asked for the next ones. */
  settle(): void {
    const group = this.#open
    // What beforeAppend does is to be done again, where it has something to do.
    const isIdle = this.#closed.length > 0 && this.#mayGo()
    if (group === undefined || isIdle) return
    this.#undisturbed = group
    this.#undisturbedUpTo = this.#parts.overlap.mayFillTo(group.count, this.#unanswered > 0)
  }

  /** Something has happened that the next record has to ask about. */
  disturb(): void {
    this.#undisturbed = undefined
  }

  /** True while the disk has not answered a commit. */
  get isAwaited(): boolean {
    return this.#unanswered > 0
  }

  /** True while groups are long, by the mean of the last ones: most of a commit is the transfer. */
  get isStreaming(): boolean {
    return this.#recentFill >= STREAMED_GROUP_BYTES
  }

  /** All that is not durable, oldest first. */
  pending(): PendingGroup[] {
    const groups = [...this.#unfinished, ...this.#inFlight, ...this.#closed]
    if (this.#open && this.#open.count > 0) groups.push(this.#open)
    return groups
  }

  lastPending(): PendingGroup | undefined {
    if (this.#open && this.#open.count > 0) return this.#open
    return this.#closed.at(-1) ?? this.#inFlight.at(-1)
  }

  /** Records go into this one from now on; the one before it has been closed. */
  begin(group: PendingGroup): void {
    this.#open = group
  }

  closeOpen(): void {
    this.disturb()
    const group = this.#open
    this.#open = undefined
    if (group === undefined || group.count === 0) return
    this.#position = group.end(this.#alignment)
    this.#closed.push(group)
    // The disk works meanwhile, and would wait for it later.
    if (!this.#mayGo() || this.#closed.length > 1) this.#sealEarly(group)
  }

  /** A group that does not hold what was counted is a bug; nothing may be written on top of it. */
  #sealEarly(group: PendingGroup): void {
    try {
      group.sealEarly()
    } catch (error) {
      this.#parts.health.fail(error)
    }
  }

  /** The same: false, and nothing may be written. */
  #seal(group: PendingGroup): boolean {
    try {
      group.seal(this.#syncedLsn, this.#alignment)
      return true
    } catch (error) {
      this.#parts.health.fail(error)
      return false
    }
  }

  /** An open group without records gives its arena to the one that replaces it. */
  takeUnused(): Arena | undefined {
    if (this.#open?.count !== 0) return undefined
    const { arena } = this.#open
    this.#open = undefined
    return arena
  }

  /** A fork is durable, and nothing is in the queue: the log goes on behind its link group. */
  moveTo(end: number): void {
    this.#position = end
    this.#syncedLsn = end
    this.#setDurable(end)
  }

  /** Resolves to the durable LSN once everything appended so far is durable. */
  flush(): Promise<number> {
    const { poison } = this.#parts.health
    if (poison !== undefined) return Promise.reject(poison)
    const last = this.lastPending()
    if (last === undefined) return Promise.resolve(this.#durableLsn)
    const flushed = last.waiters.promiseOf(() => this.#durableLsn)
    last.isDue = true
    this.cutSoon()
    return flushed
  }

  /** The same, holding up the thread. */
  flushSync(): number {
    const { health } = this.#parts
    const last = this.lastPending()
    if (last !== undefined) last.isDue = true
    while (health.poison === undefined && last?.isDurable === false) {
      this.#cut()
      // Somebody may call this while being told, and others have come back good behind what they are told of.
      this.#tellLanded()
      // What has failed meanwhile is not under way any more, and would be waited for without end.
      if (health.poison !== undefined) break
      this.#inFlight.find(isUnanswered)?.segment.file.waitForCommit()
    }
    health.refuseIfPoisoned()
    return this.#durableLsn
  }

  /** Cuts as soon as a commit may be in flight, behind what this turn of the event loop appends. */
  cutSoon(): void {
    if (this.#mayGo()) this.#scheduleCut()
  }

  /**
   * Before a record is taken, in a turn that may append for long: what no record can join any more need not
   * wait for its end, nor need the first half of callers who take long.
   */
  beforeAppend(): void {
    const { health, overlap } = this.#parts
    while (this.#closed.length > 0 && this.#mayGo() && health.poison === undefined) {
      this.#submit(this.#closed.shift()!)
    }
    if (!overlap.isOn || this.#closed.length > 0) return
    if (this.#unanswered > 0) this.#inFlight[0].segment.file.letGoOn()
    else if (overlap.isHalf(this.#open?.count ?? 0)) this.#cut()
  }

  /** Whether a commit of the oldest closed group may be in flight now; without one, of the open group. */
  #mayGo(): boolean {
    const isLarge = this.#closed.length > 0 && this.#closed[0].fill >= LARGE_GROUP_BYTES
    const most = this.#parts.commitsInFlight ?? (isLarge ? LARGE_COMMITS_IN_FLIGHT : 1)
    return this.#unanswered < most
  }

  /**
   * Resolves when the durable LSN is beyond a place, or will never be: the log is poisoned or closed.
   * @param signal ends the wait, too
   */
  async durableBeyond(lsn: number, signal: AbortSignal | undefined): Promise<void> {
    const goesOn = () => !this.#stopped && this.#parts.health.poison === undefined
    while (this.#durableLsn <= lsn && goesOn() && !signal?.aborted) {
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

  /** Nothing is appended any more: nobody need wait for the durable LSN to move. */
  stop(): void {
    this.#stopped = true
    this.#wakeWatchers()
  }

  /** The log is poisoned: none of these will be durable. */
  fail(poison: RiologError): void {
    this.disturb()
    this.#wakeWatchers()
    for (const group of this.pending()) if (!group.isDurable) group.waiters.rejectAll(poison)
  }

  /** Resolves when the disk has answered every commit. */
  async answered(): Promise<void> {
    while (this.#unanswered > 0) {
      await new Promise<void>(resolve => {
        this.#whenAnswered = resolve
      })
    }
  }

  #setDurable(durableLsn: number): void {
    this.#durableLsn = durableLsn
    this.#wakeWatchers()
    this.#parts.onDurable(durableLsn)
  }

  #wakeWatchers(): void {
    if (this.#watchers.length === 0) return
    for (const wake of this.#watchers.splice(0)) wake()
  }

  /** Behind the microtasks of this turn, and behind those that they queue: so that callers which are
   *  several promises deep still share the group. */
  #scheduleCut(): void {
    if (this.#cutScheduled) return
    this.#cutScheduled = true
    // queueMicrotask does the same, with three objects more each time.
    resolved.then(this.#cutBehindMicrotasks)
  }

  #cut(): void {
    const { health } = this.#parts
    while (this.#mayGo() && health.poison === undefined) {
      if (this.#closed.length === 0 && this.#mayCut(this.#open)) this.closeOpen()
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
      this.cutSoon()
    })
    return false
  }

  #submit(group: PendingGroup): void {
    const { arenas, health, ways, busyPoll } = this.#parts
    this.#recentFill += (group.fill - this.#recentFill) / RECENT_GROUPS
    if (this.#recentFill >= LONG_GROUP_BYTES) arenas.expectLong()
    this.#inFlight.push(group)
    if (!this.#seal(group)) return
    group.submittedAt = performance.now()
    group.sequence = ++this.#submitted
    group.way = ways.next(group.writtenBytes)
    if (group.way.busyPoll) busyPoll?.begin()
    this.#unanswered++
    health.asked()
    this.#commit(group)
  }

  #commit(group: PendingGroup): void {
    const { arena, segment, lsn, writtenBytes, way } = group
    const done = (error: Error | undefined) => this.#onCommitted(group, error)
    try {
      segment.file.commit(
        arena.buffer,
        arena.offset,
        writtenBytes,
        lsn - segment.base,
        way!.sync,
        done,
      )
    } catch (error) {
      done(error as Error)
    }
  }

  #onCommitted(group: PendingGroup, error: Error | undefined): void {
    const { health, ways, overlap, busyPoll } = this.#parts
    const way = group.way!
    this.disturb()
    this.#unanswered--
    if (way.busyPoll) busyPoll?.end()
    health.answered()
    if (error !== undefined) health.fail(error)
    if (health.poison !== undefined) {
      if (this.#unanswered === 0) this.#whenAnswered?.()
      return
    }
    group.besideUpTo = this.#submitted
    const now = performance.now()
    this.#answeredAt = now
    const ms = now - group.submittedAt
    ways.committed(way, group.writtenBytes, ms)
    overlap.committed(now, ms, group.count, this.#open?.count ?? 0)
    this.#tellLanded()
    this.#parts.onCommitted()
    this.#leftThingsToDo = true
    // Promises are resolved, and nobody has gone on yet.
    if (overlap.isOtherHalf(this.#open?.count ?? 0)) {
      this.#cut()
      overlap.goOn()
    }
    this.#scheduleCut()
  }

  /**
   * A flush that fails may have dropped the bytes of a sync beside it, and Linux tells that once, to
   * one of the two: so a commit counts when all those came back good that were in flight beside it.
   */
  #tellLanded(): void {
    while (this.#inFlight.length > 0 && this.#parts.health.poison === undefined) {
      const [oldest] = this.#inFlight
      if (oldest.besideUpTo === 0 || oldest.besideUpTo > this.#lastLanded()) return
      this.#inFlight.shift()
      this.#onDurable(oldest)
    }
  }

  /** The last of the unbroken run of groups whose commits came back good. */
  #lastLanded(): number {
    const missing = this.#inFlight.find(isUnanswered)
    return missing === undefined ? this.#submitted : missing.sequence - 1
  }

  /** All is as it will be before anybody is told: they may append and flush, and so come back here. */
  #onDurable(group: PendingGroup): void {
    group.isDurable = true
    group.durableAt = this.#answeredAt
    this.#syncedLsn = group.end(this.#alignment)
    group.segment.firstGroupEnd ??= this.#syncedLsn
    if (group.batch === BATCH_FIRST) this.#insideBatch = true
    if (group.batch === BATCH_LAST) this.#insideBatch = false
    this.#unfinished.push(group)
    // They go on behind this turn, and before those of groups that are flushed by who is told here.
    group.waiters.resolvePromises()
    if (!this.#insideBatch) this.#setDurable(this.#syncedLsn)
    this.#parts.metrics.committed(group)
    group.waiters.callAll()
    group.isTold = true
    this.#giveBack()
  }

  /** The memory of groups that are done with: told of, and not part of a batch that is not durable yet. */
  #giveBack(): void {
    if (this.#insideBatch) return
    const groups = this.#unfinished
    let kept = 0
    for (const group of groups) {
      if (group.isTold) this.#parts.arenas.give(group.arena)
      else groups[kept++] = group
    }
    groups.length = kept
  }
}

import { constants } from 'node:os'
import type { BusyPoll } from '../busy-poll.ts'
import { RiologError } from '../errors.ts'
import { addon, type RingBinding, type TracedSqe } from '../native.ts'
import { throwUncaught } from '../uncaught.ts'
import {
  COMPLETION_BYTES,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_SETUP_IOPOLL,
  IOSQE_IO_DRAIN,
  MESSAGE_SLOT,
  NO_MEMORY,
  REQUEST_BYTES,
} from './abi.ts'
import { noIoUring } from './diagnosis.ts'
import type { Operation } from './operation.ts'
import type { Profiler } from './profile.ts'

export interface QueueOptions {
  /** Entries of the submission queue. */
  readonly depth: number
  /** Entries of the completion queue. */
  readonly cqDepth: number
  /** IORING_SETUP_* instead of the best that the kernel knows. */
  readonly setupFlags?: number | undefined
  readonly sqPoll?: { readonly idleMs: number; readonly cpu: number } | undefined
  readonly ioPoll?: boolean | undefined
  readonly profiler?: Profiler | undefined
  /** Keeps the event loop awake while something is in flight. */
  readonly busyPoll?: BusyPoll | undefined
}

const REQUEST_WORDS = REQUEST_BYTES / 4
const REQUEST_DOUBLES = REQUEST_BYTES / 8
const COMPLETION_WORDS = COMPLETION_BYTES / 4

/** Where a field of `struct Request` stands, in 4-byte words or 8-byte doubles. */
const WORD = {
  opcodeAndFlags: 0,
  fd: 1,
  slot: 2,
  length: 3,
  memory: 8,
  opFlags: 9,
  quiet: 10,
  secondMemory: 11,
  secondMemoryOffset: 12,
  otherFd: 13,
  bufferGroup: 14,
}
const DOUBLE = { offset: 2, memoryOffset: 3 }

const RETRY_MS = 1
const RETRY_CANCEL_MS = 10
/** `setTimeout` takes what is longer for 1. */
const MAX_TIMER_MS = 2 ** 31 - 1
/** By number: EAGAIN has two names. */
const RETRIED_ERRNOS: readonly number[] = [constants.errno.EAGAIN, constants.errno.EBUSY]
const ECANCELED = -constants.errno.ECANCELED
const EINVAL = -constants.errno.EINVAL

/**
 * The way of every request to the kernel: requests are written as plain numbers into memory shared
 * with native code, which turns them into SQEs; addresses never appear in JavaScript.
 *
 * What is pushed in one turn of the event loop is submitted together. A chain keeps together: it gets
 * all its places at once, or waits for them. No more operations are in flight than the CQ holds.
 */
export class RequestQueue {
  /** For what is registered with the ring; operations go through {@link push}. */
  readonly binding: RingBinding
  /** Told of each message that another ring sends: its value, and 32 bits of data. */
  onMessage: ((value: number, data: number) => void) | undefined
  readonly #requestWords: Int32Array
  readonly #requestDoubles: Float64Array
  readonly #completionWords: Int32Array
  readonly #operations: (Operation | undefined)[]
  readonly #freeSlots: Int32Array
  readonly #supported: Uint8Array
  readonly #profiler: Profiler | undefined
  readonly #isPolled: boolean
  readonly #busyPoll: BusyPoll | undefined
  #isBusyPolling = false
  #freeCount: number
  #stagedCount = 0
  /** Chains without a place, in order; those before `#waitingFrom` have got theirs. */
  #waiting: (readonly Operation[])[] = []
  #waitingFrom = 0
  #waitingOperations = 0
  /** Read from the CQ while somebody blocked the thread, and not yet told. */
  #untold = new Outcomes()
  /** For {@link #onCompletions}, by how deep its calls are in each other. */
  readonly #read: Outcomes[] = []
  #depth = 0
  #submitScheduled = false
  #pollScheduled = false
  #retryTimer: NodeJS.Timeout | undefined
  /** Operations that the kernel has and that others must not overtake. */
  #drains = 0
  readonly #alarms = new Set<Alarm>()
  readonly #cancelWanted = new Set<Operation>()
  #cancelTimer: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined
  #closed = false
  readonly #submitNow = () => {
    this.#submitScheduled = false
    if (!this.#closed) this.#submit(true)
  }

  /** @throws ERR_RIOLOG_NO_IO_URING with the true reason and its remedy */
  constructor(options: QueueOptions) {
    const Binding = addon().RingBinding
    if (Binding === undefined) throw noIoUring(undefined)
    try {
      this.binding = new Binding(
        options.depth,
        options.cqDepth,
        options.setupFlags,
        options.sqPoll !== undefined,
        options.ioPoll ?? false,
        options.sqPoll?.idleMs ?? 0,
        options.sqPoll?.cpu ?? -1,
        count => this.#onCompletions(count),
      )
    } catch (error) {
      throw noIoUring(error as { errno: number; syscall: string })
    }
    // Asked once: a call for each operation would cost as much as the operation.
    this.#supported = Uint8Array.from({ length: 64 }, (_, op) => Number(this.binding.supports(op)))
    this.#profiler = options.profiler
    this.#busyPoll = options.busyPoll
    this.#isPolled = (this.binding.setupFlags & IORING_SETUP_IOPOLL) !== 0
    this.#requestWords = new Int32Array(this.binding.requests)
    this.#requestDoubles = new Float64Array(this.binding.requests)
    this.#completionWords = new Int32Array(this.binding.completions)
    const slots = this.binding.slotCount
    this.#operations = new Array(slots).fill(undefined)
    this.#freeSlots = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i)
    this.#freeCount = slots
  }

  get sqEntries(): number {
    return this.binding.sqEntries
  }

  /** The most operations that the kernel has at once; more wait here. */
  get slotCount(): number {
    return this.binding.slotCount
  }

  get isPolled(): boolean {
    return this.#isPolled
  }

  get isClosing(): boolean {
    return this.#closing !== undefined
  }

  /** Operations that have not completed, those not yet submitted included. */
  get inFlight(): number {
    return this.#operations.length - this.#freeCount + this.#waitingOperations
  }

  get kernelOverflow(): number {
    return this.binding.stats().kernelOverflow
  }

  supports(opcode: number): boolean {
    return this.#supported[opcode] === 1
  }

  traceOn(): void {
    this.binding.setTracing(true)
  }

  takeTrace(): TracedSqe[] {
    return this.binding.takeTrace()
  }

  /**
   * Takes a chain (one operation is a chain of one) and submits it at the end of this turn of the
   * event loop, or when {@link submit} is called.
   * @throws ERR_RIOLOG_CHAIN_TOO_LONG before anything is queued
   * @throws ERR_RIOLOG_CLOSED
   */
  push(chain: readonly Operation[]): void {
    this.#take(chain)
    this.#scheduleSubmit()
  }

  /**
   * The same, submitted at once, with what was pushed before it.
   * @throws what {@link push} throws
   */
  pushNow(chain: readonly Operation[]): void {
    this.#take(chain)
    this.submit()
  }

  #take(chain: readonly Operation[]): void {
    this.checkChain(chain.length)
    if (this.#profiler !== undefined) this.#profiler.pushed(chain)
    if (this.#waitingOperations > 0 || !this.#stage(chain)) {
      this.#waiting.push(chain)
      this.#waitingOperations += chain.length
    }
  }

  /** As {@link push} of a chain of one; the caller has called {@link checkChain}. */
  pushOne(operation: Operation): void {
    const straight = this.#waitingOperations === 0 && this.#profiler === undefined
    if (straight && this.#hasRoom(1)) {
      this.#write(operation)
      this.#scheduleSubmit()
    } else {
      this.push([operation])
    }
  }

  /** @throws what {@link push} would throw of a chain of this length */
  checkChain(length: number): void {
    if (this.#closing) throw new RiologError('ERR_RIOLOG_CLOSED', 'ring is closed')
    if (length > this.sqEntries) {
      throw new RiologError(
        'ERR_RIOLOG_CHAIN_TOO_LONG',
        `a chain of ${length} operations cannot be submitted at once: ` +
          `the ring has ${this.sqEntries} entries`,
      )
    }
  }

  /** True when a chain that is pushed now does not wait: neither for places, nor for a drain. */
  startsAtOnce(length: number): boolean {
    return this.#waitingOperations === 0 && this.#drains === 0 && this.#hasRoom(length)
  }

  /** A timer of the event loop that goes off also while somebody blocks the thread in a wait. */
  alarm(milliseconds: number, run: () => void): Alarm {
    const alarm = new Alarm(milliseconds, run, this.#alarms)
    this.#alarms.add(alarm)
    return alarm
  }

  /** Operations that go to the kernel with the next submission. */
  get stagedCount(): number {
    return this.#stagedCount
  }

  /** Hands everything pushed to the kernel, as far as there is room. */
  submit(): void {
    if (!this.#closed) this.#submit(false)
  }

  /** `look`: completions that are there at once are told at once. */
  #submit(look: boolean): void {
    while (this.#waitingOperations > 0 && this.#stage(this.#waiting[this.#waitingFrom])) {
      this.#dropFirstWaiting()
    }
    this.#submitStaged(look)
  }

  /** Array.shift moves all that follow, once there are many: 400,000 of them took a minute. */
  #dropFirstWaiting(): void {
    this.#waitingOperations -= this.#waiting[this.#waitingFrom].length
    this.#waitingFrom++
    if (this.#waitingFrom * 2 < this.#waiting.length) return
    this.#waiting = this.#waiting.slice(this.#waitingFrom)
    this.#waitingFrom = 0
  }

  /**
   * Asks the kernel to cancel an operation; it settles all the same. One that the kernel has not seen
   * settles as cancelled with all of its chain: none of them has run.
   */
  cancel(operation: Operation): void {
    if (operation.slot >= 0) {
      this.#cancelWanted.add(operation)
      this.#submitStaged(false)
      if (operation.slot >= 0) this.binding.cancel(operation.slot)
      this.#cancelTimer ??= setTimeout(() => this.#cancelAgain(), RETRY_CANCEL_MS)
      return
    }
    for (let i = this.#waitingFrom; i < this.#waiting.length; i++) {
      const chain = this.#waiting[i]
      if (!chain.includes(operation)) continue
      this.#waiting.splice(i, 1)
      this.#waitingOperations -= chain.length
      for (const canceled of chain) settleOne(canceled, ECANCELED, 0)
      this.#checkIdle()
      return
    }
  }

  /**
   * The kernel does not find an operation that waits behind another of its chain or behind a drain: it
   * is looked for until it has completed.
   */
  #cancelAgain(): void {
    clearTimeout(this.#cancelTimer)
    this.#cancelTimer = undefined
    for (const operation of this.#cancelWanted) this.binding.cancel(operation.slot)
    if (this.#cancelWanted.size === 0) return
    this.#cancelTimer = setTimeout(() => this.#cancelAgain(), RETRY_CANCEL_MS)
  }

  /** Everything that the kernel has or that waits for it. */
  cancelAll(): void {
    const waiting = this.#waiting.slice(this.#waitingFrom).flat()
    this.#waiting = []
    this.#waitingFrom = 0
    this.#waitingOperations = 0
    for (const operation of waiting) settleOne(operation, ECANCELED, 0)
    this.#submitStaged(false)
    for (const operation of this.#operations) if (operation !== undefined) this.cancel(operation)
    this.#checkIdle()
  }

  /** Settles what has completed, without waiting for the event loop to notice. */
  reap(): void {
    this.#onCompletions(this.binding.reap())
  }

  /**
   * For a thread that works on for long: lets the kernel do what it does in the thread's name alone, as beginning
   * what is linked behind an operation that is done (IORING_SETUP_COOP_TASKRUN, io_uring_setup(2)). Nothing is told.
   */
  runTaskWork(): void {
    this.binding.runTaskWork()
  }

  /**
   * Holds up the thread until `isDone`, or for `milliseconds`. Operations marked urgent are told at
   * once, others when the thread is free again: their callers do not expect to run now.
   * @returns false when the time is over
   */
  waitUntil(isDone: () => boolean, milliseconds: number | undefined): boolean {
    const deadline = milliseconds === undefined ? undefined : performance.now() + milliseconds
    this.#takeOver()
    for (;;) {
      // Whoever is told may block the thread in turn, and leave more to be told.
      this.#untold.tellUrgent()
      if (isDone()) return true
      this.submit()
      if (this.#retryTimer !== undefined) this.#retry()
      for (const alarm of this.#alarms) alarm.ringIfDue()
      const left = deadline === undefined ? -1 : Math.ceil(deadline - performance.now())
      if (deadline !== undefined && left <= 0) return false
      // While the kernel refuses there may be nothing to wait for.
      const soon = Math.min(
        left < 0 ? Infinity : left,
        this.#retryTimer === undefined ? Infinity : RETRY_MS,
        this.#cancelWait(),
        ...[...this.#alarms].map(alarm => alarm.left),
      )
      this.#readOut(this.binding.wait(soon === Infinity ? -1 : soon), this.#untold)
      this.#untold.tellUrgent()
      this.#tellRestLater()
    }
  }

  /**
   * Called by one of those who are being told: what came back together with it must not wait for the thread. It is older than
   * what is untold already.
   */
  #takeOver(): void {
    const told = this.#read.slice(0, this.#depth).filter(read => !read.isEmpty)
    if (told.length === 0) return
    const later = this.#untold
    this.#untold = new Outcomes()
    for (const read of [...told, later]) read.moveTo(this.#untold)
    this.#tellRestLater()
  }

  /** Timers do not run while the thread is held up. Milliseconds, infinite where nothing is cancelled. */
  #cancelWait(): number {
    if (this.#cancelWanted.size > 0) this.#cancelAgain()
    return this.#cancelWanted.size > 0 ? RETRY_CANCEL_MS : Infinity
  }

  /** Waits until every operation has completed, then frees the ring. New operations are refused. */
  close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  async #closeOnce(): Promise<void> {
    this.submit()
    if (this.inFlight > 0 || !this.#untold.isEmpty) {
      await new Promise<void>(resolve => {
        this.#onIdle = resolve
      })
    }
    this.#closed = true
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#cancelTimer)
    this.binding.close()
  }

  /** False when there is no room for the whole chain: nothing is staged then. */
  #stage(chain: readonly Operation[]): boolean {
    if (!this.#hasRoom(chain.length)) return false
    for (let i = 0; i < chain.length; i++) this.#write(chain[i])
    return true
  }

  #hasRoom(count: number): boolean {
    if (count > this.#freeCount || this.#retryTimer !== undefined) return false
    if (this.#stagedCount + count > this.sqEntries) {
      this.#submitStaged(false)
      if (this.#retryTimer !== undefined) return false
    }
    return true
  }

  #write(operation: Operation): void {
    const slot = this.#freeSlots[--this.#freeCount]
    this.#operations[slot] = operation
    operation.slot = slot
    if ((operation.sqeFlags & IOSQE_IO_DRAIN) !== 0) this.#drains++
    const words = this.#requestWords
    const doubles = this.#requestDoubles
    const word = this.#stagedCount * REQUEST_WORDS
    const double = this.#stagedCount * REQUEST_DOUBLES
    words[word + WORD.opcodeAndFlags] = operation.opcode | (operation.sqeFlags << 8)
    words[word + WORD.fd] = operation.fd
    words[word + WORD.slot] = slot
    words[word + WORD.length] = operation.length
    words[word + WORD.memory] = operation.memory
    words[word + WORD.opFlags] = operation.opFlags
    words[word + WORD.quiet] = operation.quietResult
    if (operation.more === undefined) {
      words[word + WORD.secondMemory] = NO_MEMORY
      words[word + WORD.otherFd] = 0
    } else {
      words[word + WORD.opcodeAndFlags] |= operation.more.ioprio << 16
      words[word + WORD.secondMemory] = operation.more.secondMemory
      words[word + WORD.secondMemoryOffset] = operation.more.secondMemoryOffset
      words[word + WORD.otherFd] = operation.more.otherFd
      words[word + WORD.bufferGroup] = operation.more.bufferGroup
    }
    doubles[double + DOUBLE.offset] = operation.offset
    doubles[double + DOUBLE.memoryOffset] = operation.memoryOffset
    this.#stagedCount++
  }

  #scheduleSubmit(): void {
    if (this.#submitScheduled) return
    this.#submitScheduled = true
    process.nextTick(this.#submitNow)
  }

  #submitStaged(look: boolean): void {
    if (this.#stagedCount === 0) return
    const count = this.#stagedCount
    const profiler = this.#profiler
    const before = profiler === undefined ? 0 : this.#stampSubmitted(count)
    this.#stagedCount = 0
    let outcome: number
    try {
      outcome = this.binding.submit(count, look)
    } catch (error) {
      this.#refuseStaged(count, error as Error)
      return
    }
    profiler?.submitted(
      count,
      performance.now() - before,
      this.#operations.length - this.#freeCount,
    )
    if (outcome > 0) this.#onCompletions(outcome)
    else this.#afterEnter(outcome)
    if (this.#isPolled) this.#schedulePoll()
    if (this.#busyPoll !== undefined && this.inFlight > 0) this.#stayAwake(this.#busyPoll)
  }

  /** Each submission anew: what takes long is not polled for. */
  #stayAwake(busyPoll: BusyPoll): void {
    busyPoll.begin()
    if (this.#isBusyPolling) busyPoll.end()
    this.#isBusyPolling = true
  }

  #stampSubmitted(count: number): number {
    const now = performance.now()
    for (let i = 0; i < count; i++) {
      const operation = this.#operations[this.#requestWords[i * REQUEST_WORDS + WORD.slot]]
      if (operation?.stamps !== undefined) operation.stamps.submittedAt = now
    }
    return now
  }

  /**
   * Native code found a request malformed, which the checks in front of it exclude: none of those
   * staged with it has reached the kernel, and each is told so.
   */
  #refuseStaged(count: number, error: Error): void {
    // Whoever is told may push, which writes over the requests.
    const slots = Array.from(
      { length: count },
      (_, i) => this.#requestWords[i * REQUEST_WORDS + WORD.slot],
    )
    for (const slot of slots) {
      const operation = this.#operations[slot]!
      this.#freeSlot(slot)
      settleOne(operation, EINVAL, 0)
    }
    throwUncaught(error)
    this.#checkIdle()
  }

  /**
   * EAGAIN and EBUSY leave requests with native code, which must be asked to try again. After any
   * other refusal the requests complete with it.
   */
  #afterEnter(errno: number): void {
    this.#retryTimer = undefined
    if (errno === 0) return
    if (RETRIED_ERRNOS.includes(-errno)) {
      this.#retryTimer = setTimeout(() => this.#retry(), RETRY_MS)
    } else {
      // Not now: whoever reads completions out may have asked for what was refused.
      process.nextTick(() => this.reap())
    }
  }

  #retry(): void {
    clearTimeout(this.#retryTimer)
    this.#afterEnter(this.binding.flush())
    if (this.#retryTimer === undefined) this.submit()
  }

  /** The device of a polled ring tells nobody when it is done: it is asked in each turn. */
  #schedulePoll(): void {
    if (this.#pollScheduled) return
    this.#pollScheduled = true
    setImmediate(() => {
      this.#pollScheduled = false
      if (this.#closed) return
      this.reap()
      if (this.inFlight > 0) this.#schedulePoll()
    })
  }

  #freeSlot(slot: number): void {
    const operation = this.#operations[slot]!
    operation.slot = -1
    if ((operation.sqeFlags & IOSQE_IO_DRAIN) !== 0) this.#drains--
    if (this.#cancelWanted.size > 0) this.#cancelWanted.delete(operation)
    this.#operations[slot] = undefined
    this.#freeSlots[this.#freeCount++] = slot
  }

  /**
   * Reads completions out of the shared area. Telling comes later: it may push, submit and reap again,
   * which reuses the area.
   */
  #readOut(count: number, outcomes: Outcomes): void {
    const words = this.#completionWords
    let buffers = false
    for (let i = 0; i < count; i++) {
      const slot = words[i * COMPLETION_WORDS]
      const result = words[i * COMPLETION_WORDS + 1]
      const flags = words[i * COMPLETION_WORDS + 2]
      if (slot === MESSAGE_SLOT) {
        this.#tellMessage(result, flags)
        continue
      }
      const operation = this.#operations[slot]!
      if ((flags & IORING_CQE_F_BUFFER) !== 0) buffers = true
      if (operation.collect !== undefined) collectOne(operation.collect, result, flags)
      if ((flags & IORING_CQE_F_MORE) !== 0) continue
      this.#freeSlot(slot)
      outcomes.add(operation, result, flags)
    }
    if (buffers) this.binding.recycleBuffers()
    if (this.#profiler !== undefined) this.#profiler.completed(outcomes)
  }

  #onCompletions(count: number): void {
    const depth = this.#depth++
    const outcomes = (this.#read[depth] ??= new Outcomes())
    try {
      this.#untold.moveTo(outcomes)
      this.#readOut(count, outcomes)
      outcomes.tell()
    } finally {
      this.#depth = depth
    }
    if (this.#waitingOperations > 0) this.#scheduleSubmit()
    else this.#checkIdle()
  }

  /** Somebody blocks the thread, and was told: the others when it is free again. */
  #tellRestLater(): void {
    if (this.#untold.isEmpty) this.#checkIdle()
    else process.nextTick(() => this.#onCompletions(0))
  }

  #tellMessage(value: number, data: number): void {
    if (this.onMessage !== undefined) process.nextTick(this.onMessage, value, data)
  }

  #checkIdle(): void {
    if (this.inFlight > 0 || !this.#untold.isEmpty) return
    if (this.#isBusyPolling) {
      this.#isBusyPolling = false
      this.#busyPoll!.end()
    }
    this.#onIdle?.()
  }
}

/** Runs once, unless it is cleared before. */
export class Alarm {
  readonly #at: number
  readonly #run: () => void
  readonly #all: Set<Alarm>
  readonly #timer: NodeJS.Timeout

  constructor(milliseconds: number, run: () => void, all: Set<Alarm>) {
    this.#at = performance.now() + milliseconds
    this.#run = run
    this.#all = all
    this.#timer = setTimeout(() => this.#ring(), Math.min(Math.ceil(milliseconds), MAX_TIMER_MS))
  }

  /** Milliseconds, rounded up. */
  get left(): number {
    return Math.max(0, Math.ceil(this.#at - performance.now()))
  }

  ringIfDue(): void {
    if (this.left === 0) this.#ring()
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#all.delete(this)
  }

  #ring(): void {
    this.clear()
    this.#run()
  }
}

/**
 * Operations that have completed, and how. Each is taken out before it is told: whoever is told may block the thread, which
 * tells others from here, and its operation may be in use again at once. The arrays never shrink: to grow them again would cost
 * as much as the rest of a completion.
 */
class Outcomes {
  /** Places in use; one that was taken out leaves its place empty. */
  #length = 0
  #left = 0
  /** Calls of {@link tellUrgent}, one within the other: none of them is to find what it looks at elsewhere. */
  #tellers = 0
  readonly #operations: (Operation | undefined)[] = []
  readonly #results: number[] = []
  readonly #flags: number[] = []

  get isEmpty(): boolean {
    return this.#left === 0
  }

  add(operation: Operation, result: number, flags: number): void {
    const i = this.#length++
    this.#left++
    this.#operations[i] = operation
    this.#results[i] = result
    this.#flags[i] = flags
  }

  forEach(visit: (operation: Operation) => void): void {
    for (let i = 0; i < this.#length; i++) {
      const operation = this.#operations[i]
      if (operation !== undefined) visit(operation)
    }
  }

  moveTo(other: Outcomes): void {
    for (let i = 0; i < this.#length; i++) {
      const operation = this.#operations[i]
      if (operation === undefined) continue
      this.#operations[i] = undefined
      other.add(operation, this.#results[i], this.#flags[i])
    }
    this.#length = 0
    this.#left = 0
  }

  /** In their order. */
  tell(): void {
    for (let i = 0; i < this.#length; i++) this.#tellOne(i)
  }

  /** Those that somebody blocks the thread for. */
  tellUrgent(): void {
    this.#tellers++
    for (let i = 0; i < this.#length; i++) if (this.#operations[i]?.urgent) this.#tellOne(i)
    if (--this.#tellers === 0) this.#compact()
  }

  /** The empty places: who blocks the thread again and again would look at more of them each time. */
  #compact(): void {
    if (this.#left === this.#length) return
    let kept = 0
    for (let i = 0; i < this.#length; i++) {
      const operation = this.#operations[i]
      if (operation === undefined) continue
      this.#operations[i] = undefined
      this.#operations[kept] = operation
      this.#results[kept] = this.#results[i]
      this.#flags[kept] = this.#flags[i]
      kept++
    }
    this.#length = kept
  }

  #tellOne(i: number): void {
    const operation = this.#operations[i]
    if (operation === undefined) return
    this.#operations[i] = undefined
    if (--this.#left === 0) this.#length = 0
    settleOne(operation, this.#results[i], this.#flags[i])
  }
}

/** The same of what is collected: the rest of the area has to be read all the same. */
function collectOne(
  collect: (result: number, flags: number) => void,
  result: number,
  flags: number,
): void {
  try {
    collect(result, flags)
  } catch (error) {
    throwUncaught(error)
  }
}

/** What one operation's callback throws must not keep the others from being told. */
function settleOne(operation: Operation, result: number, flags: number): void {
  try {
    operation.settle(result, flags)
  } catch (error) {
    throwUncaught(error)
  }
}

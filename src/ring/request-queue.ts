import { constants } from 'node:os'
import { RiologError, SystemError } from '../errors.ts'
import { addon, type RingBinding, type TracedSqe } from '../native.ts'
import { COMPLETION_BYTES, REQUEST_BYTES } from './abi.ts'
import { noIoUring } from './diagnosis.ts'

/** One request to the kernel, and who is told of its completion. */
export interface Operation {
  opcode: number
  /** IOSQE_* */
  sqeFlags: number
  fd: number
  fileOffset: number
  length: number
  /** `NativeMemory.id`, or NO_MEMORY. */
  memory: number
  memoryOffset: number
  /** rw_flags, fsync_flags, …: the SQE's field is chosen by the opcode. */
  opFlags: number
  /** A completion with just this result need not wake JavaScript; NEVER_QUIET otherwise. */
  quietResult: number
  /** Called once: `result` is >= 0, or a negative errno. */
  settle(result: number, flags: number): void
}

const REQUEST_WORDS = REQUEST_BYTES / 4
const REQUEST_DOUBLES = REQUEST_BYTES / 8
const COMPLETION_WORDS = COMPLETION_BYTES / 4

/** Where a field of `struct Request` stands, in 4-byte words or 8-byte doubles. */
const WORD = { opcodeAndFlags: 0, fd: 1, slot: 2, length: 3, memory: 8, opFlags: 9, quiet: 10 }
const DOUBLE = { fileOffset: 2, memoryOffset: 3 }

const RETRY_MS = 1
/** By number: EAGAIN has two names. */
const RETRIED_ERRNOS: readonly number[] = [constants.errno.EAGAIN, constants.errno.EBUSY]

/**
 * The way of every request to the kernel: requests are written as plain numbers into memory shared
 * with native code, which turns them into SQEs; addresses never appear in JavaScript.
 *
 * What is pushed in one turn of the event loop is submitted together. A chain keeps together: it gets
 * all its places at once, or waits for them. No more operations are in flight than the CQ holds.
 */
export class RequestQueue {
  readonly #binding: RingBinding
  readonly #requestWords: Int32Array
  readonly #requestDoubles: Float64Array
  readonly #completionWords: Int32Array
  readonly #operations: (Operation | undefined)[]
  readonly #freeSlots: Int32Array
  #freeCount: number
  #stagedCount = 0
  /** Chains without a place, in order; those before `#waitingFrom` have got theirs. */
  #waiting: (readonly Operation[])[] = []
  #waitingFrom = 0
  #waitingOperations = 0
  #submitScheduled = false
  #retryTimer: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined
  #closed = false

  /** @throws ERR_RIOLOG_NO_IO_URING with the true reason and its remedy */
  constructor(entries: number, cqEntries: number) {
    const Binding = addon().RingBinding
    if (Binding === undefined) throw noIoUring(undefined)
    try {
      this.#binding = new Binding(entries, cqEntries, count => this.#onCompletions(count))
    } catch (error) {
      throw noIoUring(error as { errno: number; syscall: string })
    }
    this.#requestWords = new Int32Array(this.#binding.requests)
    this.#requestDoubles = new Float64Array(this.#binding.requests)
    this.#completionWords = new Int32Array(this.#binding.completions)
    const slots = this.#binding.cqEntries
    this.#operations = new Array(slots).fill(undefined)
    this.#freeSlots = Int32Array.from({ length: slots }, (_, i) => slots - 1 - i)
    this.#freeCount = slots
  }

  get sqEntries(): number {
    return this.#binding.sqEntries
  }

  get cqEntries(): number {
    return this.#binding.cqEntries
  }

  get setupFlags(): number {
    return this.#binding.setupFlags
  }

  get fd(): number {
    return this.#binding.fd
  }

  /** Operations that have not completed, those not yet submitted included. */
  get inFlight(): number {
    return this.#operations.length - this.#freeCount + this.#waitingOperations
  }

  get kernelOverflow(): number {
    return this.#binding.stats().kernelOverflow
  }

  supports(opcode: number): boolean {
    return this.#binding.supports(opcode)
  }

  traceOn(): void {
    this.#binding.setTracing(true)
  }

  takeTrace(): TracedSqe[] {
    return this.#binding.takeTrace()
  }

  /**
   * Takes a chain (one operation is a chain of one) and submits it at the end of this turn of the
   * event loop, or when {@link submit} is called.
   * @throws ERR_RIOLOG_CHAIN_TOO_LONG before anything is queued
   * @throws ERR_RIOLOG_CLOSED
   */
  push(chain: readonly Operation[]): void {
    if (this.#closing) throw new RiologError('ERR_RIOLOG_CLOSED', 'ring is closed')
    if (chain.length > this.sqEntries) {
      throw new RiologError(
        'ERR_RIOLOG_CHAIN_TOO_LONG',
        `a chain of ${chain.length} operations cannot be submitted at once: ` +
          `the ring has ${this.sqEntries} entries`,
      )
    }
    if (this.#waitingOperations > 0 || !this.#stage(chain)) {
      this.#waiting.push(chain)
      this.#waitingOperations += chain.length
    }
    this.#scheduleSubmit()
  }

  /** Hands everything pushed to the kernel, as far as there is room. */
  submit(): void {
    this.#submitStaged()
    while (this.#waitingOperations > 0 && this.#stage(this.#waiting[this.#waitingFrom])) {
      this.#dropFirstWaiting()
    }
    this.#submitStaged()
  }

  /** Array.shift moves all that follow, once there are many: 400,000 of them took a minute. */
  #dropFirstWaiting(): void {
    this.#waitingOperations -= this.#waiting[this.#waitingFrom].length
    this.#waitingFrom++
    if (this.#waitingFrom * 2 < this.#waiting.length) return
    this.#waiting = this.#waiting.slice(this.#waitingFrom)
    this.#waitingFrom = 0
  }

  /** Settles what has completed, without waiting for the event loop to notice. */
  reap(): void {
    this.#onCompletions(this.#binding.reap())
  }

  /** Waits until every operation has completed, then frees the ring. New operations are refused. */
  close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  async #closeOnce(): Promise<void> {
    this.submit()
    if (this.inFlight > 0) {
      await new Promise<void>(resolve => {
        this.#onIdle = resolve
      })
    }
    this.#closed = true
    clearTimeout(this.#retryTimer)
    this.#binding.close()
  }

  /** False when there is no room for the whole chain: nothing is staged then. */
  #stage(chain: readonly Operation[]): boolean {
    if (chain.length > this.#freeCount || this.#retryTimer !== undefined) return false
    if (this.#stagedCount + chain.length > this.sqEntries) {
      this.#submitStaged()
      if (this.#retryTimer !== undefined) return false
    }
    for (const operation of chain) this.#write(operation)
    return true
  }

  #write(operation: Operation): void {
    const slot = this.#freeSlots[--this.#freeCount]
    this.#operations[slot] = operation
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
    doubles[double + DOUBLE.fileOffset] = operation.fileOffset
    doubles[double + DOUBLE.memoryOffset] = operation.memoryOffset
    this.#stagedCount++
  }

  #scheduleSubmit(): void {
    if (this.#submitScheduled) return
    this.#submitScheduled = true
    process.nextTick(() => {
      this.#submitScheduled = false
      if (!this.#closed) this.submit()
    })
  }

  #submitStaged(): void {
    if (this.#stagedCount === 0) return
    const count = this.#stagedCount
    this.#stagedCount = 0
    this.#afterEnter(this.#binding.submit(count))
  }

  /** EAGAIN and EBUSY leave requests with native code, which must be asked to try again. */
  #afterEnter(errno: number): void {
    this.#retryTimer = undefined
    if (errno === 0) return
    if (!RETRIED_ERRNOS.includes(errno)) throw new SystemError(-errno, 'io_uring_enter')
    this.#retryTimer = setTimeout(() => {
      this.#afterEnter(this.#binding.flush())
      if (this.#retryTimer === undefined) this.submit()
    }, RETRY_MS)
  }

  #onCompletions(count: number): void {
    // Settling may push, submit and reap again, which reuses the area: so it is read out first.
    const words = this.#completionWords
    const settled: Operation[] = new Array(count)
    const outcomes = new Int32Array(count * 2)
    for (let i = 0; i < count; i++) {
      const slot = words[i * COMPLETION_WORDS]
      settled[i] = this.#operations[slot]!
      outcomes[i * 2] = words[i * COMPLETION_WORDS + 1]
      outcomes[i * 2 + 1] = words[i * COMPLETION_WORDS + 2]
      this.#operations[slot] = undefined
      this.#freeSlots[this.#freeCount++] = slot
    }
    for (let i = 0; i < count; i++) settleOne(settled[i], outcomes[i * 2], outcomes[i * 2 + 1])
    if (this.#waitingOperations > 0) this.#scheduleSubmit()
    else if (this.inFlight === 0) this.#onIdle?.()
  }
}

/** What one operation's callback throws must not keep the others from being told. */
function settleOne(operation: Operation, result: number, flags: number): void {
  try {
    operation.settle(result, flags)
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

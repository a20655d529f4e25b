import { invalidArgument, RiologError, SystemError } from '../errors.ts'
import {
  IORING_OP_ACCEPT,
  IORING_OP_CONNECT,
  IORING_OP_LINK_TIMEOUT,
  IORING_OP_POLL_ADD,
  IORING_OP_READ,
  IORING_OP_READV,
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_OP_TIMEOUT,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
  IOSQE_ASYNC,
  IOSQE_FIXED_FILE,
  IOSQE_IO_DRAIN,
  IOSQE_IO_LINK,
  NEVER_QUIET,
  NO_MEMORY,
  OPERATION_NAMES,
  SEGMENT_BYTES,
} from './abi.ts'
import { checkFd, Handle, RegisteredFile } from './handle.ts'
import { IoBuffer } from './io-buffer.ts'
import type { Block, MemoryPool } from './memory-pool.ts'
import {
  type MoreFields,
  noMoreFields,
  type Operation,
  PlainOperation,
  type Stamps,
} from './operation.ts'
import type { Alarm, RequestQueue } from './request-queue.ts'

/** Options that every operation has. */
export interface OperationOptions {
  /**
   * `drain`: it starts when everything submitted before it has completed, and nothing submitted after
   * it starts before it has (IOSQE_IO_DRAIN). To run one operation behind another: `ring.chain()`.
   */
  readonly ordering?: 'none' | 'drain'
  /**
   * Milliseconds, more than 0: not done by then, it is cancelled (ERR_RIOLOG_TIMEOUT). Counts from the
   * submission, also of an operation that stands behind others in a chain or waits for a place. One
   * that the kernel holds back behind a drain is not found before it begins.
   */
  readonly deadlineMs?: number
  /** Start on a worker thread of the kernel at once, rather than try without waiting first. */
  readonly async?: boolean
  /**
   * Cancels it when it aborts (ERR_RIOLOG_CANCELED, with the signal's reason as `cause`). Not for an
   * operation of a chain or batch, which are cancelled as a whole: `submit({ signal })`.
   */
  readonly signal?: AbortSignal
}

/** What an operation is made with: the ring's queue, and its memory for arguments and copies. */
export interface RequestContext {
  readonly queue: RequestQueue
  readonly pool: MemoryPool
}

/** Whoever asked for the operation: a completion, a chain, a batch. */
export interface Sink {
  /** `result` as the kernel gave it. The request has given back what it had lent. */
  settled(request: Request<unknown>, result: number, flags: number): void
}

const ECANCELED = -125
const BORROWED_HANDLE = 1
const BORROWED_BUFFER = 2
const ETIME = -62
const EINTR = -4
/** Of the kernel's own, for its signal handling; a splice that is cancelled shows it. */
const ERESTARTSYS = -512

/** What few requests have, so that the many are small: each field is made, scanned and collected. */
interface Rare {
  secondBlock: Block | undefined
  success: number
  yieldsFd: boolean
  deadline: Deadline | undefined
  signal: AbortSignal | undefined
  cancelCause: CancelCause | undefined
  parts: VectorPart[] | undefined
  /** The other things that it uses, and how many of them it has borrowed. */
  readonly usables: Usable[]
  borrowedUsables: number
}

/** What must not be given up while an operation uses it. */
export interface Usable {
  /** @throws ERR_RIOLOG_CLOSED, ERR_RIOLOG_INVALID_ARGUMENT when it has been given up */
  use(): void
  unuse(): void
}

/** Why an operation was cancelled: becomes the error's code and cause. */
interface CancelCause {
  readonly code: RiologError['code']
  readonly cause: unknown
}

const CANCELED: CancelCause = { code: 'ERR_RIOLOG_CANCELED', cause: undefined }

/** One operation as a caller asked for it, with the memory that it has borrowed meanwhile. */
export class Request<T = unknown> implements Operation {
  readonly opcode: number
  readonly context: RequestContext
  sqeFlags = 0
  fd = -1
  length = 0
  offset = 0
  memory = NO_MEMORY
  memoryOffset = 0
  opFlags = 0
  quietResult = NEVER_QUIET
  more: MoreFields | undefined = undefined
  slot = -1
  urgent = false
  stamps: Stamps | undefined = undefined
  collect: ((result: number, flags: number) => void) | undefined = undefined

  sink: Sink | undefined = undefined
  /** Makes the caller's value of a result that is no error; as it is, where this is missing. */
  convert: ((request: Request<unknown>, result: number, flags: number) => T) | undefined = undefined
  /** Its argument or bounce block; where `memory` points. */
  block: Block | undefined = undefined
  /** An array that gets the bytes of `block` when they have come. */
  copyTo: Uint8Array | undefined = undefined
  /** The result of a complete operation, where a smaller one breaks a chain. */
  expected = -1
  /** Its place in a chain or batch. */
  index = 0
  #rare: Rare | undefined = undefined
  #buffer: IoBuffer | undefined = undefined
  #handle: Handle | undefined = undefined
  /** BORROWED_* bits */
  #borrowed = 0

  constructor(context: RequestContext, opcode: number) {
    this.context = context
    this.opcode = opcode
  }

  get pool(): MemoryPool {
    return this.context.pool
  }

  #makeRare(): Rare {
    this.#rare ??= {
      secondBlock: undefined,
      success: 0,
      yieldsFd: false,
      deadline: undefined,
      signal: undefined,
      cancelCause: undefined,
      parts: undefined,
      usables: [],
      borrowedUsables: 0,
    }
    return this.#rare
  }

  get deadline(): Deadline | undefined {
    return this.#rare?.deadline
  }

  get signal(): AbortSignal | undefined {
    return this.#rare?.signal
  }

  get secondBlock(): Block | undefined {
    return this.#rare?.secondBlock
  }

  /** True when the result is a descriptor that somebody has to close. */
  get yieldsFd(): boolean {
    return this.#rare?.yieldsFd ?? false
  }

  setYieldsFd(): void {
    this.#makeRare().yieldsFd = true
  }

  /** A negative result that is the one hoped for, as a timer's ETIME is. */
  setSuccess(result: number): void {
    this.#makeRare().success = result
  }

  /** Why it is cancelled; the first reason counts. */
  setCancelCause(cause: CancelCause): void {
    this.#makeRare().cancelCause ??= cause
  }

  /** The argument block becomes the SQE's first memory. */
  useBlock(block: Block): void {
    this.block = block
    this.memory = block.memory
    this.memoryOffset = block.memoryOffset
  }

  /** And this its second. */
  useSecondBlock(block: Block): void {
    this.#makeRare().secondBlock = block
    const more = this.makeMore()
    more.secondMemory = block.memory
    more.secondMemoryOffset = block.memoryOffset
  }

  makeMore(): MoreFields {
    this.more ??= noMoreFields()
    return this.more
  }

  /** @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED */
  useFile(context: RequestContext, file: unknown): void {
    if (file instanceof RegisteredFile) {
      if (file.queue !== context.queue) throw invalidArgument('a file registered with another ring')
      if (file.released) throw invalidArgument('a registered file that was released')
      this.alsoUse(file)
      this.fd = file.index
      this.sqeFlags |= IOSQE_FIXED_FILE
      return
    }
    if (file instanceof Handle) this.#handle = file
    this.fd = fdOf(file)
  }

  /** A second file, which the operation names in a place of its own. Returns its descriptor. */
  useOtherFile(file: unknown): number {
    if (file instanceof RegisteredFile) throw invalidArgument('must not be a registered file')
    if (file instanceof Handle) this.alsoUse(file)
    return fdOf(file)
  }

  /** Something that lasts for as long as this operation. */
  alsoUse(usable: Usable): void {
    this.#makeRare().usables.push(usable)
  }

  /** Lends `length` bytes of an IoBuffer from `from` on. */
  useBuffer(buffer: IoBuffer, from: number, length: number): void {
    this.#buffer = buffer
    this.memoryOffset = from
    this.length = length
  }

  /** Puts a bounce buffer in front of an array: `write` copies it now, else it is filled later. */
  useArray(array: Uint8Array, write: boolean): void {
    const { length } = array // read once: a class of the caller's may say something else each time
    const block = this.pool.take(Math.max(length, 1))
    this.useBlock(block)
    this.length = length
    if (write) block.bytes.set(array)
    else this.copyTo = array
  }

  /** Several buffers at once; which memory they are is written down when they are lent. */
  useVector(parts: VectorPart[]): void {
    this.#makeRare().parts = parts
    this.useBlock(this.pool.take(parts.length * SEGMENT_BYTES))
    this.length = parts.length
  }

  useOptions(options: OperationOptions | undefined): void {
    if (options === undefined) return
    if (typeof options !== 'object' || options === null) {
      throw invalidArgument('options must be an object')
    }
    if (options.ordering === 'drain') this.sqeFlags |= IOSQE_IO_DRAIN
    else if (options.ordering !== undefined && options.ordering !== 'none') {
      throw invalidArgument(`ordering must be 'none' or 'drain', got ${String(options.ordering)}`)
    }
    if (options.signal !== undefined) this.#makeRare().signal = checkSignal(options.signal)
    if (options.async === true) this.sqeFlags |= IOSQE_ASYNC
    if (options.deadlineMs !== undefined) {
      if (this.context.queue.isPolled) {
        throw new RiologError('ERR_RIOLOG_UNSUPPORTED', 'a ring with ioPoll has no timers')
      }
      this.#makeRare().deadline = new Deadline(this, options.deadlineMs)
    }
  }

  /** Called when nothing can be refused any more. @throws ERR_RIOLOG_BUFFER_LENT, …_CLOSED */
  borrow(): void {
    if (this.#handle === undefined && this.#buffer === undefined && this.#rare === undefined) return
    try {
      this.#borrowAll()
    } catch (error) {
      this.giveBack()
      throw error
    }
  }

  #borrowAll(): void {
    if (this.#handle !== undefined) {
      this.#handle.use()
      this.#borrowed |= BORROWED_HANDLE
    }
    if (this.#buffer !== undefined) {
      this.memory = this.#buffer.lend()
      this.#borrowed |= BORROWED_BUFFER
    }
    if (this.#rare === undefined) return
    const { parts, usables } = this.#rare
    for (const usable of usables) {
      usable.use()
      this.#rare.borrowedUsables++
    }
    if (parts !== undefined) lendParts(parts, this.block!)
  }

  /** Gives back what it has borrowed; once. */
  giveBack(): void {
    const rare = this.#rare
    if (rare !== undefined) {
      if (rare.parts !== undefined) for (const part of rare.parts) part.giveBack()
      while (rare.borrowedUsables > 0) rare.usables[--rare.borrowedUsables].unuse()
    }
    const borrowed = this.#borrowed
    if (borrowed === 0) return
    this.#borrowed = 0
    if ((borrowed & BORROWED_BUFFER) !== 0) this.#buffer!.giveBack()
    if ((borrowed & BORROWED_HANDLE) !== 0) this.#handle!.unuse()
  }

  /** For an operation that never started. */
  discard(): void {
    this.giveBack()
    this.freeBlocks()
    this.deadline?.discard()
  }

  /** Gives up blocks of an operation that never started, or whose result has been read. */
  freeBlocks(): void {
    if (this.block !== undefined) this.pool.giveBack(this.block)
    this.block = undefined
    const rare = this.#rare
    if (rare === undefined) return
    if (rare.secondBlock !== undefined) this.pool.giveBack(rare.secondBlock)
    rare.secondBlock = undefined
    if (rare.parts !== undefined) for (const part of rare.parts) part.freeBlock(this.pool)
    rare.deadline?.freeBlock()
  }

  settle(result: number, flags: number): void {
    const rare = this.#rare
    if (rare?.deadline !== undefined) {
      if (rare.deadline.holdsBack(result, flags)) return
      rare.deadline.stop()
    }
    this.giveBack()
    this.sink?.settled(this, rare !== undefined && result === rare.success ? 0 : result, flags)
  }

  /** Copies what was read to where it belongs. @throws when there is no such place any more */
  takeBytes(result: number): void {
    if (this.copyTo !== undefined) copyOut(this.block!.bytes, result, this.copyTo)
    if (this.#rare?.parts !== undefined) scatter(this.#rare.parts, result)
  }

  /** The caller's value; blocks are free afterwards. @throws when bytes have no place any more */
  take(result: number, flags: number): T {
    try {
      this.takeBytes(result)
    } catch (error) {
      this.freeBlocks()
      throw error
    }
    return this.valueFor(result, flags)
  }

  /** The same when the bytes have been taken. */
  valueFor(result: number, flags: number): T {
    try {
      return this.convert === undefined ? (result as T) : this.convert(this, result, flags)
    } finally {
      this.freeBlocks()
    }
  }

  failure(result: number): SystemError {
    const name = OPERATION_NAMES[this.opcode]
    // A worker of the kernel that is cancelled while it waits gives EINTR.
    const canceled = result === ECANCELED || result === EINTR || result === ERESTARTSYS
    const told = result === ERESTARTSYS ? ECANCELED : result
    if (canceled && this.deadline?.expired === true) {
      const message = `${name} was not done within ${this.deadline.milliseconds} ms`
      return new SystemError(told, name, undefined, { code: 'ERR_RIOLOG_TIMEOUT', message })
    }
    // Without a cause of its own it was one of those that `cancelMatching` or `close` ended.
    const cancelCause = this.#rare?.cancelCause ?? (told === ECANCELED ? CANCELED : undefined)
    if (canceled && cancelCause !== undefined) {
      const message = `${name} was canceled`
      return new SystemError(told, name, undefined, { ...cancelCause, message })
    }
    return new SystemError(told, name)
  }
}

/** @throws ERR_RIOLOG_CANCELED when it has aborted, ERR_RIOLOG_INVALID_ARGUMENT */
export function checkSignal(signal: AbortSignal): AbortSignal {
  if (!(signal instanceof AbortSignal)) throw invalidArgument('signal must be an AbortSignal')
  if (signal.aborted) {
    throw new RiologError('ERR_RIOLOG_CANCELED', 'canceled before it was started', {
      cause: signal.reason,
    })
  }
  return signal
}

/** @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED */
function fdOf(file: unknown): number {
  if (typeof file === 'number') return checkFd(file)
  if (file instanceof Handle) file.checkOpen()
  return checkFd((file as { fd?: unknown } | null | undefined)?.fd)
}

/** One piece of a scattered read or a gathered write. */
export class VectorPart {
  readonly length: number
  #buffer: IoBuffer | undefined
  #block: Block | undefined
  #copyTo: Uint8Array | undefined
  #lent = false

  constructor(pool: MemoryPool, bytes: IoBuffer | Uint8Array, write: boolean) {
    const { length } = bytes
    this.length = length
    if (bytes instanceof IoBuffer) {
      this.#buffer = bytes
      return
    }
    this.#block = pool.take(Math.max(length, 1))
    if (write) this.#block.bytes.set(bytes)
    else this.#copyTo = bytes
  }

  /** Returns which memory it is. @throws ERR_RIOLOG_BUFFER_LENT */
  lend(): { memory: number; memoryOffset: number } {
    if (this.#buffer === undefined) return this.#block!
    const memory = this.#buffer.lend()
    this.#lent = true
    return { memory, memoryOffset: 0 }
  }

  giveBack(): void {
    if (!this.#lent) return
    this.#lent = false
    this.#buffer?.giveBack()
  }

  freeBlock(pool: MemoryPool): void {
    if (this.#block !== undefined) pool.giveBack(this.#block)
    this.#block = undefined
  }

  copyOut(bytes: number): void {
    if (this.#copyTo !== undefined) copyOut(this.#block!.bytes, bytes, this.#copyTo)
  }
}

/** Writes `struct Segment`s (native/core/request.h). */
function lendParts(parts: readonly VectorPart[], block: Block): void {
  const view = new DataView(block.bytes.buffer, block.bytes.byteOffset)
  for (let i = 0; i < parts.length; i++) {
    const { memory, memoryOffset } = parts[i].lend()
    view.setInt32(i * SEGMENT_BYTES, memory, true)
    view.setUint32(i * SEGMENT_BYTES + 4, parts[i].length, true)
    view.setFloat64(i * SEGMENT_BYTES + 8, memoryOffset, true)
  }
}

function copyOut(from: Uint8Array, bytes: number, to: Uint8Array): void {
  if (to.length < bytes) {
    throw invalidArgument('the array was transferred or shrunk while being read into')
  }
  if (bytes > 0) to.set(bytes === from.length ? from : from.subarray(0, bytes))
}

function scatter(parts: readonly VectorPart[], bytes: number): void {
  let left = bytes
  for (const part of parts) {
    if (left <= 0) return
    part.copyOut(Math.min(left, part.length))
    left -= part.length
  }
}

/**
 * What the kernel tries without waiting, and then waits for: for these a linked timer is armed as soon
 * as they begin. All else runs on a worker of the kernel, where the timer's cancel comes late or never
 * (Linux 6.18).
 */
const LINKED_DEADLINES: ReadonlySet<number> = new Set([
  IORING_OP_ACCEPT,
  IORING_OP_CONNECT,
  IORING_OP_POLL_ADD,
  IORING_OP_READ,
  IORING_OP_READV,
  IORING_OP_RECV,
  IORING_OP_RECVMSG,
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_OP_TIMEOUT,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
])

/**
 * Cancels an operation when its time is over. Where the kernel begins with the operation at once, by a
 * timer linked behind it (IORING_OP_LINK_TIMEOUT): no system call, and it fires while JavaScript is
 * busy. Such a timer does not start before its operation does, so one that has to wait first (for a
 * place in the ring, for a drain, for the chain in front of it) gets a timer of the event loop.
 */
export class Deadline {
  readonly milliseconds: number
  /** Goes to the kernel right behind the operation, linked to it. */
  readonly operation: Operation
  /** It was this that cancelled the operation. */
  expired = false
  readonly #request: Request<unknown>
  #block: Block | undefined
  /** For a timer of the event loop. */
  #detached: Alarm | undefined
  #timerSettled = false
  #heldBack: { readonly result: number; readonly flags: number } | undefined

  constructor(request: Request<unknown>, milliseconds: number) {
    checkMilliseconds('deadlineMs', milliseconds)
    this.#request = request
    this.milliseconds = milliseconds
    this.operation = new PlainOperation(IORING_OP_LINK_TIMEOUT)
    this.#block = request.pool.take(TIMESPEC_BYTES)
    writeTimespec(this.#block, milliseconds)
    this.operation.memory = this.#block.memory
    this.operation.memoryOffset = this.#block.memoryOffset
    // Never quiet: an operation that is held back waits for it, and nothing else may wake us.
    this.operation.settle = result => this.#onTimer(result)
  }

  /**
   * Decides which timer it is, when the operation is about to be pushed. True: the linked one.
   * @param chainLength operations that go together, this the first of them; 0 for any but the first
   */
  choose(chainLength: number): boolean {
    const { opcode, sqeFlags, context } = this.#request
    const begins = (sqeFlags & (IOSQE_ASYNC | IOSQE_IO_DRAIN)) === 0 && LINKED_DEADLINES.has(opcode)
    if (chainLength > 0 && begins && context.queue.startsAtOnce(chainLength + 1)) return true
    this.#timerSettled = true
    this.#detached = context.queue.alarm(this.milliseconds, () => {
      this.expired = true
      context.queue.cancel(this.#request)
    })
    return false
  }

  /** The operation is done. */
  stop(): void {
    this.#detached?.clear()
  }

  /** For a timer that somebody blocks the thread for. */
  setUrgent(urgent: boolean): void {
    this.operation.urgent = urgent
  }

  /** True when the operation was cancelled and only the timer's completion will tell by whom. */
  holdsBack(result: number, flags: number): boolean {
    if (result !== ECANCELED || this.#timerSettled) return false
    this.#heldBack = { result, flags }
    return true
  }

  freeBlock(): void {
    if (!this.#timerSettled) return // the kernel may not have read it yet
    if (this.#block !== undefined) this.#request.pool.giveBack(this.#block)
    this.#block = undefined
  }

  /** Neither the operation nor the timer was started. */
  discard(): void {
    this.#detached?.clear()
    this.#timerSettled = true
    this.freeBlock()
  }

  #onTimer(result: number): void {
    this.#timerSettled = true
    this.expired = result === ETIME
    this.freeBlock()
    if (this.#heldBack !== undefined) {
      this.#request.settle(this.#heldBack.result, this.#heldBack.flags)
    }
  }
}

export const TIMESPEC_BYTES = 16

/** @throws ERR_RIOLOG_INVALID_ARGUMENT */
export function checkMilliseconds(name: string, value: number): void {
  if (!(typeof value === 'number' && value > 0 && value <= 2 ** 31)) {
    throw invalidArgument(`${name} must be more than 0 and at most 2^31, got ${String(value)}`)
  }
}

export function writeTimespec(block: Block, milliseconds: number): void {
  const seconds = Math.floor(milliseconds / 1000)
  const nanoseconds = Math.round((milliseconds - seconds * 1000) * 1e6)
  const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, TIMESPEC_BYTES)
  view.setBigInt64(0, BigInt(seconds), true)
  view.setBigInt64(8, BigInt(Math.min(nanoseconds, 999_999_999)), true)
}

/** A request and, if it has one, the timer that is linked behind it. Called when it is to be pushed. */
export function withDeadline(request: Request<unknown>, chainLength = 1): Operation[] {
  if (request.deadline === undefined || !request.deadline.choose(chainLength)) return [request]
  request.sqeFlags |= IOSQE_IO_LINK
  return [request, request.deadline.operation]
}

/** Borrows for all of the requests, or for none; they can be tried again, or discarded. */
export function borrowAll(requests: readonly Request<unknown>[]): void {
  try {
    for (const request of requests) request.borrow()
  } catch (error) {
    for (const request of requests) request.giveBack()
    throw error
  }
}

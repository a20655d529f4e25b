import { invalidArgument, RiologError, SystemError } from '../errors.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_NOP,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IOSQE_IO_LINK,
  NEVER_QUIET,
  NO_MEMORY,
  OPERATION_NAMES,
} from './abi.ts'
import { IoBuffer } from './io-buffer.ts'
import { type Operation, RequestQueue } from './request-queue.ts'

/** A file descriptor, or anything that has one (a `FileHandle` of node:fs). */
export type FileLike = number | { readonly fd: number }

export interface RingOptions {
  /** Entries of the submission queue, rounded up by the kernel to a power of two; 256. */
  readonly entries?: number
  /** Entries of the completion queue, and so the most operations in flight; twice `entries`. */
  readonly cqEntries?: number
}

const MAX_ENTRIES = 32768 // IORING_MAX_ENTRIES, io_uring/io_uring.c
const MAX_CQ_ENTRIES = 2 * MAX_ENTRIES // IORING_MAX_CQ_ENTRIES
const ECANCELED = -125

/** One operation as the caller sees it: what to ask of the kernel, and a promise of the result. */
class Request implements Operation {
  readonly opcode: number
  sqeFlags = 0
  readonly fd: number
  fileOffset = 0
  length = 0
  memory = NO_MEMORY
  memoryOffset = 0
  opFlags = 0
  quietResult = NEVER_QUIET
  readonly promise: Promise<number>
  #resolve!: (result: number) => void
  #reject!: (error: Error) => void
  #buffer: IoBuffer | undefined
  #lending = false
  #copyOut: Uint8Array | undefined

  constructor(opcode: number, fd: number) {
    this.opcode = opcode
    this.fd = fd
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Lends an IoBuffer, or puts a bounce buffer before an array that stays JavaScript's. */
  useBytes(bytes: IoBuffer | Uint8Array): void {
    this.length = bytes.length
    if (bytes instanceof IoBuffer) {
      this.#buffer = bytes
      return
    }
    this.#buffer = IoBuffer.alloc(Math.max(bytes.length, 1))
    if (this.opcode === IORING_OP_WRITE) this.#buffer.bytes.set(bytes)
    else this.#copyOut = bytes
  }

  /** Called when nothing can be refused any more. */
  lend(): void {
    if (this.#buffer === undefined) return
    this.memory = this.#buffer.lend()
    this.#lending = true
  }

  /** Takes back what this request has lent; the same buffer may be with another one. */
  takeBack(): void {
    if (!this.#lending) return
    this.#lending = false
    this.#buffer?.giveBack()
  }

  settle(result: number): void {
    this.takeBack()
    if (result < 0) {
      this.#reject(new SystemError(result, OPERATION_NAMES[this.opcode]))
      return
    }
    if (this.#copyOut !== undefined && this.#buffer !== undefined) {
      if (this.#copyOut.length < result) {
        this.#reject(invalidArgument('the array was transferred or shrunk while being read into'))
        return
      }
      this.#copyOut.set(this.#buffer.bytes.subarray(0, result))
    }
    this.#resolve(result)
  }
}

function fdOf(file: FileLike): number {
  const fd = typeof file === 'number' ? file : file?.fd
  if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) {
    throw invalidArgument(`not an open file: ${typeof file === 'number' ? file : typeof file}`)
  }
  return fd
}

function checkBytes(bytes: unknown): asserts bytes is IoBuffer | Uint8Array {
  if (bytes instanceof IoBuffer) {
    if (bytes.lent) bytes.bytes // throws ERR_RIOLOG_BUFFER_LENT
    return
  }
  if (!(bytes instanceof Uint8Array)) {
    throw invalidArgument('bytes must be an IoBuffer or a Uint8Array')
  }
}

function checkOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw invalidArgument(`offset must be a safe integer of 0 or more, got ${offset}`)
  }
}

function checkCount(name: string, value: number, most: number): void {
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw invalidArgument(`${name} must be an integer from 1 to ${most}, got ${value}`)
  }
}

function readOrWrite(
  opcode: number,
  file: FileLike,
  bytes: IoBuffer | Uint8Array,
  offset: number,
): Request {
  const fd = fdOf(file)
  checkBytes(bytes)
  checkOffset(offset)
  const request = new Request(opcode, fd)
  request.useBytes(bytes)
  request.fileOffset = offset
  return request
}

function sync(file: FileLike, flags: number): Request {
  const request = new Request(IORING_OP_FSYNC, fdOf(file))
  request.opFlags = flags
  return request
}

/** A chain did not run to its end. */
export class ChainError extends RiologError {
  override readonly name = 'ChainError'
  /** The operation that failed or was short; those behind it did not run. */
  readonly index: number
  /** The result of each operation: bytes or 0, or a negative errno (-125, ECANCELED, behind `index`). */
  readonly results: readonly number[]

  constructor(index: number, results: readonly number[], cause: Error) {
    super('ERR_RIOLOG_CHAIN_BROKEN', `operation ${index} of the chain: ${cause.message}`, { cause })
    this.index = index
    this.results = results
  }
}

/**
 * Operations that run one after the other, each only if the one before it did all that was asked of
 * it (IOSQE_IO_LINK). Built as a whole, and submitted in one io_uring_enter.
 */
export class Chain {
  readonly #queue: RequestQueue
  #requests: Request[] = []
  #submitted = false

  /** @internal */
  constructor(queue: RequestQueue) {
    this.#queue = queue
  }

  readAt(file: FileLike, bytes: IoBuffer | Uint8Array, offset: number): this {
    return this.#add(readOrWrite(IORING_OP_READ, file, bytes, offset))
  }

  writeAt(file: FileLike, bytes: IoBuffer | Uint8Array, offset: number): this {
    return this.#add(readOrWrite(IORING_OP_WRITE, file, bytes, offset))
  }

  fsync(file: FileLike): this {
    return this.#add(sync(file, 0))
  }

  fdatasync(file: FileLike): this {
    return this.#add(sync(file, IORING_FSYNC_DATASYNC))
  }

  nop(): this {
    return this.#add(new Request(IORING_OP_NOP, -1))
  }

  /**
   * Resolves to the result of each operation in order.
   * @throws ChainError (ERR_RIOLOG_CHAIN_BROKEN), also for a short read or write
   * @throws ERR_RIOLOG_CHAIN_TOO_LONG, ERR_RIOLOG_BUFFER_LENT before anything is queued
   */
  submit(): Promise<number[]> {
    if (this.#submitted) throw invalidArgument('a chain is submitted once')
    if (this.#requests.length === 0) throw invalidArgument('the chain is empty')
    this.#submitted = true
    const requests = this.#requests
    for (const request of requests.slice(0, -1)) request.sqeFlags = IOSQE_IO_LINK
    const results = this.#settleTogether(requests)
    results.catch(() => {}) // if the push below throws, nobody awaits this one
    pushLending(this.#queue, requests)
    return results
  }

  #add(request: Request): this {
    if (this.#submitted) throw invalidArgument('the chain has been submitted')
    this.#requests.push(request)
    return this
  }

  async #settleTogether(requests: readonly Request[]): Promise<number[]> {
    const settled = await Promise.allSettled(requests.map(request => request.promise))
    const results = settled.map(outcome =>
      outcome.status === 'fulfilled' ? outcome.value : (outcome.reason as SystemError).errno,
    )
    for (let i = 0; i < requests.length; i++) {
      const outcome = settled[i]
      if (outcome.status === 'rejected' && results[i] !== ECANCELED) {
        throw new ChainError(i, results, outcome.reason as Error)
      }
      if (outcome.status === 'fulfilled' && outcome.value < requests[i].length) {
        const short = `short: ${outcome.value} of ${requests[i].length} bytes`
        throw new ChainError(i, results, new Error(short))
      }
      if (outcome.status === 'rejected') throw new ChainError(i, results, outcome.reason as Error)
    }
    return results
  }
}

/** Lends every buffer of the chain, or none. */
function pushLending(queue: RequestQueue, requests: readonly Request[]): void {
  try {
    for (const request of requests) request.lend()
    queue.push(requests)
  } catch (error) {
    for (const request of requests) request.takeBack()
    throw error
  }
}

/**
 * An io_uring of the calling thread. Operations are submitted together at the end of the turn of the
 * event loop in which they were asked for; each promise settles exactly once.
 */
export class Ring {
  readonly #queue: RequestQueue

  private constructor(queue: RequestQueue) {
    this.#queue = queue
  }

  /**
   * @throws ERR_RIOLOG_NO_IO_URING, naming the true reason and its remedy
   * @throws ERR_RIOLOG_INVALID_ARGUMENT
   */
  static open(options: RingOptions = {}): Ring {
    const entries = options.entries ?? 256
    const cqEntries = options.cqEntries ?? entries * 2
    checkCount('entries', entries, MAX_ENTRIES)
    checkCount('cqEntries', cqEntries, MAX_CQ_ENTRIES)
    if (cqEntries < entries) throw invalidArgument('cqEntries must not be below entries')
    return new Ring(new RequestQueue(entries, cqEntries))
  }

  /** Resolves to the number of bytes read: fewer than asked at the end of the file. */
  readAt(file: FileLike, bytes: IoBuffer | Uint8Array, offset: number): Promise<number> {
    return this.#one(readOrWrite(IORING_OP_READ, file, bytes, offset))
  }

  /** Resolves to the number of bytes written, which the kernel may make fewer than asked. */
  writeAt(file: FileLike, bytes: IoBuffer | Uint8Array, offset: number): Promise<number> {
    return this.#one(readOrWrite(IORING_OP_WRITE, file, bytes, offset))
  }

  async fsync(file: FileLike): Promise<void> {
    await this.#one(sync(file, 0))
  }

  async fdatasync(file: FileLike): Promise<void> {
    await this.#one(sync(file, IORING_FSYNC_DATASYNC))
  }

  async nop(): Promise<void> {
    await this.#one(new Request(IORING_OP_NOP, -1))
  }

  /** Begins a chain: `await ring.chain().writeAt(f, b, 0).fdatasync(f).submit()`. */
  chain(): Chain {
    return new Chain(this.#queue)
  }

  /** Submits what has been asked for now, rather than at the end of this turn. */
  submitAll(): void {
    this.#queue.submit()
  }

  /** Operations asked for and not yet completed. */
  get inFlight(): number {
    return this.#queue.inFlight
  }

  /** What this ring got from the kernel, by asking it (IORING_REGISTER_PROBE), not by its version. */
  probe(): RingProbe {
    const operations: Record<string, boolean> = {}
    for (const [opcode, name] of Object.entries(OPERATION_NAMES)) {
      operations[name] = this.#queue.supports(Number(opcode))
    }
    const { sqEntries, cqEntries, setupFlags } = this.#queue
    return { sqEntries, cqEntries, setupFlags, operations }
  }

  /** Waits for all operations, then frees the ring. */
  close(): Promise<void> {
    return this.#queue.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #one(request: Request): Promise<number> {
    pushLending(this.#queue, [request])
    return request.promise
  }
}

export interface RingProbe {
  readonly sqEntries: number
  readonly cqEntries: number
  /** IORING_SETUP_* flags in force. */
  readonly setupFlags: number
  readonly operations: Readonly<Record<string, boolean>>
}

import { availableParallelism } from 'node:os'
import { EVENT_LOOP_BUSY_POLL } from '../busy-poll.ts'
import { invalidArgument, SystemError } from '../errors.ts'
import {
  IORING_ACCEPT_MULTISHOT,
  IORING_POLL_ADD_MULTI,
  IORING_RECV_MULTISHOT,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_HYBRID_IOPOLL,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
  IOSQE_BUFFER_SELECT,
  OPERATION_NAMES,
} from './abi.ts'
import type { AddressLike } from './address.ts'
import { Batch } from './batch.ts'
import { BufferGroup } from './buffer-group.ts'
import { Chain, type ChainOptions } from './chain.ts'
import { Completion } from './completion.ts'
import { directAlignment } from './direct-alignment.ts'
import { checkFd, type FileLike, Handle, RegisteredFile } from './handle.ts'
import { IoBuffer } from './io-buffer.ts'
import { MemoryPool } from './memory-pool.ts'
import { MessageInbox, type RingMessage } from './messages.ts'
import { Multishot } from './multishot.ts'
import { Operations, type Taken } from './operations.ts'
import { checkOptions } from './prepare/check.ts'
import { type AnyFile, poll } from './prepare/control.ts'
import { accept, type ListeningLike, recv, type StreamLike } from './prepare/net.ts'
import { Profiler, type RingProfile } from './profile.ts'
import {
  checkSignal,
  type OperationOptions,
  type Request,
  type RequestContext,
  withDeadline,
} from './request.ts'
import { RequestQueue } from './request-queue.ts'
import {
  bindDatagram,
  type DatagramOptions,
  type DatagramSocket,
  type ListeningSocket,
  type ListenOptions,
  listen,
  StreamSocket,
  streamFor,
} from './sockets.ts'

/** The options of `Ring.open`. */
export interface RingOptions {
  /** Entries of the submission queue, rounded up by the kernel to a power of two; 256. The longest
   *  chain has so many operations. */
  readonly depth?: number
  /** Entries of the completion queue, and so about the most operations that the kernel has at once;
   *  twice `depth`. More are taken, and wait. */
  readonly cqDepth?: number
  /**
   * A thread of the kernel submits (IORING_SETUP_SQPOLL): no system call for a submission, at the cost
   * of a busy CPU for as long as there is work, and `idleMs` after it.
   */
  readonly sqPoll?: boolean | SqPollOptions
  /**
   * Completions are found by polling the device (IORING_SETUP_IOPOLL): only reads and writes, on
   * files that are open for direct I/O, of devices that can be polled. The thread does not rest while
   * there are some.
   */
  readonly ioPoll?: boolean
  /**
   * While operations are under way the event loop does not sleep, for up to a millisecond behind each submission, and so
   * needs not be woken for their completions. Timers and sockets are served all the same, other threads and processes go
   * first (sched_yield(2)); it costs a CPU that would have been idle.
   */
  readonly busyPoll?: boolean
  /** IORING_SETUP_* flags, instead of the best that the kernel knows (`SETUP`). */
  readonly setupFlags?: number
  /** Measures; see {@link Ring.profile}. Costs two clock readings an operation. */
  readonly profile?: boolean
  /** Places for `registerFile`; 64. */
  readonly registeredFiles?: number
  /** Places for `registerBuffer`; 64. */
  readonly registeredBuffers?: number
}

const OPTION_NAMES = Object.keys({
  depth: true,
  cqDepth: true,
  sqPoll: true,
  ioPoll: true,
  busyPoll: true,
  setupFlags: true,
  profile: true,
  registeredFiles: true,
  registeredBuffers: true,
} satisfies Record<keyof RingOptions, true>)

/** The option `sqPoll`. */
export interface SqPollOptions {
  /** Milliseconds without work after which the kernel's thread sleeps; 1000. */
  readonly idleMs?: number
  /** The CPU that it is bound to; any. */
  readonly cpu?: number
}

/** Flags for `setupFlags` (io_uring_setup(2)). Others would change what a ring's memory looks like, or
 *  who may use it. */
export const SETUP = {
  SUBMIT_ALL: IORING_SETUP_SUBMIT_ALL,
  COOP_TASKRUN: IORING_SETUP_COOP_TASKRUN,
  TASKRUN_FLAG: IORING_SETUP_TASKRUN_FLAG,
  SINGLE_ISSUER: IORING_SETUP_SINGLE_ISSUER,
  HYBRID_IOPOLL: IORING_SETUP_HYBRID_IOPOLL,
} as const
const ALLOWED_SETUP_FLAGS = Object.values(SETUP).reduce((all, flag) => all | flag, 0)

/** Of what goes on until it is ended. */
export interface SignalOptions {
  /** Ends it with ERR_RIOLOG_CANCELED. */
  readonly signal?: AbortSignal
}

const MAX_ENTRIES = 32768 // IORING_MAX_ENTRIES, io_uring/io_uring.c
const MAX_CQ_ENTRIES = 2 * MAX_ENTRIES // IORING_MAX_CQ_ENTRIES

function checkCount(name: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw invalidArgument(
      `${name} must be an integer from ${least} to ${most}, got ${String(value)}`,
    )
  }
  return value
}

function checkSqPoll(sqPoll: RingOptions['sqPoll']): { idleMs: number; cpu: number } | undefined {
  if (sqPoll === undefined || sqPoll === false) return undefined
  if (sqPoll !== true) checkOptions(sqPoll, ['idleMs', 'cpu'])
  const { idleMs = 0, cpu = -1 } = sqPoll === true ? {} : sqPoll
  if (idleMs !== 0) checkCount('sqPoll.idleMs', idleMs, 1, 2 ** 31)
  if (cpu !== -1) checkCount('sqPoll.cpu', cpu, 0, Math.max(availableParallelism(), 4096) - 1)
  return { idleMs, cpu }
}

/**
 * An io_uring of the calling thread. Operations are submitted together at the end of the turn of the
 * event loop in which they were asked for; each completion settles exactly once.
 */
export class Ring extends Operations<'ring'> {
  /** @internal */
  protected override readonly context: RequestContext
  readonly #queue: RequestQueue
  readonly #profiler: Profiler | undefined
  readonly #multishots = new Set<Multishot<unknown>>()
  readonly #inbox: MessageInbox
  readonly #fileCount: number
  readonly #bufferCount: number
  #freeFiles: number[] | undefined
  #hasBufferTable = false

  private constructor(queue: RequestQueue, profiler: Profiler | undefined, options: RingOptions) {
    super()
    this.#queue = queue
    this.#profiler = profiler
    this.context = { queue, pool: new MemoryPool() }
    this.#inbox = new MessageInbox(queue)
    this.#fileCount = options.registeredFiles ?? 64
    this.#bufferCount = options.registeredBuffers ?? 64
  }

  /**
   * A new ring, of the calling thread.
   * @throws ERR_RIOLOG_NO_IO_URING, naming the true reason and its remedy
   * @throws ERR_RIOLOG_INVALID_ARGUMENT
   */
  static open(options: RingOptions = {}): Ring {
    checkOptions(options, OPTION_NAMES)
    const depth = checkCount('depth', options.depth ?? 256, 1, MAX_ENTRIES)
    const cqDepth = checkCount('cqDepth', options.cqDepth ?? depth * 2, 1, MAX_CQ_ENTRIES)
    if (cqDepth < depth) throw invalidArgument('cqDepth must not be below depth')
    checkCount('registeredFiles', options.registeredFiles ?? 64, 1, 32768)
    checkCount('registeredBuffers', options.registeredBuffers ?? 64, 1, 16384)
    const { setupFlags } = options
    if (setupFlags !== undefined && (setupFlags & ~ALLOWED_SETUP_FLAGS) !== 0) {
      throw invalidArgument(`setupFlags may have ${Object.keys(SETUP).join(', ')} only`)
    }
    const profiler = options.profile === true ? new Profiler() : undefined
    const queue = new RequestQueue({
      depth,
      cqDepth,
      setupFlags,
      sqPoll: checkSqPoll(options.sqPoll),
      ioPoll: options.ioPoll,
      profiler,
      busyPoll: options.busyPoll === true ? EVENT_LOOP_BUSY_POLL : undefined,
    })
    return new Ring(queue, profiler, options)
  }

  /**
   * Begins a chain: `await ring.chain().writeAt(f, b, 0).fdatasync(f).submit()`. One that is filled in
   * a loop says what its values are: `ring.chain<number[]>()`.
   */
  chain<R extends readonly unknown[] = []>(options?: ChainOptions): Chain<R> {
    return new Chain<R>(this.context, options)
  }

  /** Begins a batch: many operations, one promise. */
  batch(): Batch {
    return new Batch(this.context)
  }

  /** Submits what has been asked for now, rather than at the end of this turn. */
  submitAll(): void {
    this.#queue.submit()
  }

  /** Operations asked for and not yet completed. */
  get inFlight(): number {
    return this.#queue.inFlight
  }

  /** The ring's own descriptor: where `message` of other rings of this process sends to. */
  get fd(): number {
    return this.#queue.binding.fd
  }

  /** What this ring got from the kernel, by asking it (IORING_REGISTER_PROBE), not by its version. */
  probe(): RingProbe {
    const operations: Record<string, boolean> = {}
    for (const [opcode, name] of Object.entries(OPERATION_NAMES)) {
      operations[name] = this.#queue.supports(Number(opcode))
    }
    const { sqEntries, cqEntries, setupFlags, features } = this.#queue.binding
    const mostInFlight = this.#queue.slotCount
    return { sqEntries, cqEntries, mostInFlight, setupFlags, features, operations }
  }

  /** What the option `profile` measured; undefined without it. */
  profile(): RingProfile | undefined {
    return this.#profiler?.read()
  }

  /** Completions that the kernel had to drop for want of room: 0, always (io_uring(7), `overflow`). */
  get kernelOverflow(): number {
    return this.#queue.kernelOverflow
  }

  // ---- connections ----

  /**
   * A socket that listens: made, bound and ready, without waiting.
   * @throws SystemError EADDRINUSE, EACCES, …; ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED
   */
  listen(options: ListenOptions): ListeningSocket {
    checkOptions(options)
    this.#queue.checkChain(1)
    return listen(this.#queue, options)
  }

  /**
   * A bound datagram socket.
   * @throws SystemError EADDRINUSE, EACCES, …; ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED
   */
  datagram(options: DatagramOptions): DatagramSocket {
    checkOptions(options)
    this.#queue.checkChain(1)
    return bindDatagram(this.#queue, options)
  }

  /**
   * A new connection to an address; the socket sends small packets at once (TCP_NODELAY).
   * @throws SystemError ECONNREFUSED, …; ERR_RIOLOG_TIMEOUT, ERR_RIOLOG_CANCELED: there is no socket then
   */
  async dial(address: AddressLike, options?: OperationOptions): Promise<StreamSocket> {
    const socket = streamFor(this.#queue, address)
    try {
      await this.connect(socket, address, options)
      return socket
    } catch (error) {
      await socket.close()
      throw error
    }
  }

  /**
   * Every connection that comes, one request for all of them (multishot, Linux 5.19).
   * @throws ERR_RIOLOG_CLOSED, ERR_RIOLOG_INVALID_ARGUMENT
   */
  acceptAll(socket: ListeningLike, options?: SignalOptions): Multishot<StreamSocket> {
    return this.#multishot<StreamSocket>(options?.signal, {
      make: multishot => {
        const request = accept(this.context, socket, undefined)
        if (multishot) request.makeMore().ioprio = IORING_ACCEPT_MULTISHOT
        return request
      },
      value: fd => new StreamSocket(this.#queue, fd),
      discard: connection => void connection.close().catch(() => {}),
    })
  }

  /**
   * Everything that comes on a connection, in copies of provided buffers; ends with the connection
   * (multishot, Linux 6.0).
   * @throws ERR_RIOLOG_INVALID_ARGUMENT for buffers of another ring, or released; ERR_RIOLOG_CLOSED
   */
  recvAll(
    socket: StreamLike,
    buffers: BufferGroup,
    options?: SignalOptions,
  ): Multishot<Uint8Array> {
    if (!(buffers instanceof BufferGroup) || buffers.queue !== this.#queue || buffers.released) {
      throw invalidArgument('buffers must be a group of this ring that is not released')
    }
    return this.#multishot<Uint8Array>(options?.signal, {
      make: multishot => {
        const request = recv(this.context, socket, NO_BYTES, undefined)
        request.freeBlocks()
        request.copyTo = undefined
        request.alsoUse(buffers)
        request.sqeFlags |= IOSQE_BUFFER_SELECT
        request.makeMore().bufferGroup = buffers.group
        request.length = multishot ? 0 : buffers.size
        if (multishot) request.makeMore().ioprio = IORING_RECV_MULTISHOT
        return request
      },
      value: (length, flags) => (length === 0 ? undefined : buffers.copy(length, flags)),
    })
  }

  /**
   * The events of a descriptor, each time they come (multishot, Linux 5.13).
   * @param events of `POLL`
   * @throws ERR_RIOLOG_CLOSED, ERR_RIOLOG_INVALID_ARGUMENT
   */
  pollAll(file: AnyFile, events: number, options?: SignalOptions): Multishot<number> {
    return this.#multishot<number>(options?.signal, {
      make: multishot => {
        const request = poll(this.context, file, events, undefined)
        if (multishot) request.length = IORING_POLL_ADD_MULTI
        return request
      },
      value: found => found,
    })
  }

  /**
   * Buffers for `recvAll` (Linux 5.19).
   * @param count a power of two, up to 32768
   * @param size bytes of each, up to 2^24
   * @throws ERR_RIOLOG_UNSUPPORTED, ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED, SystemError ENOMEM
   */
  bufferGroup(count: number, size: number): BufferGroup {
    this.#queue.checkChain(1)
    return new BufferGroup(this.#queue, count, size)
  }

  // ---- registration ----

  /**
   * Puts a file into the ring's own table.
   * @throws SystemError ENFILE when all `registeredFiles` places are taken
   * @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED
   */
  registerFile(file: FileLike | Handle): RegisteredFile {
    this.#queue.checkChain(1)
    if (file instanceof Handle) file.checkOpen()
    const fd = checkFd(typeof file === 'number' ? file : (file as { fd?: number } | null)?.fd)
    const { binding } = this.#queue
    if (this.#freeFiles === undefined) {
      const made = binding.makeFileTable(this.#fileCount)
      if (made < 0) throw new SystemError(made, 'io_uring_register')
      this.#freeFiles = Array.from({ length: this.#fileCount }, (_, i) => this.#fileCount - 1 - i)
    }
    const index = this.#freeFiles.pop()
    if (index === undefined) throw new SystemError(ENFILE, 'io_uring_register')
    const result = binding.setFile(index, fd)
    if (result < 0) {
      this.#freeFiles.push(index)
      throw new SystemError(result, 'io_uring_register')
    }
    return new RegisteredFile(this.#queue, index, directAlignment(fd), freed => {
      if (!this.#queue.isClosing) binding.setFile(freed, -1)
      this.#freeFiles?.push(freed)
    })
  }

  /**
   * Lets the kernel keep a buffer's pages at hand, so that each read or write with it saves the look-up
   * (Linux 5.19). Reads and writes use it by themselves.
   * @returns false when it could not be done: the limit of locked memory (`ulimit -l`), all places
   * taken, or an older kernel. The buffer works all the same.
   * @throws ERR_RIOLOG_BUFFER_LENT, ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED
   */
  registerBuffer(buffer: IoBuffer): boolean {
    this.#queue.checkChain(1)
    if (!(buffer instanceof IoBuffer)) throw invalidArgument('only an IoBuffer can be registered')
    buffer.checkNotLent()
    const { binding } = this.#queue
    if (!this.#hasBufferTable && binding.makeBufferTable(this.#bufferCount) < 0) return false
    this.#hasBufferTable = true
    const index = binding.registerBuffer(buffer.memoryId)
    if (index < 0) return false
    buffer.setRegistered(this.#queue, index)
    return true
  }

  /**
   * Undoes {@link registerBuffer}.
   * @throws ERR_RIOLOG_BUFFER_LENT, ERR_RIOLOG_INVALID_ARGUMENT
   */
  unregisterBuffer(buffer: IoBuffer): void {
    if (!(buffer instanceof IoBuffer)) throw invalidArgument('only an IoBuffer can be registered')
    buffer.checkNotLent() // a read that has not begun would not find its pages
    const index = buffer.takeRegistered(this.#queue)
    if (index !== undefined && !this.#queue.isClosing) this.#queue.binding.unregisterBuffer(index)
  }

  /**
   * `count` buffers of `length` bytes, registered if that is possible.
   * @throws ERR_RIOLOG_OUT_OF_MEMORY, ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED
   */
  buffers(count: number, length: number): IoBuffer[] {
    checkCount('count', count, 0, 16384)
    const made = Array.from({ length: count }, () => IoBuffer.alloc(length))
    for (const buffer of made) this.registerBuffer(buffer)
    return made
  }

  // ---- messages of other rings ----

  /**
   * What other rings of this process send here (`message`, Linux 5.18). Waiting for it keeps the thread alive.
   * @throws ERR_RIOLOG_CLOSED, ERR_RIOLOG_CANCELED
   */
  messages(options?: SignalOptions): AsyncIterableIterator<RingMessage> {
    this.#queue.checkChain(1)
    if (options?.signal !== undefined) checkSignal(options.signal)
    return this.#inbox.read(options?.signal)
  }

  // ---- the end ----

  /**
   * Cancels every operation on a descriptor that is in flight; gives how many there were (Linux 5.19).
   * @throws ERR_RIOLOG_UNSUPPORTED, ERR_RIOLOG_CLOSED
   */
  cancelHandle(file: AnyFile): Completion<number> {
    return this.cancelMatching({ file })
  }

  /**
   * Waits for all operations, then frees the ring; new ones are refused at once. Accepting, receiving
   * and polling without end (`acceptAll`, …) are cancelled, other operations only with `cancel`.
   */
  async close(options: { readonly cancel?: boolean } = {}): Promise<void> {
    checkOptions(options)
    this.#inbox.end()
    const ended = [...this.#multishots].map(multishot => multishot.return())
    const closed = this.#queue.close()
    if (options.cancel === true) this.#queue.cancelAll()
    await Promise.all(ended)
    await closed
  }

  /** The same as {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal */
  protected override take<T>(request: Request<T>): Taken<'ring', T> {
    const { deadline, signal } = request
    try {
      this.#queue.checkChain(deadline === undefined ? 1 : 2)
      request.borrow()
    } catch (error) {
      request.discard()
      throw error
    }
    const completion = new Completion<T>(request)
    request.sink = completion
    if (deadline === undefined) this.#queue.pushOne(request)
    else this.#queue.push(withDeadline(request))
    if (signal !== undefined) completion.follow(signal)
    return completion as Taken<'ring', T>
  }

  #multishot<T>(
    signal: AbortSignal | undefined,
    kind: ConstructorParameters<typeof Multishot<T>>[1],
  ): Multishot<T> {
    this.#queue.checkChain(1)
    const multishot: Multishot<T> = new Multishot<T>(this.#queue, kind, signal, () => {
      this.#multishots.delete(multishot as Multishot<unknown>)
    })
    this.#multishots.add(multishot as Multishot<unknown>)
    return multishot
  }
}

const ENFILE = -23
const NO_BYTES = new Uint8Array(0)

/** What the kernel gave a ring: `ring.probe()`. */
export interface RingProbe {
  /** Entries of the submission queue. */
  readonly sqEntries: number
  /** Entries of the completion queue. */
  readonly cqEntries: number
  /** Operations that the kernel can have at once; the rest of the CQ is kept for cancels. */
  readonly mostInFlight: number
  /** IORING_SETUP_* flags in force. */
  readonly setupFlags: number
  /** IORING_FEAT_* flags. */
  readonly features: number
  /** By their names, whether the kernel has them. */
  readonly operations: Readonly<Record<string, boolean>>
}

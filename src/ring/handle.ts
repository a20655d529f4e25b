import { invalidArgument, RiologError, SystemError } from '../errors.ts'
import { addon } from '../native.ts'
import { IORING_OP_CLOSE } from './abi.ts'
import { directAlignment } from './direct-alignment.ts'
import { PlainOperation } from './operation.ts'
import type { RequestQueue } from './request-queue.ts'

/** What a handle is a descriptor of. */
export type HandleKind = 'file' | 'stream' | 'listening' | 'datagram'

/** What the collector of dropped handles needs to know; the handle itself is gone by then. */
interface Ownership {
  readonly fd: number
  readonly kind: HandleKind
  open: boolean
}

const dropped = new FinalizationRegistry<Ownership>(ownership => {
  if (!ownership.open) return
  addon().closeFile(ownership.fd)
  process.emitWarning(
    `a ${ownership.kind} handle (fd ${ownership.fd}) was collected before it was closed`,
    { type: 'RiologWarning', code: 'RIOLOG_HANDLE_DROPPED' },
  )
})

/**
 * A descriptor that a ring opened, with one owner: this. It is closed once, and not while an
 * operation uses it. A thread that ends closes its handles.
 */
export abstract class Handle {
  /** What it is a descriptor of. */
  abstract readonly kind: HandleKind
  readonly #queue: RequestQueue
  readonly #fd: number
  readonly #ownership: Ownership
  #users = 0
  #closing: Promise<void> | undefined
  #onUnused: (() => void) | undefined
  #alignment: number | undefined

  /** @internal */
  constructor(queue: RequestQueue, fd: number, kind: HandleKind) {
    this.#queue = queue
    this.#fd = fd
    this.#ownership = { fd, kind, open: true }
    dropped.register(this, this.#ownership, this)
  }

  /** The descriptor, for calls outside riolog; -1 once it is being closed and no operation uses it any more. */
  get fd(): number {
    return this.#ownership.open ? this.#fd : -1
  }

  /** True from the call of {@link close} on. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** Bytes that direct I/O on it asks for; 1 where it is not direct. */
  get alignment(): number {
    this.#alignment ??= directAlignment(this.fd)
    return this.#alignment
  }

  /**
   * Closes the descriptor once no operation uses it any more; new operations are refused at once.
   * To end operations that would never complete by themselves, cancel them (`ring.cancelHandle`) or
   * shut the socket down.
   * @throws SystemError what close(2) says; the descriptor is gone all the same
   */
  close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  /** The same as {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal An operation begins to use it. */
  use(): void {
    this.checkOpen()
    this.#users++
  }

  /** @internal @throws ERR_RIOLOG_CLOSED */
  checkOpen(): void {
    if (this.#closing) throw new RiologError('ERR_RIOLOG_CLOSED', `the ${this.kind} is closed`)
  }

  /** @internal */
  unuse(): void {
    if (--this.#users === 0) this.#onUnused?.()
  }

  async #closeOnce(): Promise<void> {
    dropped.unregister(this)
    if (this.#users > 0) {
      await new Promise<void>(resolve => {
        this.#onUnused = resolve
      })
    }
    // From here on the number may be another's: the kernel is done with it before we are told.
    this.#ownership.open = false
    const result = await this.#closeFd()
    if (result < 0) throw new SystemError(result, 'close')
  }

  /** On the ring, since close(2) can wait for a network file system; else at once. */
  #closeFd(): Promise<number> | number {
    const queue = this.#queue
    const full = queue.inFlight >= queue.slotCount // it would wait for operations of others
    if (full || queue.isClosing || !queue.supports(IORING_OP_CLOSE)) {
      return addon().closeFile(this.#fd)
    }
    return new Promise(resolve => {
      const close = new PlainOperation(IORING_OP_CLOSE)
      close.fd = this.#fd
      // One that never ran (a ring that was torn down) leaves the descriptor with native code.
      close.settle = result => resolve(result === ECANCELED ? addon().closeFile(this.#fd) : result)
      queue.push([close])
    })
  }
}

const ECANCELED = -125

/** A file that `ring.openat` opened. */
export class RingFile extends Handle {
  override readonly kind = 'file'
  /** @internal */
  constructor(queue: RequestQueue, fd: number) {
    super(queue, fd, 'file')
  }
}

/**
 * A descriptor in the ring's own table (`ring.registerFile`): operations on it save the kernel a
 * lookup, and it stays usable when the descriptor it was made from is closed.
 */
export class RegisteredFile {
  /** As {@link RingFile} has it. */
  readonly kind = 'file'
  /** @internal */
  readonly queue: RequestQueue
  /** Its place in the table. */
  readonly index: number
  /** @internal */
  readonly alignment: number
  readonly #free: (index: number) => void
  #released = false
  #users = 0

  /** @internal */
  constructor(
    queue: RequestQueue,
    index: number,
    alignment: number,
    free: (index: number) => void,
  ) {
    this.queue = queue
    this.index = index
    this.alignment = alignment
    this.#free = free
  }

  /** True once {@link release} was called. */
  get released(): boolean {
    return this.#released
  }

  /** Frees the place, once no operation uses it any more; new operations are refused at once. */
  release(): void {
    if (this.#released) return
    this.#released = true
    if (this.#users === 0) this.#free(this.index)
  }

  /** @internal An operation begins to use it. @throws ERR_RIOLOG_INVALID_ARGUMENT */
  use(): void {
    if (this.#released) throw invalidArgument('a registered file that was released')
    this.#users++
  }

  /** @internal */
  unuse(): void {
    if (--this.#users === 0 && this.#released) this.#free(this.index)
  }
}

/** Anything with a descriptor that is not one of our sockets: a `FileHandle` of node:fs, say. */
export interface HasFd {
  /** The descriptor. */
  readonly fd: number
  /** What it is; a socket's is another. */
  readonly kind?: 'file'
}

/** A file: a raw descriptor, a `FileHandle`, or what `openat` or `registerFile` gave. */
export type FileLike = number | HasFd | RingFile | RegisteredFile

/** @throws ERR_RIOLOG_INVALID_ARGUMENT */
export function checkFd(fd: unknown): number {
  if (!Number.isInteger(fd) || (fd as number) < 0 || (fd as number) > 0x7fffffff) {
    throw invalidArgument(`not an open file: ${typeof fd === 'number' ? fd : typeof fd}`)
  }
  return fd as number
}

import { RiologError } from '../errors.ts'
import { IORING_CQE_F_MORE } from './abi.ts'
import { borrowAll, checkSignal, type Request } from './request.ts'
import type { RequestQueue } from './request-queue.ts'

/** So many results wait for their reader before the kernel is asked to pause. */
const MOST_UNREAD = 64

const ECANCELED = -125
const ENOBUFS = -105
const EINVAL = -22

export interface MultishotKind<T> {
  /** A fresh request; `multishot` false for a kernel that knows only the single kind. */
  make(multishot: boolean): Request<unknown>
  /** The value of one completion; undefined: this was the last. */
  value(result: number, flags: number): T | undefined
  /** For a value that nobody reads any more: a connection is closed. */
  discard?(value: T): void
}

interface Reader<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void
  readonly reject: (error: unknown) => void
}

/**
 * One request that completes again and again (multishot accept, recv and poll), as an async iterator.
 * It is asked for again when the kernel ends it for reasons of its own (its CQ was full, no provided
 * buffer was left), paused while more than 64 results are unread, and cancelled when the loop is left.
 * On kernels without multishot it is a request after the other.
 */
export class Multishot<T> implements AsyncIterableIterator<T> {
  readonly #queue: RequestQueue
  readonly #kind: MultishotKind<T>
  readonly #onEnd: () => void
  readonly #unread: T[] = []
  readonly #readers: Reader<T>[] = []
  #request: Request<unknown> | undefined
  #multishot = true
  #paused = false
  /** Cancelled to pause it: its ECANCELED is no failure, also when the reader has caught up by then. */
  #canceledToPause: Request<unknown> | undefined
  #ended = false
  /** The completion that says that no more come has been seen. */
  #last = false
  #error: unknown
  readonly #onSettled: (() => void)[] = []
  #signal: AbortSignal | undefined
  readonly #onAbort = () => {
    this.#finish(this.#canceled())
  }

  /** @internal */
  constructor(
    queue: RequestQueue,
    kind: MultishotKind<T>,
    signal: AbortSignal | undefined,
    onEnd: () => void,
  ) {
    this.#queue = queue
    this.#kind = kind
    this.#onEnd = onEnd
    this.#signal = signal === undefined ? undefined : checkSignal(signal)
    this.#arm()
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** The next value, in order; rejects once, with what ended it. */
  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#unread.length > 0) {
      const value = this.#unread.shift() as T
      if (this.#paused && this.#unread.length <= MOST_UNREAD / 2) this.#resume()
      return Promise.resolve({ value, done: false })
    }
    if (this.#error !== undefined) {
      const error = this.#error
      this.#error = undefined
      return Promise.reject(error)
    }
    if (this.#ended) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }))
  }

  /** Ends it: the kernel's part is cancelled, and what is unread given up. */
  async return(): Promise<IteratorResult<T, undefined>> {
    this.#finish(undefined)
    for (const value of this.#unread.splice(0)) this.#kind.discard?.(value)
    if (this.#request !== undefined) {
      await new Promise<void>(resolve => this.#onSettled.push(resolve))
    }
    return { value: undefined, done: true }
  }

  /** Itself, for `for await`. */
  [Symbol.asyncIterator](): this {
    return this
  }

  /** The same as {@link return}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  #canceled(): unknown {
    return new RiologError('ERR_RIOLOG_CANCELED', 'canceled', { cause: this.#signal?.reason })
  }

  #arm(): void {
    const request = this.#kind.make(this.#multishot)
    request.collect = (result, flags) => this.#collect(result, flags)
    request.sink = { settled: (_, result) => this.#settled(request, result) }
    try {
      borrowAll([request])
      this.#queue.push([request])
    } catch (error) {
      request.discard()
      throw error
    }
    this.#request = request
  }

  #armAgain(): void {
    try {
      this.#arm()
    } catch (error) {
      this.#finish(error)
    }
  }

  #resume(): void {
    this.#paused = false
    if (this.#request === undefined && !this.#ended) this.#armAgain()
  }

  /** Each completion, while its provided buffer is still ours. */
  #collect(result: number, flags: number): void {
    if (result < 0) return
    const value = this.#valueOf(result, flags)
    if (value === undefined) {
      this.#last = true
      return
    }
    if (this.#ended) {
      this.#kind.discard?.(value)
      return
    }
    const reader = this.#readers.shift()
    if (reader !== undefined) {
      reader.resolve({ value, done: false })
      return
    }
    this.#unread.push(value)
    if (this.#unread.length < MOST_UNREAD || this.#paused) return
    this.#paused = true
    if ((flags & IORING_CQE_F_MORE) !== 0 && this.#request !== undefined) {
      this.#canceledToPause = this.#request
      this.#queue.cancel(this.#request)
    }
  }

  /** What comes may have to be copied, for which there may be no memory: then it ends with that. */
  #valueOf(result: number, flags: number): T | undefined {
    try {
      return this.#kind.value(result, flags)
    } catch (error) {
      this.#finish(error)
      return undefined
    }
  }

  /** The kernel has ended it. */
  #settled(request: Request<unknown>, result: number): void {
    request.freeBlocks()
    this.#request = undefined
    for (const settled of this.#onSettled.splice(0)) settled()
    if (this.#ended) return
    if (result === EINVAL && this.#multishot) {
      this.#multishot = false
      this.#armAgain()
    } else if (result === ECANCELED && this.#canceledToPause === request) {
      this.#canceledToPause = undefined
      // Paused until the reader has caught up; it may have done so meanwhile.
      if (!this.#paused || this.#unread.length <= MOST_UNREAD / 2) this.#resume()
    } else if (result < 0 && result !== ENOBUFS) {
      this.#finish(request.failure(result))
    } else if (this.#last) {
      this.#finish(undefined)
    } else if (!this.#paused) {
      this.#armAgain()
    }
  }

  #finish(error: unknown): void {
    if (this.#ended) return
    this.#ended = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
    const readers = this.#readers.splice(0)
    if (error !== undefined && readers.length === 0) this.#error = error
    for (const reader of readers) {
      if (error === undefined) reader.resolve({ value: undefined, done: true })
      else reader.reject(error)
      error = undefined
    }
    if (this.#request !== undefined) this.#queue.cancel(this.#request)
    this.#onEnd()
  }
}

import { RiologError } from '../errors.ts'
import type { Operation } from './operation.ts'
import type { Request } from './request.ts'
import type { RequestQueue } from './request-queue.ts'

type Resolve<T> = (value: T | PromiseLike<T>) => void
type Reject = (error: unknown) => void

/** A closure for each promise would cost as much as the promise itself. */
let lastResolve: Resolve<never> = ignore
let lastReject: Reject = ignore
function capture(resolve: Resolve<never>, reject: Reject): void {
  lastResolve = resolve
  lastReject = reject
}

function ignore(): void {}

/**
 * What becomes of one operation, or of a chain. It is a promise, so it can be awaited; it can also be
 * waited for without leaving the thread, asked, and cancelled. It settles exactly once, as the kernel
 * says: a cancel that comes too late leaves the result as it is.
 */
export class Completion<T> extends Promise<T> {
  readonly #queue: RequestQueue
  readonly #requests: readonly Request<unknown>[]
  readonly #resolve: Resolve<T>
  readonly #reject: Reject
  #outcome: { readonly value: T } | { readonly error: unknown } | undefined
  #signal: AbortSignal | undefined
  #onAbort: (() => void) | undefined

  /** @internal */
  constructor(queue: RequestQueue, requests: readonly Request<unknown>[]) {
    super(capture as ConstructorParameters<typeof Promise<T>>[0])
    this.#resolve = lastResolve as Resolve<T>
    this.#reject = lastReject
    lastResolve = ignore // which would keep this completion, and its ring
    lastReject = ignore
    this.#queue = queue
    this.#requests = requests
  }

  /** True once the result is known; promise reactions may still have to run. */
  get isDone(): boolean {
    return this.#outcome !== undefined
  }

  /**
   * Asks the kernel to cancel it. Cancelled, it rejects with ERR_RIOLOG_CANCELED; completed already,
   * or past the point of return (a write that the disk has), it settles as if not asked.
   */
  cancel(): void {
    this.#cancel(undefined)
  }

  /**
   * Submits everything asked for so far, and holds up the thread until this has completed. For
   * scripts and tests: nothing else runs meanwhile.
   * @param options.timeoutMs gives up waiting after so long; the operation goes on
   * @throws what awaiting it would throw; ERR_RIOLOG_TIMEOUT
   */
  waitSync(options: { readonly timeoutMs?: number } = {}): T {
    this.catch(ignore) // the caller has the error from here
    for (const request of this.#requests) markUrgent(request, true)
    const done = this.#queue.waitUntil(() => this.isDone, options.timeoutMs)
    if (!done) {
      for (const request of this.#requests) markUrgent(request, false)
      throw new RiologError('ERR_RIOLOG_TIMEOUT', `not completed within ${options.timeoutMs} ms`)
    }
    const outcome = this.#outcome!
    if ('error' in outcome) throw outcome.error
    return outcome.value
  }

  /** @internal Cancels when the signal aborts. */
  follow(signal: AbortSignal): void {
    this.#signal = signal
    this.#onAbort = () => this.#cancel(signal.reason)
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** @internal The one request of this completion has completed (`Sink`). */
  settled(request: Request<unknown>, result: number, flags: number): void {
    if (result < 0) {
      const error = request.failure(result)
      request.freeBlocks()
      this.fail(error)
      return
    }
    let value: T
    try {
      value = request.take(result, flags) as T
    } catch (error) {
      this.fail(error)
      return
    }
    this.succeed(value)
  }

  /** @internal Nothing was queued, and the caller has been told: nobody will look at this. */
  abandon(): void {
    this.catch(ignore)
    this.fail(undefined)
  }

  /** @internal */
  succeed(value: T): void {
    this.#finish({ value })
    this.#resolve(value)
  }

  /** @internal */
  fail(error: unknown): void {
    this.#finish({ error })
    this.#reject(error)
  }

  #finish(outcome: { readonly value: T } | { readonly error: unknown }): void {
    this.#outcome = outcome
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#onAbort = undefined
  }

  #cancel(cause: unknown): void {
    if (this.isDone) return
    for (const request of this.#requests) {
      request.cancelCause ??= { code: 'ERR_RIOLOG_CANCELED', cause }
      this.#queue.cancel(request)
    }
  }
}

// `await` and `then` look at the constructor: with that of a plain promise they take the fast way, and
// `then` gives a plain promise rather than a Completion that has no operation.
Object.defineProperty(Completion.prototype, 'constructor', { value: Promise })

function markUrgent(request: Request<unknown>, urgent: boolean): void {
  const operation: Operation = request
  operation.urgent = urgent
  if (request.deadline !== undefined) request.deadline.operation.urgent = urgent
}

import { invalidArgument, RiologError } from '../errors.ts'
import { checkMilliseconds, Request } from './request.ts'
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
  /** One, or those of a chain or batch. */
  readonly #requests: Request<unknown> | readonly Request<unknown>[]
  /** Takes a T; said so, a completion of a number would be none of something unknown. */
  readonly #resolve: Resolve<never>
  readonly #reject: Reject
  #state: typeof PENDING | typeof SUCCEEDED | typeof FAILED = PENDING
  /** The value or the error. */
  #outcome: unknown = undefined
  #unfollow: (() => void) | undefined = undefined

  /** @internal */
  constructor(requests: Request<unknown> | readonly Request<unknown>[]) {
    super(capture as ConstructorParameters<typeof Promise<T>>[0])
    this.#resolve = lastResolve
    this.#reject = lastReject
    lastResolve = ignore // which would keep this completion, and its ring
    lastReject = ignore
    this.#requests = requests
  }

  /** True once the result is known; promise reactions may still have to run. */
  get isDone(): boolean {
    return this.#state !== PENDING
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
   * @param options `timeoutMs`: gives up waiting after so many milliseconds; the operation goes on
   * @throws what awaiting it would throw; ERR_RIOLOG_TIMEOUT
   */
  waitSync(options: { readonly timeoutMs?: number } = {}): T {
    if (options === null) throw invalidArgument('options must be an object')
    const { timeoutMs } = options
    if (timeoutMs !== undefined) checkMilliseconds('timeoutMs', timeoutMs)
    if (this.#state === PENDING) {
      for (const request of this.#all()) markUrgent(request, true)
      if (!this.#queue.waitUntil(() => this.isDone, timeoutMs)) {
        for (const request of this.#all()) markUrgent(request, false)
        throw new RiologError('ERR_RIOLOG_TIMEOUT', `not completed within ${timeoutMs} ms`)
      }
    }
    if (this.#state === SUCCEEDED) return this.#outcome as T
    this.catch(ignore) // the caller has the error from here
    throw this.#outcome
  }

  /** @internal Cancels when the signal aborts. */
  follow(signal: AbortSignal): void {
    const onAbort = () => this.#cancel(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#unfollow = () => signal.removeEventListener('abort', onAbort)
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
    this.#state = SUCCEEDED
    this.#outcome = value
    this.#unfollow?.()
    this.#resolve(value as never)
  }

  /** @internal */
  fail(error: unknown): void {
    this.#state = FAILED
    this.#outcome = error
    this.#unfollow?.()
    this.#reject(error)
  }

  #all(): readonly Request<unknown>[] {
    return this.#requests instanceof Request ? [this.#requests] : this.#requests
  }

  get #queue(): RequestQueue {
    return this.#all()[0].context.queue
  }

  #cancel(cause: unknown): void {
    for (const request of this.#all()) {
      if (this.#state !== PENDING) return
      request.setCancelCause({ code: 'ERR_RIOLOG_CANCELED', cause })
      this.#queue.cancel(request)
    }
  }
}

const PENDING = 0
const SUCCEEDED = 1
const FAILED = 2

// `await` and `then` look at the constructor: with that of a plain promise they take the fast way, and
// `then` gives a plain promise rather than a Completion that has no operation.
Object.defineProperty(Completion.prototype, 'constructor', { value: Promise })

function markUrgent(request: Request<unknown>, urgent: boolean): void {
  request.urgent = urgent
  request.deadline?.setUrgent(urgent)
}

import { invalidArgument } from '../errors.ts'
import { refuseOwnSignal } from './chain.ts'
import { Completion } from './completion.ts'
import { Operations, type Taken } from './operations.ts'
import { nothing } from './prepare/transfer.ts'
import {
  borrowAll,
  checkSignal,
  type Request,
  type RequestContext,
  withDeadline,
} from './request.ts'

/**
 * Many operations with one promise, for when a promise each costs more than the operation. They run
 * in any order, and each on its own: one that fails does not stop the others.
 *
 * A batch can be submitted again, when it has completed: the same operations once more, and nothing
 * has to be made for them. One that has arrays (which are copied once) or a deadline is submitted once.
 *
 * Not for operations whose value is more than a number (openat, accept, socket, statx, recvmsg).
 */
export class Batch extends Operations<'batch'> {
  /** @internal */
  protected override readonly context: RequestContext
  readonly #requests: Request<unknown>[] = []
  #running: Completion<Int32Array> | undefined
  #again = true

  /** @internal */
  constructor(context: RequestContext) {
    super()
    this.context = context
  }

  /** Operations in it. */
  get length(): number {
    return this.#requests.length
  }

  /**
   * Gives the kernel's result of each in order: >= 0, or a negative errno. It never rejects for an
   * operation's own failure, but when an array is too short by now for what was read into it.
   * @throws ERR_RIOLOG_BUFFER_LENT, ERR_RIOLOG_CLOSED before anything is queued
   */
  submit(options?: { readonly signal?: AbortSignal }): Completion<Int32Array> {
    const requests = this.#requests
    if (requests.length === 0) throw invalidArgument('the batch is empty')
    this.#refuseWhileRunning()
    if (!this.#again) {
      throw invalidArgument('a batch with arrays or deadlines is submitted once: use an IoBuffer')
    }
    if (options?.signal !== undefined) checkSignal(options.signal)
    const { queue } = this.context
    queue.checkChain(requests.some(request => request.deadline !== undefined) ? 2 : 1)
    borrowAll(requests)
    const completion = new Completion<Int32Array>(requests)
    this.#running = completion
    const outcome = new BatchOutcome(completion, requests.length)
    for (let i = 0; i < requests.length; i++) {
      const request = requests[i]
      request.sink = outcome
      request.index = i
      if (request.block !== undefined || request.deadline !== undefined) this.#again = false
      if (request.deadline === undefined) queue.pushOne(request)
      else queue.push(withDeadline(request))
    }
    if (options?.signal !== undefined) completion.follow(options.signal)
    return completion
  }

  /** @internal */
  protected override take<T>(request: Request<T>): Taken<'batch', T> {
    try {
      this.#refuseWhileRunning()
      if (request.convert !== undefined && (request.convert as unknown) !== nothing) {
        throw invalidArgument('a batch is for operations whose value is a number')
      }
      refuseOwnSignal(request)
    } catch (error) {
      request.discard()
      throw error
    }
    this.#requests.push(request)
    return this as unknown as Taken<'batch', T>
  }

  #refuseWhileRunning(): void {
    if (this.#running?.isDone === false) throw invalidArgument('the batch is running')
  }
}

class BatchOutcome {
  readonly #completion: Completion<Int32Array>
  readonly #results: Int32Array
  #left: number
  /** Bytes that were read have no place any more. */
  #error: unknown

  constructor(completion: Completion<Int32Array>, count: number) {
    this.#completion = completion
    this.#results = new Int32Array(count)
    this.#left = count
  }

  settled(request: Request<unknown>, result: number): void {
    this.#results[request.index] = result
    if (request.block !== undefined) {
      try {
        if (result > 0) request.takeBytes(result)
      } catch (error) {
        this.#error ??= error
      }
      request.freeBlocks()
    }
    if (--this.#left > 0) return
    if (this.#error === undefined) this.#completion.succeed(this.#results)
    else this.#completion.fail(this.#error)
  }
}

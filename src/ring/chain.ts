import { invalidArgument, RiologError } from '../errors.ts'
import { addon } from '../native.ts'
import {
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_OP_TIMEOUT,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
  MSG,
} from './abi.ts'
import { Completion } from './completion.ts'
import { Handle } from './handle.ts'
import type { Operation } from './operation.ts'
import { Operations, type Taken } from './operations.ts'
import {
  borrowAll,
  checkSignal,
  type Request,
  type RequestContext,
  withDeadline,
} from './request.ts'

const ECANCELED = -125
const IORING_TIMEOUT_ETIME_SUCCESS = 1 << 5 // 5.16: an expired timer does not break its chain

/** @throws ERR_RIOLOG_INVALID_ARGUMENT */
export function refuseOwnSignal(request: Request<unknown>): void {
  if (request.signal === undefined) return
  throw invalidArgument('a chain or batch is cancelled as a whole: submit({ signal })')
}

/** A chain did not run to its end. */
export class ChainError extends RiologError {
  override readonly name = 'ChainError'
  /** The operation that failed or was short; in a chain that is not hard, those behind did not run. */
  readonly index: number
  /** The result of each operation: as the kernel gave it, or a negative errno (-125, ECANCELED, for
   *  those that did not run). */
  readonly results: readonly number[]

  /** @internal */
  constructor(index: number, results: readonly number[], cause: Error) {
    super('ERR_RIOLOG_CHAIN_BROKEN', `operation ${index} of the chain: ${cause.message}`, { cause })
    this.index = index
    this.results = results
  }
}

/** The options of `ring.chain`. */
export interface ChainOptions {
  /** Each runs when the one before it is done, even if that failed (IOSQE_IO_HARDLINK); false. */
  readonly hard?: boolean
}

/**
 * Operations that run one after the other, each only if the one before it did all that was asked of
 * it (IOSQE_IO_LINK). Built as a whole, and submitted in one io_uring_enter.
 */
export class Chain<R extends readonly unknown[] = []> extends Operations<R> {
  /** @internal */
  protected override readonly context: RequestContext
  readonly #link: number
  #requests: Request<unknown>[] = []
  #submitted = false

  /** @internal */
  constructor(context: RequestContext, options: ChainOptions | undefined) {
    super()
    this.context = context
    this.#link = options?.hard === true ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK
  }

  /**
   * The value of each operation, in order. Rejects with a ChainError (ERR_RIOLOG_CHAIN_BROKEN), also
   * for a short read or write.
   * @throws ERR_RIOLOG_CHAIN_TOO_LONG, ERR_RIOLOG_BUFFER_LENT before anything is queued
   */
  submit(
    this: R extends readonly [] ? never : Chain<R>,
    options?: { readonly signal?: AbortSignal },
  ): Completion<R> {
    // `this` of an empty chain has no type, so that it does not compile; and none at run time either.
    return (this as Chain<R>).#submit(options)
  }

  #submit(options: { readonly signal?: AbortSignal } | undefined): Completion<R> {
    if (this.#submitted) throw invalidArgument('a chain is submitted once')
    if (this.#requests.length === 0) throw invalidArgument('the chain is empty')
    if (options?.signal !== undefined) checkSignal(options.signal)
    this.#submitted = true
    const requests = this.#requests
    const { queue } = this.context
    const completion = new Completion<R>(requests)
    const outcome = new ChainOutcome(completion, requests)
    for (let i = 0; i < requests.length; i++) {
      requests[i].sink = outcome
      requests[i].index = i
    }
    try {
      queue.checkChain(requests.length + (requests[0].deadline === undefined ? 0 : 1))
      borrowAll(requests)
    } catch (error) {
      for (const request of requests) request.discard()
      completion.abandon()
      throw error
    }
    queue.push(this.#link === IOSQE_IO_LINK ? linked(requests) : hardLinked(requests))
    if (options?.signal !== undefined) completion.follow(options.signal)
    return completion
  }

  /** @internal */
  protected override take<T>(request: Request<T>): Taken<R, T> {
    try {
      if (this.#submitted) throw invalidArgument('the chain has been submitted')
      refuseOwnSignal(request)
    } catch (error) {
      request.discard()
      throw error
    }
    // A short send is none that the kernel breaks a chain for, unless it was told to send it all.
    if (request.opcode === IORING_OP_SEND || request.opcode === IORING_OP_SENDMSG) {
      request.opFlags |= MSG.WAITALL
    }
    if (request.opcode === IORING_OP_TIMEOUT) request.opFlags |= IORING_TIMEOUT_ETIME_SUCCESS
    this.#requests.push(request)
    return this as unknown as Taken<R, T>
  }
}

/** Only the first has nobody in front that it waits for. */
function withDeadlines(requests: readonly Request<unknown>[]): Operation[] {
  return requests.flatMap((request, i) => withDeadline(request, i === 0 ? requests.length : 0))
}

function linked(requests: readonly Request<unknown>[]): Operation[] {
  const operations = withDeadlines(requests)
  for (const operation of operations.slice(0, -1)) operation.sqeFlags |= IOSQE_IO_LINK
  return operations
}

function hardLinked(requests: readonly Request<unknown>[]): Operation[] {
  const operations = withDeadlines(requests)
  for (const operation of operations.slice(0, -1)) {
    operation.sqeFlags = (operation.sqeFlags & ~IOSQE_IO_LINK) | IOSQE_IO_HARDLINK
  }
  return operations
}

/** Gathers what became of the operations, and settles their completion when all are told. */
class ChainOutcome<R extends readonly unknown[]> {
  readonly #completion: Completion<R>
  readonly #requests: readonly Request<unknown>[]
  readonly #results: number[]
  readonly #flags: number[]
  #left: number

  constructor(completion: Completion<R>, requests: readonly Request<unknown>[]) {
    this.#completion = completion
    this.#requests = requests
    this.#left = requests.length
    this.#results = new Array(requests.length).fill(0)
    this.#flags = new Array(requests.length).fill(0)
  }

  settled(request: Request<unknown>, result: number, flags: number): void {
    this.#results[request.index] = result
    this.#flags[request.index] = flags
    if (--this.#left === 0) this.#settle()
  }

  #settle(): void {
    const broken = this.#firstBroken()
    if (broken !== undefined) {
      this.#giveUp()
      this.#completion.fail(new ChainError(broken.index, this.#results, broken.cause))
      return
    }
    const values: unknown[] = []
    try {
      for (let i = 0; i < this.#requests.length; i++) {
        values.push(this.#requests[i].take(this.#results[i], this.#flags[i]))
      }
    } catch (error) {
      const index = values.length
      for (const value of values) if (value instanceof Handle) value.close().catch(() => {})
      for (let i = index + 1; i < this.#requests.length; i++) {
        if (this.#requests[i].yieldsFd) addon().closeFile(this.#results[i])
        this.#requests[i].freeBlocks()
      }
      this.#completion.fail(new ChainError(index, this.#results, error as Error))
      return
    }
    this.#completion.succeed(values as unknown as R)
  }

  /** The one that broke the chain; a cancelled one only if no other tells more. */
  #firstBroken(): { index: number; cause: Error } | undefined {
    let canceled: { index: number; cause: Error } | undefined
    for (let index = 0; index < this.#requests.length; index++) {
      const request = this.#requests[index]
      const result = this.#results[index]
      if (result < 0) {
        const broken = { index, cause: request.failure(result) }
        if (result !== ECANCELED || request.deadline?.expired === true) return broken
        canceled ??= broken
      } else if (result < request.expected) {
        const cause = new Error(`short: ${result} of ${request.expected} bytes`)
        return { index, cause }
      }
    }
    return canceled
  }

  /** Bytes that were read are the caller's all the same; descriptors that nobody gets are closed. */
  #giveUp(): void {
    for (let i = 0; i < this.#requests.length; i++) {
      const request = this.#requests[i]
      if (this.#results[i] >= 0 && request.yieldsFd) addon().closeFile(this.#results[i])
      try {
        if (this.#results[i] >= 0 && !request.yieldsFd) request.takeBytes(this.#results[i])
      } catch {
        // The array is gone; that the chain broke is what its caller is told.
      }
      request.freeBlocks()
    }
  }
}

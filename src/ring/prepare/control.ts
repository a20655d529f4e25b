/** Operations that move no bytes of ours: waiting, cancelling, advice, and between descriptors. */
import { invalidArgument, RiologError } from '../../errors.ts'
import {
  IORING_ASYNC_CANCEL_ALL,
  IORING_ASYNC_CANCEL_ANY,
  IORING_ASYNC_CANCEL_FD,
  IORING_ASYNC_CANCEL_FD_FIXED,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_FADVISE,
  IORING_OP_MADVISE,
  IORING_OP_MSG_RING,
  IORING_OP_NOP,
  IORING_OP_POLL_ADD,
  IORING_OP_SPLICE,
  IORING_OP_TEE,
  IORING_OP_TIMEOUT,
  IOSQE_FIXED_FILE,
} from '../abi.ts'
import { type FileLike, RegisteredFile } from '../handle.ts'
import type { IoBuffer } from '../io-buffer.ts'
import {
  checkMilliseconds,
  type OperationOptions,
  type Request,
  type RequestContext,
  TIMESPEC_BYTES,
  type Usable,
  writeTimespec,
} from '../request.ts'
import { checkBytes, checkOffset, checkOptions, checkUint32, lookUp, newRequest } from './check.ts'
import type { SocketLike } from './net.ts'
import { nothing } from './transfer.ts'

/** Whatever has a descriptor. */
export type AnyFile = FileLike | SocketLike

export function nop(context: RequestContext, options: OperationOptions | undefined): Request<void> {
  const request = newRequest<void>(context, IORING_OP_NOP)
  request.convert = nothing
  request.useOptions(options)
  return request
}

const ETIME = -62

export function timeout(
  context: RequestContext,
  milliseconds: number,
  options: OperationOptions | undefined,
): Request<void> {
  checkMilliseconds('milliseconds', milliseconds)
  const request = newRequest<void>(context, IORING_OP_TIMEOUT)
  request.useOptions(options)
  const block = request.pool.take(TIMESPEC_BYTES)
  writeTimespec(block, milliseconds)
  request.useBlock(block)
  request.convert = nothing
  request.setSuccess(ETIME) // so the kernel says that the time is over
  return request
}

export function poll(
  context: RequestContext,
  file: AnyFile,
  events: number,
  options: OperationOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, IORING_OP_POLL_ADD)
  request.useFile(context, file)
  request.opFlags = checkUint32(events, 'events')
  request.useOptions(options)
  return request
}

/** What `cancelMatching` cancels. */
export interface CancelSelection {
  /** Operations on this descriptor; all of the ring's where it is missing. */
  readonly file?: AnyFile
}

export function cancel(
  context: RequestContext,
  selection: CancelSelection,
  options: OperationOptions | undefined,
): Request<number> {
  checkOptions(selection)
  const { file } = selection
  const request = newRequest<number>(context, IORING_OP_ASYNC_CANCEL)
  request.opFlags = IORING_ASYNC_CANCEL_ALL
  if (file === undefined) {
    request.opFlags |= IORING_ASYNC_CANCEL_ANY
  } else {
    request.useFile(context, file)
    request.opFlags |= IORING_ASYNC_CANCEL_FD
    if (file instanceof RegisteredFile) {
      request.sqeFlags &= ~IOSQE_FIXED_FILE // of the cancel's own file, which it has not
      request.opFlags |= IORING_ASYNC_CANCEL_FD_FIXED
    }
  }
  request.useOptions(options)
  return request
}

/** The options of `splice` and `tee`. */
export interface SpliceOptions extends OperationOptions {
  /** Where to read and write, in bytes; a pipe has no place, and the file's own position is used
   *  where none is given. */
  readonly fromOffset?: number
  /** The same of the other end. */
  readonly toOffset?: number
  /** SPLICE_F_* (splice(2)). */
  readonly flags?: number
}

export function splice(
  context: RequestContext,
  from: AnyFile,
  to: AnyFile,
  length: number,
  options: SpliceOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, IORING_OP_SPLICE)
  useBothEnds(context, request, from, to, length, options)
  const place = (offset: number | undefined, name: string) =>
    offset === undefined ? -1 : checkOffset(offset, name)
  request.memoryOffset = place(options?.fromOffset, 'fromOffset')
  request.offset = place(options?.toOffset, 'toOffset')
  return request
}

export function tee(
  context: RequestContext,
  from: AnyFile,
  to: AnyFile,
  length: number,
  options: SpliceOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, IORING_OP_TEE)
  useBothEnds(context, request, from, to, length, options)
  return request
}

function useBothEnds(
  context: RequestContext,
  request: Request<number>,
  from: AnyFile,
  to: AnyFile,
  length: number,
  options: SpliceOptions | undefined,
): void {
  request.useFile(context, to)
  request.makeMore().otherFd = request.useOtherFile(from)
  request.length = checkUint32(length, 'length')
  request.expected = length
  request.opFlags = checkUint32(options?.flags ?? 0, 'flags')
  request.useOptions(options)
}

/** posix_fadvise(2) and madvise(2), by their numbers on Linux. */
export const ADVICE = {
  normal: 0,
  random: 1,
  sequential: 2,
  willNeed: 3,
  dontNeed: 4,
  noReuse: 5,
} as const
/** What `fadvise` and `madvise` can tell (posix_fadvise(2), madvise(2)). */
export type Advice = keyof typeof ADVICE

function checkAdvice(advice: Advice, most: number): number {
  const number = lookUp(ADVICE, advice, 'advice')
  if (number > most) throw invalidArgument(`no such advice here: ${advice}`)
  return number
}

export function fadvise(
  context: RequestContext,
  file: FileLike,
  offset: number,
  length: number,
  advice: Advice,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_FADVISE)
  request.useFile(context, file)
  request.offset = checkOffset(offset)
  request.length = checkUint32(length, 'length')
  request.opFlags = checkAdvice(advice, ADVICE.noReuse)
  request.convert = nothing
  request.useOptions(options)
  return request
}

/** Also of a batch or chain that is submitted later. */
class WhileUnregistered implements Usable {
  readonly #buffer: IoBuffer

  constructor(buffer: IoBuffer) {
    this.#buffer = buffer
  }

  /** @throws ERR_RIOLOG_INVALID_ARGUMENT */
  use(): void {
    if (!this.#buffer.registered) return
    // The kernel would go on with the pages that it has at hand, and JavaScript would see others.
    throw invalidArgument("'dontNeed' is not for a registered buffer")
  }

  unuse(): void {}
}

export function madvise(
  context: RequestContext,
  buffer: IoBuffer,
  advice: Advice,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_MADVISE)
  checkBytes(buffer)
  if (buffer instanceof Uint8Array) throw invalidArgument('madvise is for an IoBuffer')
  request.opFlags = checkAdvice(advice, ADVICE.dontNeed)
  if (advice === 'dontNeed') {
    const whileUnregistered = new WhileUnregistered(buffer)
    whileUnregistered.use()
    request.alsoUse(whileUnregistered)
  }
  request.convert = nothing
  request.useOptions(options)
  request.useBuffer(buffer, 0, buffer.length)
  return request
}

export function message(
  context: RequestContext,
  ringFd: number,
  value: number,
  data: number,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_MSG_RING)
  request.useFile(context, ringFd)
  if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff) {
    throw invalidArgument(`value must be an integer from 0 to 2^31-1, got ${String(value)}`)
  }
  request.length = value
  request.offset = checkUint32(data, 'data')
  request.convert = nothing
  request.useOptions(options)
  return request
}

/** @throws ERR_RIOLOG_UNSUPPORTED for what is no operation and so has no probe */
export function missing(what: string, since: string, errno: string): RiologError {
  const message = `this kernel has no ${what} (${errno}); it came with Linux ${since}`
  return new RiologError('ERR_RIOLOG_UNSUPPORTED', message)
}

/** Reading and writing at a place, gathered and scattered, and making it durable. */
import { invalidArgument } from '../../errors.ts'
import {
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_FTRUNCATE,
  type IORING_OP_READ,
  type IORING_OP_READV,
  IORING_OP_SYNC_FILE_RANGE,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
  MAX_SEGMENTS,
  NO_MEMORY,
} from '../abi.ts'
import type { FileLike } from '../handle.ts'
import { IoBuffer } from '../io-buffer.ts'
import { type OperationOptions, type Request, type RequestContext, VectorPart } from '../request.ts'
import {
  type Bytes,
  checkAlignment,
  checkBytes,
  checkOffset,
  checkUint32,
  MAX_BYTES,
  newRequest,
} from './check.ts'

/** The options of `readAt` and `writeAt`. */
export interface TransferOptions extends OperationOptions {
  /** Where in the buffer, in bytes; 0. */
  readonly from?: number
  /** How many bytes; up to the buffer's end. */
  readonly length?: number
  /** RWF_* flags (`RWF`), preadv2(2). */
  readonly rwFlags?: number
}

/** The options of `readv` and `writev`. */
export interface VectorOptions extends OperationOptions {
  /** RWF_* flags (`RWF`), preadv2(2). */
  readonly rwFlags?: number
}

/** The options of `syncFileRange`. */
export interface SyncRangeOptions extends OperationOptions {
  /** Where the range begins, in bytes; 0. */
  readonly offset?: number
  /** Its length in bytes, below 2^32; 0, which is up to the end of the file. */
  readonly length?: number
  /** `SYNC_FILE_RANGE` flags; all three, which waits for everything. */
  readonly flags?: number
}

interface Part {
  readonly from?: number
  readonly length?: number
}

/** The part of a buffer that options name. @throws ERR_RIOLOG_INVALID_ARGUMENT */
function partOf(bytes: Bytes, options: Part | undefined): { from: number; length: number } {
  const from = options?.from ?? 0
  const length = options?.length ?? bytes.length - from
  if (from !== 0 || length !== bytes.length) {
    checkOffset(from, 'from')
    checkOffset(length, 'length')
    if (from + length > bytes.length) {
      throw invalidArgument(`${length} bytes from ${from} on leave a buffer of ${bytes.length}`)
    }
  }
  return { from, length }
}

/** @throws ERR_RIOLOG_INVALID_ARGUMENT */
export function useBytes(
  request: Request<unknown>,
  bytes: Bytes,
  options: Part | undefined,
  write: boolean,
): void {
  const { from, length } = partOf(bytes, options)
  if (bytes instanceof IoBuffer) {
    request.useBuffer(bytes, from, length)
    return
  }
  // A copy begins where it is aligned.
  const whole = from === 0 && length === bytes.length
  request.useArray(whole ? bytes : bytes.subarray(from, from + length), write)
}

export function transfer(
  context: RequestContext,
  opcode: typeof IORING_OP_READ | typeof IORING_OP_WRITE,
  file: FileLike,
  bytes: Bytes,
  offset: number,
  options: TransferOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, opcode)
  request.useFile(context, file)
  checkBytes(bytes)
  request.offset = checkOffset(offset)
  const { from, length } = partOf(bytes, options)
  const inBuffer = bytes instanceof IoBuffer ? from : 0
  if (offset % 4096 !== 0 || length % 4096 !== 0 || inBuffer % 4096 !== 0) {
    checkAlignment(file, request.fd, offset, [{ from: inBuffer, length }])
  }
  if (options !== undefined) {
    request.useOptions(options)
    request.opFlags = checkUint32(options.rwFlags ?? 0, 'rwFlags')
  }
  useBytes(request, bytes, options, opcode === IORING_OP_WRITE)
  request.expected = request.length
  return request
}

export function vector(
  context: RequestContext,
  opcode: typeof IORING_OP_READV | typeof IORING_OP_WRITEV,
  file: FileLike,
  buffers: readonly Bytes[],
  offset: number,
  options: VectorOptions | undefined,
): Request<number> {
  const request = newRequest<number>(context, opcode)
  request.useFile(context, file)
  request.offset = checkOffset(offset)
  request.opFlags = checkUint32(options?.rwFlags ?? 0, 'rwFlags')
  checkVector(buffers)
  const places = buffers.map(buffer => ({ from: 0, length: buffer.length }))
  checkAlignment(file, request.fd, offset, places)
  request.useOptions(options)
  useVector(request, buffers, opcode === IORING_OP_WRITEV)
  request.expected = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
  return request
}

/** @throws ERR_RIOLOG_INVALID_ARGUMENT; ERR_RIOLOG_BUFFER_LENT also for a buffer that comes twice */
export function checkVector(buffers: readonly Bytes[]): void {
  if (!Array.isArray(buffers) || buffers.length === 0 || buffers.length > MAX_SEGMENTS) {
    throw invalidArgument(`buffers must be an array of 1 to ${MAX_SEGMENTS}`)
  }
  let total = 0
  for (const buffer of buffers) {
    checkBytes(buffer)
    total += buffer.length
  }
  if (total > MAX_BYTES) throw invalidArgument(`at most ${MAX_BYTES} bytes at once`)
}

export function useVector(
  request: Request<unknown>,
  buffers: readonly Bytes[],
  write: boolean,
): void {
  request.useVector(buffers.map(buffer => new VectorPart(request.pool, buffer, write)))
}

export function sync(
  context: RequestContext,
  file: FileLike,
  flags: number,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_FSYNC)
  request.useFile(context, file)
  request.opFlags = flags
  request.convert = nothing
  request.useOptions(options)
  return request
}

export function syncFileRange(
  context: RequestContext,
  file: FileLike,
  options: SyncRangeOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_SYNC_FILE_RANGE)
  request.useFile(context, file)
  request.offset = checkOffset(options?.offset ?? 0)
  request.length = checkUint32(options?.length ?? 0, 'length')
  request.opFlags = checkUint32(options?.flags ?? 7, 'flags')
  request.convert = nothing
  request.useOptions(options)
  return request
}

export function fallocate(
  context: RequestContext,
  file: FileLike,
  mode: number,
  offset: number,
  length: number,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_FALLOCATE)
  request.useFile(context, file)
  request.length = checkUint32(mode, 'mode')
  request.offset = checkOffset(offset)
  // The SQE has the length in its address field.
  request.memory = NO_MEMORY
  request.memoryOffset = checkOffset(length, 'length')
  request.convert = nothing
  request.useOptions(options)
  return request
}

export function ftruncate(
  context: RequestContext,
  file: FileLike,
  length: number,
  options: OperationOptions | undefined,
): Request<void> {
  const request = newRequest<void>(context, IORING_OP_FTRUNCATE)
  request.useFile(context, file)
  request.offset = checkOffset(length, 'length')
  request.convert = nothing
  request.useOptions(options)
  return request
}

export function nothing(): void {}

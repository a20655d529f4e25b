/** Bad arguments fail here, before the kernel sees them. */
import { invalidArgument, RiologError } from '../../errors.ts'
import { OPERATION_NAMES, OPERATION_SINCE } from '../abi.ts'
import { directAlignment } from '../direct-alignment.ts'
import { type FileLike, Handle, RegisteredFile } from '../handle.ts'
import { IoBuffer } from '../io-buffer.ts'
import { Request, type RequestContext } from '../request.ts'

/** Bytes that an operation reads from or fills. */
export type Bytes = IoBuffer | Uint8Array

/** What an SQE's length and the kernel's own limit allow (MAX_RW_COUNT, read(2)). */
export const MAX_BYTES = 0x7ffff000
const UINT32_MAX = 0xffffffff

export function checkBytes(bytes: unknown): asserts bytes is Bytes {
  if (bytes instanceof IoBuffer) {
    bytes.checkNotLent()
    return
  }
  if (!(bytes instanceof Uint8Array)) {
    throw invalidArgument('bytes must be an IoBuffer or a Uint8Array')
  }
  if (bytes.length > MAX_BYTES) throw invalidArgument(`at most ${MAX_BYTES} bytes at once`)
}

/**
 * Options that are not the ones of an operation.
 * @param names of those that there are, where a wrong one would go unnoticed
 * @throws ERR_RIOLOG_INVALID_ARGUMENT
 */
export function checkOptions(options: unknown, names?: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw invalidArgument('options must be an object')
  }
  const unknown = names && Object.keys(options).find(name => !names.includes(name))
  if (unknown === undefined) return
  throw invalidArgument(`there is no option ${unknown}; there are ${names?.join(', ')}`)
}

/** A value by its name. @throws ERR_RIOLOG_INVALID_ARGUMENT for any other, also one that objects have */
export function lookUp<T>(table: Readonly<Record<string, T>>, name: unknown, what: string): T {
  if (typeof name !== 'string' || !Object.hasOwn(table, name)) {
    const names = Object.keys(table).join(', ')
    throw invalidArgument(`${what} must be one of ${names}; got ${String(name)}`)
  }
  return table[name]
}

export function checkOffset(offset: number, name = 'offset'): number {
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw invalidArgument(`${name} must be a safe integer of 0 or more, got ${String(offset)}`)
  }
  return offset
}

export function checkUint32(value: number, name: string): number {
  if (!Number.isInteger(value) || value < 0 || value > UINT32_MAX) {
    throw invalidArgument(`${name} must be an integer from 0 to 2^32-1, got ${String(value)}`)
  }
  return value
}

/**
 * A request for an opcode that this ring can be asked for.
 * @throws ERR_RIOLOG_UNSUPPORTED naming the operation, and what the kernel's probe said
 */
export function newRequest<T>(context: RequestContext, opcode: number): Request<T> {
  if (!context.queue.supports(opcode)) throw unsupported(context, opcode)
  return new Request<T>(context, opcode)
}

function unsupported(context: RequestContext, opcode: number): RiologError {
  const name = OPERATION_NAMES[opcode]
  if (context.queue.isClosing) return new RiologError('ERR_RIOLOG_CLOSED', 'ring is closed')
  if (context.queue.isPolled) {
    const message =
      `${name} cannot be asked of a ring with ioPoll, which completes reads and writes by ` +
      'polling the device (io_uring_setup(2), IORING_SETUP_IOPOLL): use a second ring'
    return new RiologError('ERR_RIOLOG_UNSUPPORTED', message)
  }
  const since = OPERATION_SINCE[opcode]
  const needs = since === undefined ? '' : `; it came with Linux ${since}`
  return new RiologError(
    'ERR_RIOLOG_UNSUPPORTED',
    `this kernel has no ${name} on a ring (IORING_REGISTER_PROBE: opcode ${opcode} is not ` +
      `supported)${needs}`,
  )
}

/**
 * Direct I/O wants address, length and offset aligned; what is a multiple of 4096 suits every device.
 * @throws ERR_RIOLOG_MISALIGNED
 */
export function checkAlignment(
  file: FileLike,
  fd: number,
  offset: number,
  places: readonly { readonly from: number; readonly length: number }[],
): void {
  const suits = (alignment: number) =>
    offset % alignment === 0 &&
    places.every(({ from, length }) => from % alignment === 0 && length % alignment === 0)
  if (suits(4096)) return
  const known = file instanceof Handle || file instanceof RegisteredFile
  const alignment = known ? file.alignment : directAlignment(fd)
  if (suits(alignment)) return
  const [{ from, length }] = places
  throw new RiologError(
    'ERR_RIOLOG_MISALIGNED',
    `direct I/O on this file needs multiples of ${alignment} bytes: offset ${offset}, ` +
      `length ${length}, place in the buffer ${from}`,
  )
}

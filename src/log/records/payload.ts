/**
 * The bytes that a caller appends, as an opaque type: nothing may ask them for a property. A class of the caller's, or a
 * getter on one buffer, would run code in the middle of an append, and that code might append, too. So they are reached
 * through the functions of Uint8Array.prototype, which look at the array itself.
 *
 * That is also the cheap way: `Object.getPrototypeOf`, to see whether it is of a known class, takes as long as to sum
 * 128 bytes, and V8's compiled code looks `bytes.set` up for each record (docs/DECISIONS.md).
 */
import { types } from 'node:util'
import { invalidArgument } from '../../errors.ts'

declare const opaque: unique symbol

export interface Payload {
  readonly [opaque]: unknown
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype)
const { isUint8Array, isUint32Array } = types

/** A method that takes its `this` as the first argument. */
function uncurried<T>(method: unknown): T {
  return Function.prototype.call.bind(method as () => unknown) as T
}

function getter<T>(name: string): (payload: Payload) => T {
  return uncurried(Object.getOwnPropertyDescriptor(typedArray, name)!.get)
}

const bufferOf = getter<ArrayBuffer>('buffer')
const offsetOf = getter<number>('byteOffset')

/** In bytes. */
export const lengthOf = getter<number>('length')

/** Copies all of the bytes to a place in `target`. @throws RangeError where there is no room */
export const copyTo: (target: Uint8Array, payload: Payload, at: number) => void = uncurried(
  typedArray.set,
)

/** @throws ERR_RIOLOG_INVALID_ARGUMENT when it is not a Uint8Array */
export function payloadOf(record: unknown): Payload {
  if (!isUint8Array(record)) throw invalidArgument('a record must be a Uint8Array')
  return ownBytes(record)
}

/** Bytes that are riolog's own, or a view of the caller's that {@link viewOf} has made. */
export function ownBytes(bytes: Uint8Array): Payload {
  return bytes as unknown as Payload
}

/** The same bytes as an array that runs no code of the caller's. */
export function viewOf(payload: Payload): Uint8Array {
  return new Uint8Array(bufferOf(payload), offsetOf(payload), lengthOf(payload))
}

/** The same of 32-bit integers. @throws ERR_RIOLOG_INVALID_ARGUMENT when they are none */
export function wordsOf(words: unknown, what: string): Uint32Array {
  if (!isUint32Array(words)) throw invalidArgument(`${what} must be a Uint32Array`)
  // The functions of %TypedArray% take each kind of them; a length is in elements.
  const array = words as unknown as Payload
  return new Uint32Array(bufferOf(array), offsetOf(array), lengthOf(array))
}

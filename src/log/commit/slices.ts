/**
 * Records that are slices of one piece of memory, as an import has them: a chunk of a file, the body of a request. Native
 * code copies all of them in one call, where an array, its methods and a call for each record would cost several times
 * as much as its 128 bytes.
 */
import { invalidArgument } from '../../errors.ts'
import { recordSpan } from '../../segment/format.ts'
import { ownBytes, type Payload, payloadOf, viewOf, wordsOf } from '../records/payload.ts'

export interface Slices {
  /** These two run no code of the caller's ({@link viewOf}); other threads may still change them. */
  readonly bytes: Uint8Array
  /** Where each record begins and ends in {@link bytes}, by turns. */
  readonly bounds: Uint32Array
  readonly count: number
  /** Of the records, in bytes. */
  readonly length: number
  /** What they take up in a group, in bytes; with a {@link length} beyond 2^31 it is no number to go by. */
  readonly span: number
}

/** @throws ERR_RIOLOG_INVALID_ARGUMENT for another type, an odd number of bounds, and a slice that is none */
export function slicesOf(memory: unknown, given: unknown): Slices {
  const bytes = viewOf(payloadOf(memory))
  const bounds = wordsOf(given, 'bounds')
  if (bounds.length % 2 !== 0) throw invalidArgument('bounds must be a begin and an end each')
  const sizes = { length: 0, span: 0 }
  for (let i = 0; i < bounds.length; i += 2) {
    const [from, to] = [bounds[i], bounds[i + 1]]
    if (from > to || to > bytes.length) {
      throw invalidArgument(`no slice of ${bytes.length} bytes goes from ${from} to ${to}`)
    }
    sizes.length += to - from
    sizes.span += recordSpan(to - from)
  }
  return { bytes, bounds, count: bounds.length / 2, ...sizes }
}

/** The same, one by one. */
export function payloadsOf({ bytes, bounds, count }: Slices): Payload[] {
  const payload = (_: unknown, i: number) =>
    ownBytes(bytes.subarray(bounds[2 * i], bounds[2 * i + 1]))
  return Array.from({ length: count }, payload)
}

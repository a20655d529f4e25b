/** Records that are longer than a group stand in it in fragments; here they are put together again. */
import { CorruptionError } from '../errors.ts'
import { RECORD_CONTINUATION, RECORD_GOES_ON } from '../segment/group.ts'
import type { LiveSegment } from './live-chain.ts'

/** Copies the bytes of a whole record or a fragment, as it was appended. */
export interface Piece {
  readonly segment: LiveSegment
  readonly lsn: number
  /** RECORD_* */
  readonly flags: number
  /** A view, which may change when {@link Fragments.take} has returned. */
  readonly bytes: Uint8Array
}

export interface WholeRecord {
  readonly lsn: number
  readonly data: Buffer
}

export class Fragments {
  readonly #mostBytes: number
  /** Of the record that is not yet whole. */
  readonly #parts: Buffer[] = []
  #lsn = 0
  #bytes = 0
  /** The record at hand began before the place that is of interest: its fragments are passed over. */
  #passing = true

  /** @param mostBytes no record is longer: a segment's size, which is a rule of the format */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  /** A reader goes on elsewhere: what comes next may belong to a record that began before. */
  restart(): void {
    this.#parts.length = 0
    this.#bytes = 0
    this.#passing = true
  }

  /** Of a record before the place that is of interest. */
  pass(): void {
    this.#passing = true
  }

  /**
   * The next record or fragment in order; gives the record that is whole with it.
   * @throws CorruptionError for fragments that do not fit each other
   */
  take({ segment, lsn, flags, bytes }: Piece): WholeRecord | undefined {
    const goesOn = (flags & RECORD_GOES_ON) !== 0
    const isFirst = (flags & RECORD_CONTINUATION) === 0
    if (!isFirst && this.#passing) return undefined
    this.#passing = false
    if (isFirst === this.#parts.length > 0) {
      throw mismatch(
        isFirst ? 'a record ends in the middle' : 'a fragment of no record',
        segment,
        lsn,
      )
    }
    if (isFirst && !goesOn) return { lsn, data: Buffer.from(bytes) }
    if (isFirst) this.#lsn = lsn
    this.#parts.push(Buffer.from(bytes))
    this.#bytes += bytes.length
    if (this.#bytes > this.#mostBytes) {
      throw mismatch('a record is longer than a segment', segment, lsn)
    }
    return goesOn ? undefined : this.#finish()
  }

  #finish(): WholeRecord {
    const data = Buffer.concat(this.#parts.splice(0), this.#bytes)
    this.#bytes = 0
    return { lsn: this.#lsn, data }
  }
}

function mismatch(what: string, segment: LiveSegment, lsn: number): CorruptionError {
  const where = { segment: segment.header.number, offset: lsn - segment.base, lsn }
  return new CorruptionError(what, where)
}

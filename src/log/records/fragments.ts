/** Records that are longer than a group stand in it in fragments; here they are put together again. */
import { CorruptionError } from '../../errors.ts'
import { RECORD_CONTINUATION, RECORD_GOES_ON } from '../../segment/group.ts'
import type { LiveSegment } from '../segments/live-chain.ts'
import type { Codec } from './codec.ts'
import type { LogRecord } from './record.ts'

/** A whole record or a fragment, as it is stored. */
export interface Piece {
  readonly segment: Pick<LiveSegment, 'header' | 'base'>
  readonly lsn: number
  /** RECORD_* */
  readonly flags: number
  /** Its own from now on: whoever is given the record may get this very buffer. */
  readonly bytes: Buffer
}

export class Fragments {
  readonly #codec: Codec
  readonly #mostBytes: number
  /** Of the record that is not yet whole. */
  readonly #parts: Buffer[] = []
  #first: Piece | undefined
  #bytes = 0
  /** The record at hand began before the place that is of interest: its fragments are passed over. */
  #passing = true

  /** @param mostBytes no record is longer: a segment's size, which is a rule of the format */
  constructor(codec: Codec, mostBytes: number) {
    this.#codec = codec
    this.#mostBytes = mostBytes
  }

  /** Where the record at hand begins that is not yet whole. */
  get begunAt(): number | undefined {
    return this.#parts.length > 0 ? this.#first!.lsn : undefined
  }

  /** Of a record before the place that is of interest. */
  pass(): void {
    this.#passing = true
  }

  /**
   * The next record or fragment in order; gives the record that is whole with it.
   * @throws CorruptionError for fragments that do not fit each other
   * @throws ERR_RIOLOG_KEY
   */
  take(piece: Piece): LogRecord | undefined {
    const { segment, lsn, flags } = piece
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
    const bytes = this.#codec.open(piece.bytes, flags, { header: segment.header, lsn })
    if (isFirst && !goesOn) return this.#finished(piece, bytes)
    if (isFirst) this.#first = piece
    this.#parts.push(bytes)
    this.#bytes += bytes.length
    if (this.#bytes > this.#mostBytes) {
      throw mismatch('a record is longer than a segment', segment, lsn)
    }
    if (goesOn) return undefined
    const whole = Buffer.concat(this.#parts.splice(0), this.#bytes)
    this.#bytes = 0
    return this.#finished(this.#first!, whole)
  }

  /** What its first fragment says counts for all of it. */
  #finished({ segment, lsn, flags }: Piece, bytes: Buffer): LogRecord {
    const place = { header: segment.header, lsn }
    return { lsn, data: this.#codec.unpack(bytes, flags, place, this.#mostBytes) }
  }
}

function mismatch(what: string, segment: Piece['segment'], lsn: number): CorruptionError {
  const where = { segment: segment.header.number, offset: lsn - segment.base, lsn }
  return new CorruptionError(what, where)
}

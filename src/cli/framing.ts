/**
 * How records are cut out of a stream of bytes, and put back into one. No I/O here: chunks come in
 * as the stream happens to deliver them, and records come out the same wherever the cuts fall.
 */
import { invalidArgument, RiologError } from '../errors.ts'

export const FRAMINGS = ['line', 'length'] as const
export type Framing = (typeof FRAMINGS)[number]

export interface Splitter {
  /** The records that end in this chunk. Each is a view, good until the next one is asked for. */
  push(chunk: Buffer): Iterable<Buffer>
  /**
   * What the end of the input ends: at most one record.
   * @throws ERR_RIOLOG_INVALID_ARGUMENT when the input ends inside a record
   */
  end(): Iterable<Buffer>
}

/** Holds no more than one record of `maxRecordBytes`, however long the input is. */
export function createSplitter(framing: Framing, maxRecordBytes: number): Splitter {
  return framing === 'line' ? new LineSplitter(maxRecordBytes) : new LengthSplitter(maxRecordBytes)
}

/** The pieces that put a record back into the stream that {@link createSplitter} cuts. */
export function frame(framing: Framing, record: Buffer): Buffer[] {
  if (framing === 'line') return [record, NEWLINE_BYTE]
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES)
  prefix.writeUInt32LE(record.length)
  return [prefix, record]
}

const NEWLINE = 0x0a
const NEWLINE_BYTE = Buffer.of(NEWLINE)
const PREFIX_BYTES = 4

/** The part of a record that earlier chunks brought: one buffer, since chunks may be single bytes. */
class Remainder {
  #bytes = Buffer.alloc(0)
  length = 0

  add(part: Buffer): void {
    const needed = this.length + part.length
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length))
      this.#bytes.copy(larger, 0, 0, this.length)
      this.#bytes = larger
    }
    part.copy(this.#bytes, this.length)
    this.length = needed
  }

  take(): Buffer {
    const whole = this.#bytes.subarray(0, this.length)
    this.length = 0
    return whole
  }
}

/** A record is a line without its newline. The last line counts without one too. */
class LineSplitter implements Splitter {
  readonly #maxRecordBytes: number
  readonly #remainder = new Remainder()
  /** Where in the input the next record starts; for the message about one that is too long. */
  #position = 0

  constructor(maxRecordBytes: number) {
    this.#maxRecordBytes = maxRecordBytes
  }

  *push(chunk: Buffer): Generator<Buffer> {
    let from = 0
    for (let to = 0; (to = chunk.indexOf(NEWLINE, from)) !== -1; from = to + 1) {
      const record = this.#complete(chunk.subarray(from, to))
      this.#position += record.length + 1
      yield record
    }
    const rest = chunk.subarray(from)
    this.#refuseIfLonger(this.#remainder.length + rest.length)
    this.#remainder.add(rest)
  }

  end(): Buffer[] {
    return this.#remainder.length > 0 ? [this.#remainder.take()] : []
  }

  #complete(part: Buffer): Buffer {
    this.#refuseIfLonger(this.#remainder.length + part.length)
    if (this.#remainder.length === 0) return part
    this.#remainder.add(part)
    return this.#remainder.take()
  }

  #refuseIfLonger(bytes: number): void {
    if (bytes > this.#maxRecordBytes) throw tooLarge(this.#position, this.#maxRecordBytes)
  }
}

/** A record follows its length, 4 bytes little-endian. */
class LengthSplitter implements Splitter {
  readonly #maxRecordBytes: number
  readonly #remainder = new Remainder()
  #position = 0
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  /** The record's length once its prefix is whole. */
  #length: number | undefined

  constructor(maxRecordBytes: number) {
    this.#maxRecordBytes = maxRecordBytes
  }

  *push(chunk: Buffer): Generator<Buffer> {
    this.#chunk = chunk
    this.#at = 0
    for (;;) {
      this.#length ??= this.#next(PREFIX_BYTES)?.readUInt32LE()
      if (this.#length === undefined) return
      // Before a byte of it is kept: a wrong length must not ask for gigabytes.
      if (this.#length > this.#maxRecordBytes) throw tooLarge(this.#position, this.#maxRecordBytes)
      const record = this.#next(this.#length)
      if (record === undefined) return
      this.#position += PREFIX_BYTES + record.length
      this.#length = undefined
      yield record
    }
  }

  end(): Buffer[] {
    if (this.#length === undefined && this.#remainder.length === 0) return []
    const expected = this.#length === undefined ? 'its length' : `its ${this.#length} bytes`
    throw invalidArgument(
      `the input ends inside the record that starts at byte ${this.#position}: ` +
        `${expected} should follow, ${this.#remainder.length} bytes of that did`,
    )
  }

  /** The next bytes of the input; undefined, and what there is of them kept, when they are cut off. */
  #next(bytes: number): Buffer | undefined {
    const missing = bytes - this.#remainder.length
    const part = this.#chunk.subarray(this.#at, this.#at + missing)
    this.#at += part.length
    if (this.#remainder.length === 0 && part.length === bytes) return part
    this.#remainder.add(part)
    return this.#remainder.length === bytes ? this.#remainder.take() : undefined
  }
}

function tooLarge(position: number, maxRecordBytes: number): RiologError {
  return new RiologError(
    'ERR_RIOLOG_RECORD_TOO_LARGE',
    `the record that starts at byte ${position} of the input is longer than the ` +
      `${maxRecordBytes} bytes that this log takes`,
  )
}

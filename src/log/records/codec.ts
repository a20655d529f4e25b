/**
 * What happens to a record between append and the disk, where it is asked for: compression, before its
 * length and place are fixed, and encryption at its place. docs/FORMAT.md has the bytes.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { CorruptionError } from '../../errors.ts'
import { RECORD_COMPRESSED, RECORD_ENCRYPTED } from '../../segment/group.ts'
import { type EncryptionOptions, Keys, open, SEAL_BYTES, seal } from './encryption.ts'
import { ownBytes, type Payload, viewOf } from './payload.ts'
import type { RecordPlace } from './record.ts'

/** The length before compression stands before the compressed bytes. */
const LENGTH_BYTES = 4
/** Beyond 3 the gain is small and the time is not. */
const LEVEL = 3
/** Shorter ones rarely shrink. In bytes. */
const LEAST_BYTES = 64
/** The length stands in 32 bits. */
const MOST_BYTES = 0xffffffff
const MOST_CHUNK_BYTES = 1 << 20
const LEAST_CHUNK_BYTES = 64

export interface Packed {
  readonly bytes: Payload
  /** In bytes. */
  readonly length: number
  /** RECORD_* */
  readonly flags: number
}

/** Several records, in columns: an object for each would cost as much as to copy it. */
export interface PackedBatch {
  readonly bytes: readonly Payload[]
  readonly lengths: readonly number[]
  /** RECORD_*; undefined where all are 0. */
  readonly flags: readonly number[] | undefined
}

export interface CodecOptions {
  readonly compression: 'none' | 'deflate'
  readonly encryption: EncryptionOptions | undefined
}

export class Codec {
  /** Bytes that {@link seal} adds to each record or fragment. */
  readonly overhead: number
  readonly #compresses: boolean
  readonly #keys: Keys

  /** @throws ERR_RIOLOG_KEY when the key for new records is not there */
  constructor({ compression, encryption }: CodecOptions, { writes }: { writes: boolean }) {
    this.#compresses = compression === 'deflate'
    this.#keys = new Keys(encryption, writes)
    this.overhead = encryption === undefined ? 0 : SEAL_BYTES
  }

  /** Whether records stand in their groups just as they were given. */
  get isPlain(): boolean {
    return !this.#compresses && this.overhead === 0
  }

  /** Before the record has a place. The bytes are the caller's own where that is no gain. */
  pack(payload: Payload, length: number): Packed {
    // On every append: small enough to be inlined, so that no object is made for a plain record.
    return this.#compresses ? deflate(payload, length) : { bytes: payload, length, flags: 0 }
  }

  /** As {@link pack}. */
  packAll(payloads: readonly Payload[], lengths: readonly number[]): PackedBatch {
    if (!this.#compresses) return { bytes: payloads, lengths, flags: undefined }
    const packed = payloads.map((payload, i) => deflate(payload, lengths[i]))
    return {
      bytes: packed.map(({ bytes }) => bytes),
      lengths: packed.map(({ length }) => length),
      flags: packed.map(({ flags }) => flags),
    }
  }

  /**
   * At its place, which no other record has ever had: the salt is new with each segment. Only where there
   * is an {@link overhead}.
   */
  seal({ bytes, flags }: Packed, place: RecordPlace): Packed {
    const sealedFlags = flags | RECORD_ENCRYPTED
    const sealed = seal(viewOf(bytes), sealedFlags, place, this.#keys)
    return { bytes: ownBytes(sealed), length: sealed.length, flags: sealedFlags }
  }

  /**
   * What {@link seal} was given; of a plain record the very same buffer.
   * @throws ERR_RIOLOG_KEY, CorruptionError
   */
  open(bytes: Buffer, flags: number, place: RecordPlace): Buffer {
    if ((flags & RECORD_ENCRYPTED) !== 0) return open(bytes, flags, place, this.#keys)
    this.#keys.refusePlain(place.lsn)
    return bytes
  }

  /**
   * What {@link pack} was given.
   * @param mostBytes no record is longer: looked at before memory is taken
   * @throws CorruptionError
   */
  unpack(bytes: Buffer, flags: number, place: RecordPlace, mostBytes: number): Buffer {
    if ((flags & RECORD_COMPRESSED) === 0) return bytes
    const length = bytes.length > LENGTH_BYTES ? bytes.readUInt32LE() : 0
    if (length === 0 || length > mostBytes) throw notCompressed(place)
    let inflated: Buffer
    try {
      // Memory grows with what comes out, not with what the length claims.
      const chunkSize = Math.max(LEAST_CHUNK_BYTES, Math.min(length, MOST_CHUNK_BYTES))
      const limits = { maxOutputLength: length, chunkSize }
      inflated = inflateRawSync(bytes.subarray(LENGTH_BYTES), limits)
    } catch {
      throw notCompressed(place)
    }
    if (inflated.length !== length) throw notCompressed(place)
    return inflated
  }
}

function notCompressed({ header, lsn }: RecordPlace): CorruptionError {
  const offset = lsn - header.number * header.segmentSize
  const where = { segment: header.number, offset, lsn }
  return new CorruptionError('a compressed record is not what its length says', where)
}

function deflate(payload: Payload, length: number): Packed {
  if (length < LEAST_BYTES || length > MOST_BYTES) return { bytes: payload, length, flags: 0 }
  const deflated = deflateRawSync(viewOf(payload), { level: LEVEL })
  if (LENGTH_BYTES + deflated.length >= length) return { bytes: payload, length, flags: 0 }
  const head = Buffer.alloc(LENGTH_BYTES)
  head.writeUInt32LE(length)
  const bytes = Buffer.concat([head, deflated])
  return { bytes: ownBytes(bytes), length: bytes.length, flags: RECORD_COMPRESSED }
}

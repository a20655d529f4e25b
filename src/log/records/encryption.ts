/**
 * AES-256-GCM over records, each with the key of its segment: HKDF-SHA256 (RFC 5869) of the user's key with
 * the segment's random salt, so that a nonce, which is the LSN, never comes twice under one key. No key
 * and nothing derived from one is in any error.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from 'node:crypto'
import { CorruptionError, RiologError } from '../../errors.ts'
import type { SegmentHeader } from '../../segment/header.ts'
import type { RecordPlace } from './record.ts'

const CIPHER = 'aes-256-gcm'
export const KEY_BYTES = 32
/** What GCM takes without hashing it (NIST SP 800-38D, 5.2.1.1). */
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_ID_BYTES = 4
/** The key's id before the ciphertext, the tag behind it. */
export const SEAL_BYTES = KEY_ID_BYTES + TAG_BYTES
const PURPOSE = 'riolog record 1'

export interface EncryptionOptions {
  /** Names the key for new records, from 0 to 2^32 - 1; it stands beside each of them. */
  readonly keyId: number
  /** The key of an id, 32 bytes; undefined where there is none. Called once for each id and opening. */
  readonly key: (id: number) => Uint8Array | undefined
  /** Shows records that are not encrypted, too, as a log has that was not always. */
  readonly acceptPlain: boolean
}

export class Keys {
  readonly #options: EncryptionOptions | undefined
  /** The user's, by id. */
  readonly #keys = new Map<number, KeyObject>()
  readonly #derived = new WeakMap<SegmentHeader, Map<number, KeyObject>>()

  /** @throws ERR_RIOLOG_KEY when `writes` and the key for new records is not there */
  constructor(options: EncryptionOptions | undefined, writes: boolean) {
    this.#options = options
    if (options !== undefined && writes) this.#keyOf(options.keyId)
  }

  /** Of new records. */
  get id(): number {
    return this.#options!.keyId
  }

  /** @throws ERR_RIOLOG_KEY for a plain record in a log that is encrypted: anybody could have put it there */
  refusePlain(lsn: number): void {
    if (this.#options === undefined || this.#options.acceptPlain) return
    throw keyError(
      `the record at LSN ${lsn} is not encrypted, and encryption.acceptPlain is not set`,
    )
  }

  /** @throws ERR_RIOLOG_KEY */
  of(header: SegmentHeader, id: number): KeyObject {
    let keys = this.#derived.get(header)
    if (keys === undefined) {
      keys = new Map()
      this.#derived.set(header, keys)
    }
    let key = keys.get(id)
    if (key === undefined) {
      key = derive(this.#keyOf(id), header)
      keys.set(id, key)
    }
    return key
  }

  #keyOf(id: number): KeyObject {
    const held = this.#keys.get(id)
    if (held !== undefined) return held
    if (this.#options === undefined) {
      throw keyError(`there is a record encrypted with key ${id}, and no encryption option`)
    }
    let bytes: unknown
    try {
      bytes = this.#options.key(id)
    } catch (cause) {
      throw keyError(`the key callback failed for key ${id}`, cause)
    }
    if (bytes === undefined) throw keyError(`there is no key ${id}`)
    if (!(bytes instanceof Uint8Array) || bytes.length !== KEY_BYTES) {
      throw keyError(`key ${id} is not a Uint8Array of ${KEY_BYTES} bytes`)
    }
    const key = createSecretKey(bytes)
    this.#keys.set(id, key)
    return key
  }
}

function derive(key: KeyObject, { uuid, salt }: SegmentHeader): KeyObject {
  const saltBytes = Buffer.alloc(8)
  saltBytes.writeUInt32LE(salt.low, 0)
  saltBytes.writeUInt32LE(salt.high, 4)
  const info = Buffer.concat([Buffer.from(PURPOSE), Buffer.from(uuid, 'hex')])
  const derived = Buffer.from(hkdfSync('sha256', key, saltBytes, info, KEY_BYTES))
  const object = createSecretKey(derived)
  derived.fill(0)
  return object
}

/** @param flags as they will stand in the record's header */
export function seal(
  bytes: Uint8Array,
  flags: number,
  { header, lsn }: RecordPlace,
  keys: Keys,
): Uint8Array {
  const length = bytes.length + SEAL_BYTES
  const sealed = Buffer.allocUnsafe(length)
  sealed.writeUInt32LE(keys.id, 0)
  const cipher = createCipheriv(CIPHER, keys.of(header, keys.id), nonceOf(lsn))
  cipher.setAAD(authenticated(length, flags, keys.id))
  cipher.update(bytes).copy(sealed, KEY_ID_BYTES)
  cipher.final() // GCM keeps nothing back
  cipher.getAuthTag().copy(sealed, length - TAG_BYTES)
  return sealed
}

/** @throws ERR_RIOLOG_KEY, CorruptionError */
export function open(
  bytes: Uint8Array,
  flags: number,
  { header, lsn }: RecordPlace,
  keys: Keys,
): Buffer {
  if (bytes.length < SEAL_BYTES) {
    const offset = lsn - header.number * header.segmentSize
    const where = { segment: header.number, offset, lsn }
    throw new CorruptionError('an encrypted record is shorter than its tag', where)
  }
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const id = view.readUInt32LE(0)
  const decipher = createDecipheriv(CIPHER, keys.of(header, id), nonceOf(lsn), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(authenticated(view.length, flags, id))
  decipher.setAuthTag(view.subarray(view.length - TAG_BYTES))
  const plain = decipher.update(view.subarray(KEY_ID_BYTES, view.length - TAG_BYTES))
  try {
    decipher.final()
  } catch {
    throw keyError(
      `the record at LSN ${lsn} does not open with key ${id}: it was sealed with another one, or somebody ` +
        'has changed it together with its checksums',
    )
  }
  return plain
}

function nonceOf(lsn: number): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES)
  nonce.writeBigUInt64LE(BigInt(lsn))
  return nonce
}

function authenticated(length: number, flags: number, keyId: number): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt32LE(length, 0)
  bytes.writeUInt32LE(flags, 4)
  bytes.writeUInt32LE(keyId, 8)
  return bytes
}

function keyError(message: string, cause?: unknown): RiologError {
  return new RiologError('ERR_RIOLOG_KEY', message, cause === undefined ? {} : { cause })
}

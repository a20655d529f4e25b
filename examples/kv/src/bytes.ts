/** Numbers and byte strings, one behind the other: what records and checkpoints are made of. */
import { markAsUntransferable } from 'node:worker_threads'
import { KvError } from './errors.ts'

/**
 * A key's bytes as the characters of a string, each from 0 to 255 ('latin1'): it has the order of the bytes, nobody
 * can change it, and JavaScript compares it several times as fast as a Buffer, whose bytes lie elsewhere.
 */
export type Key = string

const NO_BYTE = /[^\0-\xff]/
const NO_ASCII = /[^\0-\x7f]/

/** Of bytes, or of a string that stands for its bytes in UTF-8: most are ASCII, and are the key themselves. */
export function keyOf(key: Uint8Array | string): Key {
  if (Buffer.isBuffer(key)) return key.toString('latin1')
  // An encoding of the caller's may give any Uint8Array, whose own toString is another.
  if (typeof key !== 'string') return Buffer.from(key).toString('latin1')
  return NO_ASCII.test(key) ? Buffer.from(key).toString('latin1') : key
}

/** What {@link keyOf} was given, as a string. */
export function keyText(key: Key): string {
  return NO_ASCII.test(key) ? keyBytes(key).toString() : key
}

export function keyBytes(key: Key): Buffer {
  return Buffer.from(key, 'latin1')
}

const SLAB_BYTES = 32 * 1024
/** Longer ones have memory of their own. */
const SHARED_BYTES = SLAB_BYTES / 16
let slab = newSlab()
let used = 0

/**
 * A copy for somebody who drops it soon: short ones share their memory, since to make memory costs more than to copy
 * into it, and Node's own pool (`Buffer.poolSize`) is a quarter as long.
 */
export function copyOf(bytes: Uint8Array): Buffer {
  if (bytes.length > SHARED_BYTES) return Buffer.from(bytes)
  if (used + bytes.length > SLAB_BYTES) {
    slab = newSlab()
    used = 0
  }
  const copy = slab.subarray(used, used + bytes.length)
  copy.set(bytes)
  used += bytes.length
  return copy
}

/** Who gives his copy to a worker must not take those of others along. */
function newSlab(): Buffer {
  const memory = Buffer.allocUnsafeSlow(SLAB_BYTES)
  markAsUntransferable(memory.buffer)
  return memory
}

/** How long a number is: seven bits a byte, so that short lengths, which are most, take one. */
export function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++
  return bytes
}

export function chunkBytes(chunk: Uint8Array | Key): number {
  return varintBytes(chunk.length) + chunk.length
}

export class ByteWriter {
  readonly bytes: Buffer
  #at = 0

  constructor(length: number) {
    this.bytes = Buffer.allocUnsafe(length)
  }

  /** Leaves bytes for the caller to fill in. */
  skip(bytes: number): this {
    this.#at += bytes
    return this
  }

  byte(value: number): this {
    this.bytes[this.#at++] = value
    return this
  }

  varint(value: number): this {
    let rest = value
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.byte((rest % 128) + 128)
    return this.byte(rest)
  }

  /** The length, and the bytes. */
  chunk(chunk: Uint8Array): this {
    this.varint(chunk.length)
    this.bytes.set(chunk, this.#at)
    this.#at += chunk.length
    return this
  }

  /** The length, and the bytes of a key. */
  key(key: Key): this {
    // Cut to bytes, two keys could become one.
    if (NO_BYTE.test(key)) throw new KvError('ERR_KV_INVALID_KEY', 'a key is made by keyOf')
    this.varint(key.length)
    this.#at += this.bytes.write(key, this.#at, 'latin1')
    return this
  }
}

/** Checks each length before it uses it: what it reads may be anything. */
export class ByteReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get at(): number {
    return this.#at
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length
  }

  byte(): number {
    if (this.isDone) throw tooShort()
    return this.#bytes[this.#at++]
  }

  varint(): number {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = this.byte()
      value += (byte % 128) * factor
      if (value > Number.MAX_SAFE_INTEGER)
        throw new KvError('ERR_KV_CORRUPT', 'a number is too long')
      if (byte < 128) return value
      factor *= 128
    }
  }

  /** A view, not a copy. */
  chunk(): Buffer {
    const start = this.#chunkStart()
    return this.#bytes.subarray(start, this.#at)
  }

  key(): Key {
    const start = this.#chunkStart()
    return this.#bytes.toString('latin1', start, this.#at)
  }

  /** Goes behind a byte string, and returns where it starts. */
  #chunkStart(): number {
    const length = this.varint()
    if (length > this.#bytes.length - this.#at) throw tooShort()
    const start = this.#at
    this.#at += length
    return start
  }
}

function tooShort(): KvError {
  return new KvError('ERR_KV_CORRUPT', 'bytes end too early')
}

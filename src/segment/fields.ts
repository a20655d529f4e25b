/** Reading and writing little-endian fields. Headers are rare: clarity counts here, not speed. */
import { addon } from '../native.ts'
import type { Salt } from './format.ts'

/**
 * The start of each header block and manifest copy, at the same place in every version of the format:
 * magic (8 bytes), version (4), CRC32C (4) over the bytes before and behind it.
 */
export const MAGIC_BYTES = 8
const VERSION_AT = 8
const CRC_AT = 12
const CRC_END = 16

const TWO_32 = 2 ** 32

export class Fields {
  readonly bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }

  /** NaN for a number that is no safe integer: no comparison with it holds. */
  u64(at: number): number {
    const value = this.u32(at + 4) * TWO_32 + this.u32(at)
    return Number.isSafeInteger(value) ? value : Number.NaN
  }

  setU64(at: number, value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a place: ${value}`)
    this.setU32(at, value % TWO_32)
    this.setU32(at + 4, Math.floor(value / TWO_32))
  }

  salt(at: number): Salt {
    return { low: this.u32(at), high: this.u32(at + 4) }
  }

  setSalt(at: number, salt: Salt): void {
    this.setU32(at, salt.low)
    this.setU32(at + 4, salt.high)
  }

  hex(at: number, length: number): string {
    return Buffer.from(this.bytes.subarray(at, at + length)).toString('hex')
  }

  setHex(at: number, hex: string): void {
    this.bytes.set(Buffer.from(hex, 'hex'), at)
  }

  get version(): number {
    return this.u32(VERSION_AT)
  }

  hasMagic(magic: string): boolean {
    return Buffer.from(this.bytes.subarray(0, MAGIC_BYTES)).toString('latin1') === magic
  }

  /** Writes magic, version and the checksum of everything up to `end`; called last. */
  seal(magic: string, version: number, end: number): void {
    this.bytes.set(Buffer.from(magic, 'latin1'), 0)
    this.setU32(VERSION_AT, version)
    this.setU32(CRC_AT, this.#checksum(end))
  }

  verifies(end: number): boolean {
    return end <= this.bytes.length && this.u32(CRC_AT) === this.#checksum(end)
  }

  #checksum(end: number): number {
    const before = addon().crc32c(0, this.bytes, 0, CRC_AT)
    return addon().crc32c(before, this.bytes, CRC_END, end)
  }
}

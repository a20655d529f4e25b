import { invalidArgument, RiologError } from '../errors.ts'
import { addon, allocate, type NativeMemory } from '../native.ts'

/** One read or write moves no more (MAX_RW_COUNT, read(2)), and an SQE's length has 32 bits. */
const MAX_LENGTH = 0x7ffff000

/**
 * An aligned buffer in native memory, fit for O_DIRECT. While an operation has it, JavaScript does
 * not: `bytes` throws and views taken before have length 0, so that nobody can change what the
 * kernel is reading, or read what it is writing.
 */
export class IoBuffer {
  readonly #length: number
  #memory: NativeMemory
  #view: ArrayBuffer
  #lent = false
  readonly #registrations = new Map<object, number>()

  private constructor(memory: NativeMemory) {
    this.#memory = memory
    this.#view = memory.buffer
    this.#length = memory.buffer.byteLength
  }

  /**
   * A new buffer, which nobody else has.
   * @param length bytes; the memory is zeroed and its address a multiple of 64 KiB
   * @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_OUT_OF_MEMORY
   */
  static alloc(length: number): IoBuffer {
    if (!Number.isSafeInteger(length) || length <= 0 || length > MAX_LENGTH) {
      throw invalidArgument(
        `length must be an integer from 1 to ${MAX_LENGTH}, got ${String(length)}`,
      )
    }
    return new IoBuffer(allocate(length))
  }

  /** In bytes; known while the buffer is lent too. */
  get length(): number {
    return this.#length
  }

  /** True while an operation has it. */
  get lent(): boolean {
    return this.#lent
  }

  /**
   * The buffer's bytes. Ask again after each operation: views from before it are empty.
   * @throws ERR_RIOLOG_BUFFER_LENT while an operation has the buffer
   */
  get bytes(): Uint8Array {
    this.checkNotLent()
    this.#leaveTransferred()
    return new Uint8Array(this.#view)
  }

  /** True while a ring keeps its pages at hand (`ring.registerBuffer`). */
  get registered(): boolean {
    return this.#registrations.size > 0
  }

  /** @internal */
  setRegistered(ring: object, index: number): void {
    this.#registrations.set(ring, index)
  }

  /** @internal The index that it had with a ring, which it has no more. */
  takeRegistered(ring: object): number | undefined {
    const index = this.#registrations.get(ring)
    this.#registrations.delete(ring)
    return index
  }

  /** @internal For the ring's table of registered buffers. */
  get memoryId(): number {
    return this.#memory.id
  }

  /** @internal Takes the buffer away from JavaScript until {@link giveBack}. Returns its id. */
  lend(): number {
    this.checkNotLent()
    this.#leaveTransferred()
    this.#lent = true
    addon().detach(this.#view)
    return this.#memory.id
  }

  /** @internal */
  giveBack(): void {
    this.#view = addon().viewOf(this.#memory.handle)
    this.#lent = false
  }

  /**
   * From Node 21 on, `ArrayBuffer.prototype.transfer` hands memory like ours to another ArrayBuffer.
   * Through that one JavaScript would still reach it while the kernel does: so it is given up for a
   * copy, and becomes the other's alone.
   */
  #leaveTransferred(): void {
    if (this.#view.byteLength > 0) return
    const content = new Uint8Array(addon().viewOf(this.#memory.handle))
    const memory = allocate(this.length)
    new Uint8Array(memory.buffer).set(content)
    this.#memory = memory
    this.#view = memory.buffer
  }

  /** @internal @throws ERR_RIOLOG_BUFFER_LENT */
  checkNotLent(): void {
    if (this.#lent) {
      throw new RiologError('ERR_RIOLOG_BUFFER_LENT', 'an operation in flight has this buffer')
    }
  }
}

import { invalidArgument, RiologError } from '../errors.ts'
import { addon, allocate, type NativeMemory } from '../native.ts'

/**
 * An aligned buffer in native memory, fit for O_DIRECT. While an operation has it, JavaScript does
 * not: `bytes` throws and views taken before have length 0, so that nobody can change what the
 * kernel is reading, or read what it is writing.
 */
export class IoBuffer {
  /** In bytes; known while the buffer is lent too. */
  readonly length: number
  readonly #memory: NativeMemory
  #view: ArrayBuffer
  #lent = false

  private constructor(memory: NativeMemory) {
    this.#memory = memory
    this.#view = memory.buffer
    this.length = memory.buffer.byteLength
  }

  /**
   * @param length bytes; the memory is zeroed and its address a multiple of 64 KiB
   * @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_OUT_OF_MEMORY
   */
  static alloc(length: number): IoBuffer {
    if (!Number.isSafeInteger(length) || length <= 0) {
      throw invalidArgument(`length must be a positive integer, got ${length}`)
    }
    return new IoBuffer(allocate(length))
  }


  get lent(): boolean {
    return this.#lent
  }

  /**
   * The buffer's bytes. Ask again after each operation: views from before it are empty.
   * @throws ERR_RIOLOG_BUFFER_LENT while an operation has the buffer
   */
  get bytes(): Uint8Array {
    this.#refuseIfLent()
    // Somebody may have transferred the view away; the memory is still here.
    if (this.#view.byteLength === 0) this.#view = addon().viewOf(this.#memory.handle)
    return new Uint8Array(this.#view)
  }

  /** @internal Takes the buffer away from JavaScript until {@link giveBack}. Returns its id. */
  lend(): number {
    this.#refuseIfLent()
    this.#lent = true
    addon().detach(this.#view)
    return this.#memory.id
  }

  /** @internal */
  giveBack(): void {
    this.#view = addon().viewOf(this.#memory.handle)
    this.#lent = false
  }

  #refuseIfLent(): void {
    if (this.#lent) {
      throw new RiologError('ERR_RIOLOG_BUFFER_LENT', 'an operation in flight has this buffer')
    }
  }
}

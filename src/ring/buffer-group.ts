import { invalidArgument, SystemError } from '../errors.ts'
import { IORING_CQE_BUFFER_SHIFT } from './abi.ts'
import { missing } from './prepare/control.ts'
import type { RequestQueue } from './request-queue.ts'

const EBUSY = -16
const EINVAL = -22

/**
 * Buffers that many sockets share: the kernel takes one only when data has come, so that a thousand
 * idle connections cost no memory (io_uring_register_buf_ring(3), Linux 5.19). What arrives is copied
 * out, and the buffer goes back at once.
 */
export class BufferGroup {
  /** How many, a power of two. */
  readonly count: number
  /** Bytes of each. */
  readonly size: number
  /** @internal */
  readonly queue: RequestQueue
  /** @internal */
  readonly group: number
  readonly #bytes: Uint8Array
  #released = false
  #users = 0

  /** @internal @throws ERR_RIOLOG_UNSUPPORTED, SystemError ENOMEM */
  constructor(queue: RequestQueue, count: number, size: number) {
    if (!Number.isInteger(count) || count < 1 || count > 32768 || (count & (count - 1)) !== 0) {
      throw invalidArgument(`count must be a power of two up to 32768, got ${String(count)}`)
    }
    if (!Number.isInteger(size) || size < 1 || size > 1 << 24) {
      throw invalidArgument(`size must be an integer from 1 to 2^24, got ${String(size)}`)
    }
    const group = queue.binding.addBufferGroup(count, size)
    if (group === EINVAL) throw missing('rings of provided buffers', '5.19', 'EINVAL')
    if (group < 0) throw new SystemError(group, 'io_uring_register')
    this.queue = queue
    this.group = group
    this.count = count
    this.size = size
    const view = queue.binding.viewOfBufferGroup(group)
    if (view === undefined) {
      queue.binding.removeBufferGroup(group)
      throw new SystemError(-12, 'io_uring_register')
    }
    this.#bytes = new Uint8Array(view)
  }

  /** True once {@link release} was called. */
  get released(): boolean {
    return this.#released
  }

  /**
   * Frees the buffers.
   * @throws SystemError EBUSY while an operation uses the group: end that first
   */
  release(): void {
    if (this.#released) return
    if (this.#users > 0) throw new SystemError(EBUSY, 'io_uring_register')
    const result = this.queue.binding.removeBufferGroup(this.group)
    if (result < 0 && !this.queue.isClosing) throw new SystemError(result, 'io_uring_register')
    this.#released = true
  }

  /** @internal An operation begins to use it. */
  use(): void {
    if (this.#released) throw invalidArgument('a buffer group that was released')
    this.#users++
  }

  /** @internal */
  unuse(): void {
    this.#users--
  }

  /** @internal A copy of what came in the buffer that a completion names. */
  copy(length: number, completionFlags: number): Uint8Array {
    const start = (completionFlags >>> IORING_CQE_BUFFER_SHIFT) * this.size
    return this.#bytes.slice(start, start + length)
  }
}

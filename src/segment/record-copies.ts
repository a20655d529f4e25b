/** Copies of a group's records that are handed out: made for many records at a time. */

/** Long enough that making it does not count, short enough for one record to hold on to. */
const SLAB_BYTES = 64 * 1024

/**
 * The bytes of one group after the other, which change when the next one is read. Records are asked for in
 * their order; those near each other share memory, as those of `Buffer.from` do, of up to 64 KiB.
 */
export class RecordCopies {
  #bytes: Uint8Array = new Uint8Array()
  #end = 0
  /** Copied from the group: what stands there from `from` to `to`. */
  #slab: Buffer = Buffer.alloc(0)
  #from = 0
  #to = 0

  /** @param end behind the group's last record, in `bytes` */
  begin(bytes: Uint8Array, end: number): void {
    this.#bytes = bytes
    this.#end = end
    this.#to = 0
  }

  take(from: number, to: number): Buffer {
    if (from < this.#from || to > this.#to) this.#fill(from, to)
    return this.#slab.subarray(from - this.#from, to - this.#from)
  }

  #fill(from: number, to: number): void {
    // Allocated beside Node's own pool: a slab of its own is freed when its last record is.
    const end = to - from >= SLAB_BYTES / 4 ? to : Math.min(this.#end, from + SLAB_BYTES)
    this.#slab = Buffer.allocUnsafeSlow(end - from)
    this.#slab.set(this.#bytes.subarray(from, end))
    this.#from = from
    this.#to = end
  }
}

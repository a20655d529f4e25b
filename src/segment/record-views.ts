/** Records that are handed out where they were read, without a copy. */

/** As {@link RecordCopies}, for who takes the memory back before it is read into again. */
export class RecordViews {
  #bytes: Buffer = Buffer.alloc(0)

  /** @param end behind the group's last record, in `bytes` */
  begin(bytes: Uint8Array, end: number): void {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, end)
  }

  /** A fragment is copied: what it belongs to is whole when other groups have been read over it. */
  take(from: number, to: number, isFragment: boolean): Buffer {
    const view = this.#bytes.subarray(from, to)
    return isFragment ? Buffer.from(view) : view
  }
}

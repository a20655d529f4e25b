/** Large aligned reads of a file, so that walking its groups costs few system calls. */
import { borrowBuffer, returnBuffer } from '../disk/buffer.ts'
import type { DiskBuffer, DiskFile } from '../disk/disk.ts'
import { alignDown, alignUp, MAX_ALIGNMENT, MIB } from './format.ts'
import { type GroupFinding, groupEnd, type Place, readGroupHeader, verifyGroup } from './group.ts'

/** Room for the longest group wherever it starts, and for some more: the longest read. */
const WINDOW_BYTES = 2 * MIB + 4 * MAX_ALIGNMENT

export class Window {
  /** As long as the longest read so far: a small log takes little memory. */
  #buffer: DiskBuffer | undefined
  readonly #alignment: number
  #file: DiskFile | undefined
  #from = 0
  #length = 0

  constructor(alignment: number) {
    this.#alignment = alignment
  }

  /**
   * The bytes of `file` from `position` on: at least `want` of them, unless the file or `limit` ends
   * before. They are good until the next call.
   * @throws SystemError
   */
  async load(file: DiskFile, position: number, want: number, limit: number): Promise<Uint8Array> {
    const end = Math.min(position + want, limit)
    if (end <= position) return new Uint8Array()
    const held = file === this.#file && position >= this.#from && end <= this.#from + this.#length
    if (!held) await this.#read(file, position, limit)
    const last = Math.min(this.#from + this.#length, limit)
    return this.#buffer!.bytes.subarray(
      position - this.#from,
      Math.max(last, position) - this.#from,
    )
  }

  /**
   * The group at a place, verified as a whole, and its bytes, which are good until the next call. One
   * that would end behind `limit` counts as torn.
   * @throws SystemError
   */
  async group(
    file: DiskFile,
    position: number,
    place: Place,
    maxGroupBytes: number,
    limit: number,
  ): Promise<{ found: GroupFinding; bytes: Uint8Array }> {
    const head = await this.load(file, position, this.#alignment, limit)
    const header = readGroupHeader(head, 0, place, maxGroupBytes)
    if (header === undefined) return { found: { kind: 'none' }, bytes: head }
    // Its length is known now: what stands in the window already is not read again.
    const length = groupEnd(header, this.#alignment) - place.lsn
    const bytes = await this.load(file, position, length, limit)
    if (position + length > limit) return { found: { kind: 'torn', group: header }, bytes }
    return { found: verifyGroup(bytes, 0, place, maxGroupBytes), bytes }
  }

  /** Nobody looks any more at what it gave, and no read is under way; it can be used again all the same. */
  release(): void {
    this.forget()
    if (this.#buffer !== undefined) returnBuffer(this.#buffer)
    this.#buffer = undefined
  }

  /** What was read may have changed since. */
  forget(): void {
    this.#file = undefined
  }

  async #read(file: DiskFile, position: number, limit: number): Promise<void> {
    const from = alignDown(position, this.#alignment)
    const length = Math.min(WINDOW_BYTES, alignUp(limit - from, this.#alignment))
    this.#file = undefined
    if (this.#buffer === undefined || this.#buffer.bytes.length < length) {
      this.release()
      this.#buffer = borrowBuffer(length)
    }
    this.#length = await file.read(this.#buffer, 0, length, from)
    this.#from = from
    this.#file = file
  }
}

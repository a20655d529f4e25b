/** Large aligned reads of a file, so that walking its groups costs few system calls. */
import { allocateBuffer, borrowBuffer, renewBuffer, returnBuffer } from '../disk/buffer.ts'
import type { DiskBuffer, DiskFile } from '../disk/disk.ts'
import { MIB } from '../units.ts'
import { alignDown, alignUp, MAX_ALIGNMENT } from './format.ts'
import {
  type GroupFinding,
  type GroupInfo,
  groupEnd,
  type Place,
  readGroupHeader,
  verifyGroup,
} from './group.ts'

/** What stands before a read of a group that begins in the read before: the longest group. */
const CARRY_BYTES = MIB + 2 * MAX_ALIGNMENT
/** Two huge pages. */
const BUFFER_BYTES = 4 * MIB
/** The longest read: room for the longest group wherever it starts, and for some more. */
export const WINDOW_BYTES = BUFFER_BYTES - CARRY_BYTES

/** Runs a read that goes on when whoever asked for it has turned to something else. */
export type Hold = (read: () => Promise<void>) => Promise<void>

/** Bytes of a file in memory: those from `from` on stand at `at`. */
interface Stretch {
  readonly file: DiskFile
  buffer: DiskBuffer
  from: number
  at: number
  length: number
}

interface ReadAhead {
  readonly stretch: Stretch
  /** Never rejects: the same read without haste will tell why. */
  readonly done: Promise<void>
}

export interface WindowGroup {
  readonly found: GroupFinding
  readonly bytes: Uint8Array
}

export class Window {
  /** As long as the longest read so far: a small log takes little memory. */
  #buffer: DiskBuffer | undefined
  readonly #alignment: number
  #held: Stretch | undefined
  #ahead: ReadAhead | undefined
  /** For the next read ahead. */
  #spare: DiskBuffer | undefined

  constructor(alignment: number) {
    this.#alignment = alignment
  }

  /**
   * The bytes of `file` from `position` on: at least `want` of them, unless the file or `limit` ends
   * before. They are good until the next call.
   * @param hold who goes through a file from front to back says how it is read ahead: beginning with the
   *   second read, so that whoever looks at the beginning alone pays for no more
   * @throws SystemError
   */
  async load(
    file: DiskFile,
    position: number,
    want: number,
    limit: number,
    hold?: Hold,
  ): Promise<Uint8Array> {
    const held = this.#heldBytes(file, position, want, limit)
    if (held !== undefined) return held
    await this.#read(file, position, want, limit, hold)
    return this.#bytesFrom(position, limit)
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
    hold?: Hold,
  ): Promise<WindowGroup> {
    const head = await this.load(file, position, this.#alignment, limit, hold)
    const header = readGroupHeader(head, 0, place, maxGroupBytes)
    if (header === undefined) return { found: { kind: 'none' }, bytes: head }
    // Its length is known now: what stands in the window already is not read again.
    const length = groupEnd(header, this.#alignment) - place.lsn
    const bytes = await this.load(file, position, length, limit, hold)
    return this.#verified(bytes, header, length, position, place, maxGroupBytes, limit)
  }

  /** The same without reading; undefined when all of the group is not there. */
  heldGroup(
    file: DiskFile,
    position: number,
    place: Place,
    maxGroupBytes: number,
    limit: number,
  ): WindowGroup | undefined {
    const head = this.#heldBytes(file, position, this.#alignment, limit)
    const header = head && readGroupHeader(head, 0, place, maxGroupBytes)
    if (header === undefined) return undefined
    const length = groupEnd(header, this.#alignment) - place.lsn
    const bytes = this.#heldBytes(file, position, length, limit)
    return bytes && this.#verified(bytes, header, length, position, place, maxGroupBytes, limit)
  }

  #verified(
    bytes: Uint8Array,
    header: GroupInfo,
    length: number,
    position: number,
    place: Place,
    maxGroupBytes: number,
    limit: number,
  ): WindowGroup {
    if (position + length > limit) return { found: { kind: 'torn', group: header }, bytes }
    return { found: verifyGroup(bytes, 0, place, maxGroupBytes), bytes }
  }

  /** Nobody looks any more at what it gave, and no read is under way; it can be used again all the same. */
  release(): void {
    this.forget()
    if (this.#buffer !== undefined) returnBuffer(this.#buffer)
    this.#buffer = undefined
    this.#spare = undefined
  }

  /** Views of the bytes that it gave have length 0 from now on; what it holds it still has. */
  revoke(): void {
    if (this.#buffer === undefined) return
    const renewed = renewBuffer(this.#buffer)
    if (this.#held?.buffer === this.#buffer) this.#held.buffer = renewed
    this.#buffer = renewed
  }

  /** What was read may have changed since. */
  forget(): void {
    this.#held = undefined
    // The disk may still be writing into its buffer, which nobody else is lent: the read owns it until then.
    this.#ahead = undefined
  }

  /** Undefined when what is wanted is not all there. */
  #heldBytes(
    file: DiskFile,
    position: number,
    want: number,
    limit: number,
  ): Uint8Array | undefined {
    const end = Math.min(position + want, limit)
    if (end <= position) return NOTHING
    const held = this.#held
    const isThere = held?.file === file && position >= held.from && end <= held.from + held.length
    return isThere ? this.#bytesFrom(position, limit) : undefined
  }

  #bytesFrom(position: number, limit: number): Uint8Array {
    const { buffer, from, at, length } = this.#held!
    const last = Math.min(from + length, limit)
    return buffer.bytes.subarray(at + position - from, at + Math.max(last, position) - from)
  }

  async #read(
    file: DiskFile,
    position: number,
    want: number,
    limit: number,
    hold: Hold | undefined,
  ): Promise<void> {
    const held = this.#held
    const goesOn =
      held?.file === file && position >= held.from && position <= held.from + held.length
    if (goesOn && (await this.#takeAhead(position, Math.min(position + want, limit)))) {
      this.#readAhead(file, limit, hold)
      return
    }
    const from = alignDown(position, this.#alignment)
    const length = Math.min(WINDOW_BYTES, alignUp(limit - from, this.#alignment))
    this.forget()
    if (this.#buffer === undefined || this.#buffer.bytes.length < length) {
      this.release()
      this.#buffer = borrowBuffer(length)
    }
    const buffer = this.#buffer
    const read = await file.read(buffer, 0, length, from)
    this.#held = { file, buffer, from, at: 0, length: read }
    if (goesOn) this.#readAhead(file, limit, hold)
  }

  /** Begins to read what comes behind the bytes at hand. */
  #readAhead(file: DiskFile, limit: number, hold: Hold | undefined): void {
    const { from: heldFrom, length: heldLength } = this.#held!
    const from = heldFrom + heldLength
    const length = Math.min(WINDOW_BYTES, alignUp(limit - from, this.#alignment))
    if (hold === undefined || length <= 0 || from % this.#alignment !== 0) return
    const buffer = this.#spare ?? allocateBuffer(BUFFER_BYTES)
    this.#spare = undefined
    const stretch: Stretch = { file, buffer, from, at: CARRY_BYTES, length: 0 }
    const read = async () => {
      stretch.length = await file.read(buffer, CARRY_BYTES, length, from)
    }
    this.#ahead = { stretch, done: hold(read).catch(() => {}) }
  }

  /** What was read ahead takes the place of what is at hand; false when it does not have all up to `end`. */
  async #takeAhead(position: number, end: number): Promise<boolean> {
    const ahead = this.#ahead
    if (ahead === undefined) return false
    await ahead.done
    const [held, next] = [this.#held, ahead.stretch]
    // Meanwhile somebody may have said that all of it is to be forgotten.
    if (this.#ahead !== ahead || held === undefined) return false
    const carried = Math.max(0, next.from - alignDown(position, this.#alignment))
    const isWhole = end <= next.from + next.length
    if (next.length === 0 || !isWhole || carried > Math.min(CARRY_BYTES, held.length)) return false
    const tail = held.at + held.length
    next.buffer.bytes.set(held.buffer.bytes.subarray(tail - carried, tail), next.at - carried)
    next.at -= carried
    next.from -= carried
    next.length += carried
    if (held.buffer.bytes.length >= BUFFER_BYTES) this.#spare = held.buffer
    else returnBuffer(held.buffer)
    this.#buffer = next.buffer
    this.#held = next
    this.#ahead = undefined
    return true
  }
}

const NOTHING = new Uint8Array()

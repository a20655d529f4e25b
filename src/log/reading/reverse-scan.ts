import {
  RECORD_CONTINUATION,
  RECORD_GOES_ON,
  recordsOf,
  type StoredRecord,
} from '../../segment/group.ts'
import { Window } from '../../segment/window.ts'
import type { LogRecord } from '../records/record.ts'
import type { Position, Reader } from './reader.ts'
import { RecordIterator } from './record-iterator.ts'
import type { Source } from './scan.ts'

/**
 * The records from the last at or before `from` back to the oldest. Groups have no way back, so a
 * stretch of them, of one to two groups of the longest kind, is walked forward by its headers; then its
 * groups are verified and given from the last to the first. Beside the 4 MiB of its window it holds
 * the places of a stretch's groups and of one group's records (at most 65,536), some 4 MiB at most, and
 * one record that is longer than a group.
 */
export class ReverseScan extends RecordIterator<LogRecord> {
  #reader: Reader
  readonly #window: Window
  readonly #from: number
  readonly #source: Source | undefined
  #to: number
  readonly #check: () => void
  /** What was trimmed when the scan began; it gives nothing before. */
  #least: number
  /** All that is left lies before this LSN. */
  #reached: number
  /** Groups that begin before `lsn` are left in this segment. */
  #position: Position | undefined
  /** Places of groups before `#position`, oldest first. */
  #groups: number[] = []
  #bytes: Uint8Array = new Uint8Array()
  /** Records of the group at hand, oldest first. */
  #records: StoredRecord[] = []
  /** The last of them, whole, where it goes on in the groups behind. */
  #long: Buffer | undefined
  #rewindsSeen: number
  #started = false
  #hasGiven = false

  /**
   * @param to the end of what is to be read
   * @param check throws when the log has been closed meanwhile
   * @param source tells the reader and the end when the scan begins
   */
  constructor(reader: Reader, from: number, to: number, check: () => void, source?: Source) {
    super()
    this.#reader = reader
    this.#window = new Window(reader.alignment)
    this.#from = from
    this.#to = to
    this.#check = check
    this.#source = source
    this.#least = reader.trimLsn
    this.#reached = Math.min(from, to)
    this.#rewindsSeen = reader.rewinds.length
  }

  protected check(): void {
    this.#check()
    const { rewinds } = this.#reader
    if (rewinds.length === this.#rewindsSeen) return
    // Before the first record it begins at what is the end by now.
    if (this.#started) this.#reader.refuseRewound(this.#reached, this.#rewindsSeen)
    this.#to = Math.min(this.#to, ...rewinds.slice(this.#rewindsSeen))
    this.#rewindsSeen = rewinds.length
  }

  protected itemAtHand(): LogRecord | undefined {
    const place = this.#records.pop()
    if (place === undefined) return undefined
    const { lsn, flags, from, to } = place
    this.#reached = lsn
    this.#hasGiven = true
    const long = this.#long
    this.#long = undefined
    if ((flags & RECORD_GOES_ON) !== 0) return { lsn, data: long! }
    const bytes = Buffer.from(this.#bytes.subarray(from, to))
    return this.#reader.fragments().take({ segment: this.#position!.segment, lsn, flags, bytes })
  }

  protected async advance(): Promise<boolean> {
    if (!this.#started) await this.#begin()
    try {
      return await this.#nextGroup()
    } catch (error) {
      const other = await this.#source?.again?.(error)
      if (other === undefined) throw error
      this.#goOnWith(other.reader)
      return true
    }
  }

  async #begin(): Promise<void> {
    const more = await this.#source?.more(0)
    if (more !== undefined) {
      this.#reader = more.reader
      this.#to = more.to
      this.#least = more.reader.trimLsn
      this.#reached = Math.min(this.#from, more.to)
    }
    this.#position = this.#reader.startBefore(this.#from, this.#to)
    this.#started = true
  }

  /** Another view of the log, from where this one ends. */
  #goOnWith(reader: Reader): void {
    if (this.#hasGiven) reader.refuseGone(this.#reached)
    this.#reader = reader
    this.#window.forget()
    this.#groups = []
    this.#records = []
    this.#long = undefined
    this.#position = reader.startBefore(this.#hasGiven ? this.#reached - 1 : this.#from, this.#to)
  }

  /** False when nothing is left. */
  async #nextGroup(): Promise<boolean> {
    for (;;) {
      this.#check()
      const position = this.#position
      if (position === undefined || position.lsn <= this.#least) return false
      const lsn = this.#groups.pop()
      if (lsn !== undefined) {
        await this.#take({ segment: position.segment, lsn })
        return true
      }
      if (position.lsn > position.segment.base + this.#reader.alignment) {
        const end = this.#endIn(position)
        this.#groups = await this.#reader.groupsBefore(position, end, this.#window)
      } else {
        this.#position = this.#reader.previous(position.segment, this.#least)
      }
    }
  }

  protected release(): void {
    this.#groups = []
    this.#records = []
    this.#long = undefined
    this.#source?.end?.()
  }

  async #take(position: Position): Promise<void> {
    const loaded = await this.#reader.group(position, this.#endIn(position), this.#window)
    this.#check()
    this.#reader.refuseTrimmed(loaded)
    this.#position = position
    this.#bytes = loaded.bytes
    const end = Math.min(position.segment.cut, this.#to, this.#from + 1)
    // What another view had given already, it does not give again.
    const most = this.#hasGiven ? this.#reached : end
    const lives = ({ lsn, flags }: StoredRecord) =>
      lsn >= this.#least && lsn < end && lsn < most && (flags & RECORD_CONTINUATION) === 0
    this.#records = [...recordsOf(loaded.bytes, 0, loaded.group)].filter(lives)
    const last = this.#records.at(-1)
    const goesOn = last !== undefined && (last.flags & RECORD_GOES_ON) !== 0
    this.#long = goesOn ? await this.#reader.read(last.lsn) : undefined
  }

  #endIn({ segment }: Position): number {
    return Math.min(segment.cut, this.#to)
  }
}

import { GROUP_HEADER_BYTES } from '../../segment/format.ts'
import { RECORD_CONTINUATION, RECORD_GOES_ON, RecordCursor } from '../../segment/group.ts'
import { RecordCopies } from '../../segment/record-copies.ts'
import { RecordViews } from '../../segment/record-views.ts'
import { Window } from '../../segment/window.ts'
import type { Fragments } from '../records/fragments.ts'
import type { LogRecord } from '../records/record.ts'
import type { LiveSegment } from '../segments/live-chain.ts'
import type { LoadedGroup, Position, Reader } from './reader.ts'
import { RecordIterator } from './record-iterator.ts'

/** What a scan goes on with: how far, and who reads that far. */
export interface More {
  readonly to: number
  readonly reader: Reader
}

/** Of a scan that does not know from its beginning how far it goes. */
export interface Source {
  /** Waits until there is something behind `to`; undefined: nothing more comes. */
  more(to: number): Promise<More | undefined>
  /** After damage: another view, in which it may be whole; undefined: it is damage. */
  again?(error: unknown): Promise<More | undefined>
  /** Called when the loop is left or has come to its end. */
  end?(): void
}

/** Where the bytes of records come from that are handed out. */
interface RecordBytes {
  /** A group, whose last record ends at `end` in `bytes`. */
  begin(bytes: Uint8Array, end: number): void
  /** Of its next record, or of a fragment, which is kept while the groups behind it are read. */
  take(from: number, to: number, isFragment: boolean): Buffer
}

/** Walks the groups that hold the records from the first at or after `from` up to `to`, in order. */
abstract class GroupWalk<Item> extends RecordIterator<Item> {
  #reader: Reader
  protected readonly window: Window
  #from: number
  /** The same, where 0 stands for the beginning. */
  #least: number
  #to: number
  readonly #source: Source | undefined
  readonly #check: () => void
  #position: Position | undefined
  /** The end of the last group that was read. */
  #reached: number
  readonly #recordBytes: RecordBytes
  #records: RecordCursor | undefined
  /** Of the group at hand. */
  #segment: LiveSegment | undefined
  #fragments: Fragments
  /** Nothing at or behind this LSN lives of the group at hand. */
  #cut = 0
  #rewindsSeen: number
  #started = false

  constructor(
    recordBytes: RecordBytes,
    reader: Reader,
    from: number,
    to: number,
    check: () => void,
    source: Source | undefined,
  ) {
    super()
    this.#recordBytes = recordBytes
    this.#reader = reader
    this.window = new Window(reader.alignment)
    this.#fragments = reader.fragments()
    this.#from = from
    this.#reached = from
    this.#least = from === 0 ? reader.trimLsn : from
    this.#to = to
    this.#check = check
    this.#source = source
    this.#rewindsSeen = reader.rewinds.length
  }

  protected check(): void {
    this.#check()
    const { rewinds } = this.#reader
    if (rewinds.length === this.#rewindsSeen) return
    this.#reader.refuseRewound(this.#reached, this.#rewindsSeen)
    this.#to = Math.min(this.#to, ...rewinds.slice(this.#rewindsSeen))
    // It may stand at the beginning of a segment that is gone, of which it has read nothing.
    if (this.#position?.segment.retired) this.#goOnWith(this.#reader)
    this.#rewindsSeen = rewinds.length
  }

  /** The next record of the group at hand. */
  protected recordInGroup(): LogRecord | undefined {
    const records = this.#records
    while (records?.next()) {
      const { lsn, flags, from, to } = records
      if (lsn < this.#least) {
        this.#fragments.pass()
        continue
      }
      if (lsn >= this.#cut) break
      const bytes = this.#recordBytes.take(from, to, isFragment(flags))
      const value = this.#fragments.take({ segment: this.#segment!, lsn, flags, bytes })
      if (value !== undefined) return value
    }
    return undefined
  }

  /** What is left of the group at hand is of no interest. */
  protected leaveGroup(): void {
    this.#records = undefined
  }

  protected async advance(): Promise<boolean> {
    try {
      if (await this.#nextGroup()) return true
    } catch (error) {
      const other = await this.#source?.again?.(error)
      if (other === undefined) throw error
      this.#goOnWith(other.reader)
      return true
    }
    const more = this.isDone ? undefined : await this.#source?.more(this.#to)
    if (more === undefined) {
      // A rewind may have dropped the place where it was to begin, while that was looked for.
      if (!this.isDone) this.check()
      this.window.release()
      return false
    }
    this.#to = more.to
    if (more.reader !== this.#reader) this.#goOnWith(more.reader)
    this.check()
    return true
  }

  protected release(): void {
    this.#source?.end?.()
  }

  /** Another view of the log, from where this one ends. */
  #goOnWith(reader: Reader): void {
    if (this.#reached !== this.#from) reader.refuseGone(this.#reached)
    const begunAt = this.#fragments.begunAt
    this.window.forget()
    this.#records = undefined
    this.#reader = reader
    this.#fragments = reader.fragments()
    this.#rewindsSeen = reader.rewinds.length
    this.#from = begunAt ?? this.#reached
    this.#least = this.#from === 0 ? reader.trimLsn : this.#from
    this.#started = false
    this.#position = undefined
  }

  /** False at the end of what is to be read. */
  async #nextGroup(): Promise<boolean> {
    if (this.#to === 0) return false
    if (!this.#started) {
      this.#position = await this.#reader.start(this.#from, this.window)
      this.#started = this.#position !== undefined
    }
    for (;;) {
      this.#check()
      const position = this.#position
      if (position === undefined || position.lsn >= this.#to) return false
      const end = Math.min(position.segment.cut, this.#to)
      if (position.lsn < end) {
        const loaded = await this.#reader.group(position, end, this.window, true)
        this.#enter(position.segment, loaded)
        // Otherwise it only led to the place.
        if (loaded.end > this.#least) this.#reader.refuseTrimmed(loaded)
        return true
      }
      const next = this.#reader.next(position.segment)
      if (next === undefined) return false
      this.#position = next
    }
  }

  /** The next group, if it takes no reading: small ones are at hand by the hundred. */
  protected enterGroupAtHand(): boolean {
    const position = this.#started ? this.#position : undefined
    if (position === undefined || position.lsn >= this.#to) return false
    const end = Math.min(position.segment.cut, this.#to)
    if (position.lsn >= end) return false
    const loaded = this.#reader.groupAtHand(position, end, this.window)
    if (loaded !== undefined) this.#enter(position.segment, loaded)
    return loaded !== undefined
  }

  #enter(segment: LiveSegment, loaded: LoadedGroup): void {
    this.#position = { segment, lsn: loaded.end }
    this.#reached = loaded.end
    this.#records = new RecordCursor(loaded.bytes, 0, loaded.group)
    this.#recordBytes.begin(loaded.bytes, GROUP_HEADER_BYTES + loaded.group.payloadBytes)
    this.#segment = segment
    this.#cut = segment.cut
  }
}

/** One record after the other, each a copy. */
export class Scan extends GroupWalk<LogRecord> {
  /** @param check throws when the log has been closed meanwhile */
  constructor(reader: Reader, from: number, to: number, check: () => void, source?: Source) {
    super(new RecordCopies(), reader, from, to, check, source)
  }

  protected itemAtHand(): LogRecord | undefined {
    do {
      const record = this.recordInGroup()
      if (record !== undefined) return record
    } while (this.enterGroupAtHand())
    return undefined
  }
}

/** A batch ends with a group as soon as it has so many records: a read of short ones holds 150,000. */
const BATCH_RECORDS = 4096

/** Records by the batch, as views of the memory that they were read into. */
export class BatchScan extends GroupWalk<LogRecord[]> {
  #hasLent = false
  /** To be thrown behind the records that stand before what it tells of. */
  #failure: { readonly error: unknown } | undefined

  /** @param check throws when the log has been closed meanwhile */
  constructor(reader: Reader, from: number, to: number, check: () => void, source?: Source) {
    super(new RecordViews(), reader, from, to, check, source)
  }

  protected itemAtHand(): LogRecord[] | undefined {
    if (this.#hasLent) this.#takeBack()
    if (this.#failure !== undefined) throw this.#failure.error
    const batch: LogRecord[] = []
    try {
      do {
        for (let record = this.recordInGroup(); record; record = this.recordInGroup()) {
          batch.push(record)
        }
      } while (batch.length < BATCH_RECORDS && this.enterGroupAtHand())
    } catch (error) {
      if (batch.length === 0) throw error
      this.#failure = { error }
    }
    this.#hasLent = batch.length > 0
    return this.#hasLent ? batch : undefined
  }

  /** The next read may write where the views of the last batch look. */
  #takeBack(): void {
    this.#hasLent = false
    this.leaveGroup()
    this.window.revoke()
  }
}

function isFragment(flags: number): boolean {
  return (flags & (RECORD_GOES_ON | RECORD_CONTINUATION)) !== 0
}

import { recordsOf } from '../segment/group.ts'
import { Window } from '../segment/window.ts'
import type { Fragments } from './fragments.ts'
import type { LiveSegment } from './live-chain.ts'
import type { Position, Reader } from './reader.ts'

export interface LogRecord {
  readonly lsn: number
  readonly data: Buffer
}

/** Of a tail: waits until there is something behind `to`; gives the new end, and who reads up to it. */
export type More = (to: number) => Promise<{ readonly to: number; readonly reader: Reader }>

type Next = IteratorResult<LogRecord, undefined>

const END: Next = { done: true, value: undefined }

/**
 * The records from the first at or after `from` up to `to`, in order. An iterator by hand: an async
 * generator costs about as much for each record as reading it does.
 */
export class Scan implements AsyncIterableIterator<LogRecord> {
  #reader: Reader
  readonly #window: Window
  #from: number
  /** The same, where 0 stands for the beginning. */
  #least: number
  #to: number
  readonly #more: More | undefined
  readonly #check: () => void
  readonly #onEnd: (() => Promise<void>) | undefined
  #position: Position | undefined
  #bytes: Uint8Array = new Uint8Array()
  #records: ReturnType<typeof recordsOf> | undefined
  /** Of the group at hand. */
  #segment: LiveSegment | undefined
  #fragments: Fragments
  /** Nothing at or behind this LSN lives of the group at hand. */
  #cut = 0
  #rewindsSeen: number
  #started = false
  #done = false
  /** Calls of `next` that have not settled: those behind them wait their turn. */
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  /**
   * @param check throws when the log has been closed meanwhile
   * @param more of a tail
   * @param onEnd called when a tail's loop is left
   */
  constructor(
    reader: Reader,
    from: number,
    to: number,
    check: () => void,
    more?: More,
    onEnd?: () => Promise<void>,
  ) {
    this.#reader = reader
    this.#window = new Window(reader.alignment)
    this.#fragments = reader.fragments()
    this.#from = from
    this.#least = from === 0 ? reader.trimLsn : from
    this.#to = to
    this.#check = check
    this.#more = more
    this.#onEnd = onEnd
    this.#rewindsSeen = reader.rewinds.length
  }

  next(): Promise<Next> {
    if (this.#waiting === 0) {
      try {
        const record = this.#atHand()
        if (record !== undefined) return Promise.resolve(record)
      } catch (error) {
        return Promise.reject(error)
      }
    }
    this.#waiting++
    const result = this.#last.then(() => this.#atHand() ?? this.#readOn())
    const settled = () => {
      this.#waiting--
    }
    this.#last = result.then(settled, settled)
    return result
  }

  async return(): Promise<Next> {
    this.#done = true
    await this.#onEnd?.()
    return END
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** What needs no reading; undefined when it does. */
  #atHand(): Next | undefined {
    if (this.#done) return END
    try {
      this.#check()
      this.#checkRewinds()
      return this.#recordInGroup()
    } catch (error) {
      this.#done = true
      throw error
    }
  }

  #checkRewinds(): void {
    const { rewinds } = this.#reader
    if (rewinds.length === this.#rewindsSeen) return
    this.#reader.refuseRewound(this.#position?.lsn ?? this.#from, this.#rewindsSeen)
    this.#to = Math.min(this.#to, ...rewinds.slice(this.#rewindsSeen))
    this.#rewindsSeen = rewinds.length
  }

  #recordInGroup(): Next | undefined {
    for (;;) {
      const next = this.#records?.next()
      if (next === undefined || next.done) return undefined
      const { lsn, flags, from, to } = next.value
      if (lsn < this.#least) {
        this.#fragments.pass()
        continue
      }
      if (lsn >= this.#cut) return undefined
      const bytes = this.#bytes.subarray(from, to)
      const value = this.#fragments.take({ segment: this.#segment!, lsn, flags, bytes })
      if (value !== undefined) return { done: false, value }
    }
  }

  async #readOn(): Promise<Next> {
    try {
      while (!this.#done) {
        this.#check() // a log that closes waits for the read before this one, not for the next
        if (await this.#nextGroup()) {
          const record = this.#recordInGroup()
          if (record !== undefined) return record
        } else if (this.#more !== undefined && !this.#done) {
          const { to, reader } = await this.#more(this.#to)
          this.#to = to
          if (reader !== this.#reader) this.#goOnWith(reader)
          this.#check()
          this.#checkRewinds()
        } else {
          break
        }
      }
    } catch (error) {
      if (this.#done) return END // the loop was left meanwhile
      this.#done = true
      throw error
    }
    this.#done = true
    return END
  }

  /** Another view of the log, from where this one ends. */
  #goOnWith(reader: Reader): void {
    this.#reader = reader
    this.#fragments = reader.fragments()
    this.#rewindsSeen = reader.rewinds.length
    const reached = this.#position?.lsn
    if (reached !== undefined) this.#from = reached
    this.#least = this.#from === 0 ? reader.trimLsn : this.#from
    this.#started = false
    this.#position = undefined
  }

  /** False at the end of what is to be read. */
  async #nextGroup(): Promise<boolean> {
    if (this.#to === 0) return false
    if (!this.#started) {
      this.#position = await this.#reader.start(this.#from, this.#window)
      this.#started = this.#position !== undefined
    }
    for (;;) {
      const position = this.#position
      if (position === undefined || position.lsn >= this.#to) return false
      const end = Math.min(position.segment.cut, this.#to)
      if (position.lsn < end) {
        const loaded = await this.#reader.group(position, end, this.#window)
        this.#position = { segment: position.segment, lsn: loaded.end }
        if (loaded.end <= this.#least) continue // it only led to the place
        this.#reader.refuseTrimmed(loaded)
        this.#records = recordsOf(loaded.bytes, 0, loaded.group)
        this.#bytes = loaded.bytes
        this.#segment = position.segment
        this.#cut = position.segment.cut
        return true
      }
      const next = this.#reader.next(position.segment)
      if (next === undefined) return false
      this.#position = next
    }
  }
}

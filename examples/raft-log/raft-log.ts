/**
 * The entries of a Raft server. Each is a record of riolog, in the order of the indexes; in memory there is the term
 * and the LSN of each, read from the log when it is opened.
 *
 * ```
 *   index     4      5      6      7
 *           ┌──────┬──────┬──────┬──────┐
 *   term    │  2   │  2   │  3   │  3   │       accept(5, 2, [{ term: 4, … }]):
 *   LSN     │ 9064 │ 9128 │ 9192 │ 9256 │       entry 6 conflicts ──► log.rewind(9192), and then append
 *           └──────┴──────┴──────┴──────┘
 *             base: what is before it is in a snapshot, and trimmed: compact(4) ──► log.trim(9064)
 * ```
 *
 * The last entry of the snapshot, the base, stays in the log: the entries behind it are checked against its term.
 *
 * One change at a time, and none is durable before `flush`: several that follow each other share its sync. The
 * entries are appended one by one and not by `appendBatch`, for a conflict may begin at any of them, and inside of a
 * long batch nothing can be rewound to. Raft does not need more: a part of what came is a log, too.
 */

// Your own code imports from 'riolog'.
import type { Log } from '../../src/index.ts'
import { decode, type Entry, encodeEntry, encodeSnapshot } from './entry.ts'
import { RaftError } from './errors.ts'

interface Place {
  readonly term: number
  readonly lsn: number
}

/** Before the first entry there is one of index 0 and term 0, which all servers have. */
const NOTHING: Place = { term: 0, lsn: 0 }

export class RaftLog {
  readonly #log: Log
  #baseIndex = 0
  /** Of the base, and of all entries behind it. */
  #places: Place[] = [NOTHING]

  private constructor(log: Log) {
    this.#log = log
  }

  /** @throws ERR_RAFT_CORRUPT, or what `log.scan` throws */
  static async open(log: Log): Promise<RaftLog> {
    const entries = new RaftLog(log)
    for await (const { lsn, data } of log.scan()) entries.#found(lsn, data)
    return entries
  }

  #found(lsn: number, record: Buffer): void {
    const { kind, term, index } = decode(record)
    // The log begins with the base when it was compacted, and with entry 1 when it never was.
    if (kind === 'snapshot' || lsn === this.#log.trimLsn) {
      this.#startAt(index, { term, lsn })
      return
    }
    if (index !== this.lastIndex + 1 || term < this.lastTerm) {
      const last = `entry ${this.lastIndex} of term ${this.lastTerm}`
      throw new RaftError('ERR_RAFT_CORRUPT', `entry ${index} of term ${term} is behind ${last}`)
    }
    this.#places.push({ term, lsn })
  }

  /** The last entry that is in a snapshot; 0: there is none. */
  get baseIndex(): number {
    return this.#baseIndex
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#places.length - 1
  }

  get lastTerm(): number {
    return this.#places[this.#places.length - 1].term
  }

  /** The term of an entry from the base on; undefined of any other. */
  termAt(index: number): number | undefined {
    return this.#places[index - this.#baseIndex]?.term
  }

  /**
   * Entries from an index on, at most so many; also those that are not durable yet, as a leader may send them before.
   * @throws ERR_RAFT_COMPACTED, or what `log.read` throws
   */
  async entries(from: number, most: number): Promise<Entry[]> {
    if (from <= this.#baseIndex) {
      throw new RaftError('ERR_RAFT_COMPACTED', `entry ${from} is in the snapshot`)
    }
    const at = from - this.#baseIndex
    const places = this.#places.slice(at, at + most)
    const records = await this.#log.readMany(places.map(({ lsn }) => lsn))
    return records.map(record => {
      const { index, term, data } = decode(record)
      return { index, term, data }
    })
  }

  /**
   * Appends an entry behind the last.
   * @throws what `log.append` throws, but for ERR_RIOLOG_BACKPRESSURE: then it waits
   */
  async append(term: number, data: Uint8Array): Promise<void> {
    const record = encodeEntry({ term, index: this.lastIndex + 1, data })
    this.#places.push({ term, lsn: await this.#append(record) })
  }

  async #append(record: Buffer): Promise<number> {
    for (;;) {
      try {
        return this.#log.append(record)
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
        await this.#log.drain()
      }
    }
  }

  /**
   * What a leader sends: Raft's AppendEntries, rules 2 to 4.
   * @returns false when this log has no entry `prevIndex` of `prevTerm`; nothing has changed then
   * @throws ERR_RAFT_COMMITTED, and what {@link append} and `log.rewind` throw: a part of the entries may be taken
   */
  async accept(
    prevIndex: number,
    prevTerm: number,
    entries: readonly { readonly term: number; readonly data: Uint8Array }[],
  ): Promise<boolean> {
    // What is before the base is committed, and all leaders have the same there.
    if (prevIndex >= this.#baseIndex && this.termAt(prevIndex) !== prevTerm) return false
    for (const [i, { term, data }] of entries.entries()) {
      const index = prevIndex + 1 + i
      // One that is there already stays, with all behind it: this may be a message that was late.
      if (index < this.#baseIndex || this.termAt(index) === term) continue
      if (index <= this.lastIndex) await this.#dropFrom(index)
      await this.append(term, data)
    }
    return true
  }

  /** An entry that conflicts, and all that follow it: durable when it resolves. */
  async #dropFrom(index: number): Promise<void> {
    if (index <= this.#baseIndex) {
      throw new RaftError(
        'ERR_RAFT_COMMITTED',
        `entry ${index} is in the snapshot, of another term`,
      )
    }
    const at = index - this.#baseIndex
    await this.#log.rewind(this.#places[at].lsn)
    this.#places.length = at
  }

  /** Resolves when all that was appended is durable. @throws ERR_RIOLOG_POISONED */
  async flush(): Promise<void> {
    await this.#log.flush()
  }

  /**
   * Gives up the entries before one that a snapshot ends with. The snapshot must be durable: nothing else has them.
   * @throws ERR_RAFT_NO_ENTRY, or what `log.trim` throws
   */
  async compact(index: number): Promise<void> {
    if (index <= this.#baseIndex) return
    const place = this.#places[index - this.#baseIndex]
    if (place === undefined) throw new RaftError('ERR_RAFT_NO_ENTRY', `there is no entry ${index}`)
    await this.#log.flush() // A log is trimmed up to what is durable.
    await this.#log.trim(place.lsn)
    this.#places = this.#places.slice(index - this.#baseIndex)
    this.#baseIndex = index
  }

  /**
   * Begins anew behind a snapshot that came from the leader, and that must be durable. One record says so, and so a
   * crash leaves the old log or the new one: the trim behind it only frees space.
   * @throws what `log.append` and `log.trim` throw
   */
  async restart(index: number, term: number): Promise<void> {
    const lsn = await this.#append(encodeSnapshot(term, index))
    await this.#log.flush()
    this.#startAt(index, { term, lsn })
    await this.#log.trim(lsn)
  }

  #startAt(index: number, place: Place): void {
    this.#baseIndex = index
    this.#places = [place]
  }

  close(): Promise<void> {
    return this.#log.close()
  }
}

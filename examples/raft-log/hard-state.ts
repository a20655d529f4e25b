/**
 * The current term, and whom this server has voted for in it: what a server must not forget, or it votes twice and
 * two leaders are elected in one term.
 *
 * It has a log of its own, of which the newest record counts. In the log of the entries it would be wrong: a
 * conflict rewinds that one, and with the entries behind the cut every vote behind it would be gone. An append is one
 * write and one sync, where a file that takes the place of another one costs two syncs and a rename.
 */

// Your own code imports from 'riolog'.
import type { Log } from '../../src/index.ts'
import { RaftError } from './errors.ts'

export interface Ballot {
  readonly term: number
  /** A candidate's id; null: nobody yet. */
  readonly votedFor: string | null
}

const VERSION = 1
/** When older records are given up: with segments of 64 KiB, the log stays within some of them. */
const TRIM_BYTES = 128 * 1024

export class HardState {
  readonly #log: Log
  #current: Ballot

  private constructor(log: Log, current: Ballot) {
    this.#log = log
    this.#current = current
  }

  static async open(log: Log): Promise<HardState> {
    for await (const { data } of log.scan({ reverse: true }))
      return new HardState(log, decode(data))
    return new HardState(log, { term: 0, votedFor: null })
  }

  get current(): Ballot {
    return this.#current
  }

  /**
   * Resolves when it is durable, and only then is it in force: one call at a time.
   * @throws ERR_RIOLOG_NO_SPACE: nothing has changed
   * @throws ERR_RIOLOG_POISONED: the next opening decides; until then nothing can be saved, so no vote is given
   */
  async save(ballot: Ballot): Promise<void> {
    const text = JSON.stringify({ term: ballot.term, votedFor: ballot.votedFor })
    const lsn = await this.#log.appendDurable(
      Buffer.concat([Buffer.of(VERSION), Buffer.from(text)]),
    )
    this.#current = ballot
    if (lsn - this.#log.trimLsn > TRIM_BYTES) await this.#log.trim(lsn)
  }

  close(): Promise<void> {
    return this.#log.close()
  }
}

function decode(record: Buffer): Ballot {
  if (record[0] !== VERSION) {
    throw new RaftError('ERR_RAFT_CORRUPT', `a ballot of version ${record[0]}`)
  }
  return JSON.parse(String(record.subarray(1)))
}

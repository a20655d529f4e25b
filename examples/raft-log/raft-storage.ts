/**
 * What a Raft server keeps on its disk, and the receivers of the three calls that change it, as in figures 2 and 13
 * of Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm". Timers, the network, the state
 * machine and its snapshots are yours.
 *
 * ```ts
 * const storage = await RaftStorage.open('data')
 * const answer = await storage.appendEntries(request)   // durable when it resolves: send it
 * ```
 *
 * Every decision is made in turn, against the term and the log as the decisions before it have left them: an old
 * leader's entries that were taken behind a vote for a new one could be committed and then overwritten. Only for the
 * sync of its entries a call waits outside of its turn, so that calls that come together share one.
 */
import { join } from 'node:path'
// Your own code imports from 'riolog'.
import { Log, type LogOptions } from '../../src/index.ts'
import type { Entry } from './entry.ts'
import { RaftError } from './errors.ts'
import { HardState } from './hard-state.ts'
import { RaftLog } from './raft-log.ts'

export interface AppendEntries {
  readonly term: number
  readonly prevLogIndex: number
  readonly prevLogTerm: number
  /** Those behind `prevLogIndex`. */
  readonly entries: readonly { readonly term: number; readonly data: Uint8Array }[]
}

export interface RequestVote {
  readonly term: number
  readonly candidateId: string
  readonly lastLogIndex: number
  readonly lastLogTerm: number
}

export interface InstallSnapshot {
  readonly term: number
  readonly lastIncludedIndex: number
  readonly lastIncludedTerm: number
}

/** Ballots are few and short. */
const STATE_OPTIONS: LogOptions = { segmentSize: 64 * 1024 }

export class RaftStorage {
  readonly #entries: RaftLog
  readonly #state: HardState
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(entries: RaftLog, state: HardState) {
    this.#entries = entries
    this.#state = state
  }

  /**
   * Opens or creates the two logs in a directory.
   * @param options of the log of the entries; the engine is for both
   * @throws ERR_RAFT_CORRUPT, or an error of the logs
   */
  static async open(path: string, options: LogOptions = {}): Promise<RaftStorage> {
    const { engine } = options
    const entries = await Log.open(join(path, 'entries'), options)
    try {
      const stateOptions = { ...STATE_OPTIONS, ...(engine && { engine }) }
      const state = await Log.open(join(path, 'state'), stateOptions)
      return await RaftStorage.on(entries, state)
    } catch (error) {
      await entries.close()
      throw error
    }
  }

  /** The same on logs that are open already; it closes them, also when it fails. */
  static async on(entriesLog: Log, stateLog: Log): Promise<RaftStorage> {
    try {
      const [entries, state] = [await RaftLog.open(entriesLog), await HardState.open(stateLog)]
      const { term } = state.current
      // An entry is appended only when its term is durable.
      if (entries.lastTerm > term) {
        const message = `an entry of term ${entries.lastTerm}, and the current term is ${term}`
        throw new RaftError('ERR_RAFT_CORRUPT', message)
      }
      return new RaftStorage(entries, state)
    } catch (error) {
      await Promise.all([entriesLog.close(), stateLog.close()])
      throw error
    }
  }

  get term(): number {
    return this.#state.current.term
  }

  /** In this term; null: nobody yet. */
  get votedFor(): string | null {
    return this.#state.current.votedFor
  }

  get lastIndex(): number {
    return this.#entries.lastIndex
  }

  get lastTerm(): number {
    return this.#entries.lastTerm
  }

  /** The last entry that is in a snapshot; 0: there is none. */
  get baseIndex(): number {
    return this.#entries.baseIndex
  }

  /** The term of an entry from the base on; undefined of any other. */
  termAt(index: number): number | undefined {
    return this.#entries.termAt(index)
  }

  /** As {@link RaftLog.entries}: what a leader sends, and what is applied once it is committed. */
  entries(from: number, most: number): Promise<Entry[]> {
    return this.#entries.entries(from, most)
  }

  /**
   * A leader's entries, in a follower. With `success` they are durable, and so is all before them.
   * @throws ERR_RAFT_COMMITTED, or an error of the logs: answer nothing then. After ERR_RIOLOG_POISONED nothing goes
   *   on until it is opened again
   */
  async appendEntries(request: AppendEntries): Promise<{ term: number; success: boolean }> {
    const { prevLogIndex, prevLogTerm, entries } = request
    const success = await this.#inTurn(async () => {
      if (!(await this.#isOfNow(request.term))) return false
      return this.#entries.accept(prevLogIndex, prevLogTerm, entries)
    })
    if (success) await this.#entries.flush()
    return { term: this.term, success }
  }

  /**
   * A candidate asks for this server's vote. A vote that is granted is durable.
   * @throws an error of the log: answer nothing then
   */
  requestVote(request: RequestVote): Promise<{ term: number; voteGranted: boolean }> {
    return this.#inTurn(async () => {
      const { current } = this.#state
      const { term, candidateId } = request
      if (term < current.term) return { term: current.term, voteGranted: false }
      const votedFor = term > current.term ? null : current.votedFor
      const isFree = votedFor === null || votedFor === candidateId
      const voteGranted = isFree && this.#isUpToDate(request)
      await this.#save({ term, votedFor: voteGranted ? candidateId : votedFor })
      return { term, voteGranted }
    })
  }

  /** Begins a term and votes for oneself; resolves to the term when that is durable. */
  startElection(id: string): Promise<number> {
    return this.#inTurn(async () => {
      const term = this.term + 1
      await this.#save({ term, votedFor: id })
      return term
    })
  }

  /**
   * Appends entries as the leader of a term.
   * @returns the index of the last one when it is durable here: from then on this server counts for its commit
   * @throws ERR_RAFT_STALE_TERM, or an error of the log
   */
  async propose(term: number, commands: readonly Uint8Array[]): Promise<number> {
    const index = await this.#inTurn(async () => {
      if (term !== this.term) {
        throw new RaftError('ERR_RAFT_STALE_TERM', `term ${term} is over: it is ${this.term}`)
      }
      for (const command of commands) await this.#entries.append(term, command)
      return this.#entries.lastIndex
    })
    await this.#entries.flush()
    return index
  }

  /** The state machine has a durable snapshot that ends with this entry: those before it are given up. */
  compact(index: number): Promise<void> {
    return this.#inTurn(() => this.#entries.compact(index))
  }

  /** A leader's snapshot has come, and is durable. */
  installSnapshot(request: InstallSnapshot): Promise<{ term: number }> {
    return this.#inTurn(async () => {
      const { lastIncludedIndex: index, lastIncludedTerm } = request
      if ((await this.#isOfNow(request.term)) && index > this.baseIndex) {
        // Where the entry is there, those behind it stay.
        if (this.termAt(index) === lastIncludedTerm) await this.#entries.compact(index)
        else await this.#entries.restart(index, lastIncludedTerm)
      }
      return { term: this.term }
    })
  }

  async close(): Promise<void> {
    await this.#turn
    await Promise.all([this.#entries.close(), this.#state.close()])
  }

  /** A later term begins here, too, before anything of it is taken. */
  async #isOfNow(term: number): Promise<boolean> {
    if (term > this.term) await this.#save({ term, votedFor: null })
    return term === this.term
  }

  async #save(ballot: { term: number; votedFor: string | null }): Promise<void> {
    const { term, votedFor } = this.#state.current
    if (ballot.term === term && ballot.votedFor === votedFor) return
    await this.#state.save(ballot)
  }

  /** A candidate without an entry that may be committed must not lead. */
  #isUpToDate({ lastLogIndex, lastLogTerm }: RequestVote): boolean {
    if (lastLogTerm !== this.lastTerm) return lastLogTerm > this.lastTerm
    return lastLogIndex >= this.lastIndex
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const running = this.#turn.then(run)
    this.#turn = running.catch(() => {})
    return running
  }
}

/** Does the steps of the model to a real storage, and tells what may be found after a crash at any moment. */
import { isDeepStrictEqual } from 'node:util'
import type { RaftStorage } from '../../examples/raft-log/raft-storage.ts'
import {
  type Append,
  appended,
  type Cluster,
  compacted,
  dataOf,
  installed,
  isSame,
  NO_CLUSTER,
  type State,
  type Step,
  stateOf,
  voted,
  wrongEntries,
} from './raft-model.ts'

export interface Witness {
  /** A call begins: a crash may leave any of the states, in their order. */
  begun(call: number, states: readonly State[]): void
  /** It was answered: the last of its states is durable. */
  answered(call: number): void
  granted(term: number, candidate: string): void
  changed(cluster: Cluster): void
}

export class Driver {
  readonly #storage: RaftStorage
  readonly #witness: Witness
  state: State
  cluster: Cluster
  #calls: number
  /** Answers by kind and outcome: that all of them came is for the test to see. */
  readonly outcomes = new Map<string, number>()

  /** @param calls that were made before, in other lives */
  constructor(
    storage: RaftStorage,
    witness: Witness,
    { state, cluster = NO_CLUSTER, calls = 0 }: { state: State; cluster?: Cluster; calls?: number },
  ) {
    this.#storage = storage
    this.#witness = witness
    this.state = state
    this.cluster = cluster
    this.#calls = calls
  }

  async do(step: Step): Promise<void> {
    switch (step.kind) {
      case 'lead':
        return this.#lead(step.keeps)
      case 'send':
        return this.#send(step.count, step.back)
      case 'stale':
        return this.#sendStale(step.count)
      case 'vote':
        return this.#vote(step)
      case 'compact':
        return this.#compact(step.part)
      case 'install':
        return this.#install()
      case 'propose':
        return this.#propose(step.count)
    }
  }

  /** @throws when the storage is not what the model says */
  async check(): Promise<void> {
    const found = stateOf(this.#storage, this.state.terms)
    if (!isSame(found, this.state)) {
      throw new Error(`${JSON.stringify(found)} where ${JSON.stringify(this.state)} should be`)
    }
    const wrong = await wrongEntries(this.#storage)
    if (wrong !== undefined) throw new Error(wrong)
  }

  async #call<T>(
    kind: string,
    states: readonly State[],
    run: () => Promise<T>,
    expected: T,
  ): Promise<void> {
    const call = ++this.#calls
    this.#witness.begun(call, states)
    this.state = states.at(-1) ?? this.state
    const answer = await run()
    if (!isDeepStrictEqual(answer, expected)) {
      throw new Error(`${kind}: ${JSON.stringify(answer)}, not ${JSON.stringify(expected)}`)
    }
    this.#witness.answered(call)
    const outcome = `${kind} ${JSON.stringify(Object.values(Object(answer)).at(-1))}`
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
  }

  #change(cluster: Partial<Cluster>): void {
    this.cluster = { ...this.cluster, ...cluster }
    this.#witness.changed(this.cluster)
  }

  #lead(keeps: number): void {
    const { term, terms, committed } = this.cluster
    const kept = committed + Math.round(keeps * (terms.length - committed))
    const next = Math.max(term, this.state.term) + 1
    this.#change({ term: next, terms: terms.slice(0, kept), before: { term, terms } })
  }

  async #send(count: number, back: number): Promise<void> {
    const { term, terms } = this.cluster
    if (term === 0) return
    const all = [...terms, ...Array.from({ length: count }, () => term)]
    this.#change({ terms: all })
    // As a leader does that does not know where the two logs agree.
    let prev = Math.max(0, Math.min(terms.length, this.state.terms.length) - back)
    while (!(await this.#sendBehind(prev, all)) && prev > 0 && term >= this.state.term) prev--
  }

  /** In two messages, the second before the first is answered. */
  async #sendBehind(prev: number, all: readonly number[]): Promise<boolean> {
    const { term } = this.cluster
    const half = prev + Math.ceil((all.length - prev) / 2)
    const first = this.#append({ term, prev, terms: all.slice(prev, half) }, all)
    const second = this.#append({ term, prev: half, terms: all.slice(half) }, all)
    const [isThere] = await Promise.all([first, second])
    return isThere
  }

  async #append(message: Append, all: readonly number[]): Promise<boolean> {
    const { term, prev, terms } = message
    const prevTerm = prev === 0 ? 0 : all[prev - 1]
    const { states, success } = appended(this.state, message, prevTerm)
    const entries = terms.map((of, i) => ({ term: of, data: dataOf(prev + 1 + i, of) }))
    const request = { term, prevLogIndex: prev, prevLogTerm: prevTerm, entries }
    const expected = { term: Math.max(term, this.state.term), success }
    await this.#call('append', states, () => this.#storage.appendEntries(request), expected)
    if (success) this.#checkMatching(prev + terms.length, all)
    return success
  }

  /** Log matching: up to what was accepted, the two logs are the same. */
  #checkMatching(upTo: number, all: readonly number[]): void {
    for (let index = Math.max(1, this.#storage.baseIndex); index <= upTo; index++) {
      if (this.#storage.termAt(index) === all[index - 1]) continue
      throw new Error(`entry ${index} differs from the leader's`)
    }
  }

  async #sendStale(count: number): Promise<void> {
    const { term, terms } = this.cluster.before
    if (term === 0 || term >= this.state.term) return
    const all = [...terms, ...Array.from({ length: count }, () => term)]
    await this.#append({ term, prev: terms.length, terms: all.slice(terms.length) }, all)
  }

  async #vote({ ahead, candidate, log }: Step & { kind: 'vote' }): Promise<void> {
    const term = this.state.term + ahead
    const { terms } = this.cluster
    const lastLogIndex = Math.round(log * terms.length)
    const lastLogTerm = lastLogIndex === 0 ? 0 : terms[lastLogIndex - 1]
    const request = { term, candidateId: candidate, lastLogIndex, lastLogTerm }
    const { states, granted } = voted(this.state, request)
    const expected = { term, voteGranted: granted }
    await this.#call('vote', states, () => this.#storage.requestVote(request), expected)
    if (granted) this.#witness.granted(term, candidate)
  }

  /** What the two have in common, up to the part, is committed and in a snapshot. */
  async #compact(part: number): Promise<void> {
    const { terms, committed } = this.cluster
    let common = this.state.base
    while (common < terms.length && terms[common] === this.state.terms[common]) common++
    const index = Math.round(part * common)
    if (index <= this.state.base) return
    this.#change({ committed: Math.max(committed, index) })
    const states = compacted(this.state, index)
    await this.#call('compact', states, () => this.#storage.compact(index), undefined)
  }

  async #install(): Promise<void> {
    const { term, terms } = this.cluster
    if (terms.length === 0) return
    this.#change({ committed: terms.length })
    const states = installed(this.state, term, terms)
    const request = { lastIncludedIndex: terms.length, lastIncludedTerm: terms[terms.length - 1] }
    const run = () => this.#storage.installSnapshot({ term, ...request })
    await this.#call('install', states, run, { term: Math.max(term, this.state.term) })
  }

  /** This server wins an election, and leads for a while. */
  async #propose(count: number): Promise<void> {
    const { committed } = this.cluster
    // Only one with all that is committed can win, and only in a term without a leader.
    if (this.state.terms.length < committed || this.state.term < this.cluster.term) return
    const isOurs = this.state.terms.slice(0, committed).every((t, i) => t === this.cluster.terms[i])
    if (!isOurs) return
    const term = this.state.term + 1
    const elected = { ...this.state, term, votedFor: 'me' }
    await this.#call('elect', [elected], () => this.#storage.startElection('me'), term)
    this.#witness.granted(term, 'me')
    const from = this.state.terms.length
    const data = Array.from({ length: count }, (_, i) => dataOf(from + 1 + i, term))
    const states = data.map((_, i) => ({
      ...this.state,
      terms: [...this.state.terms, ...Array.from({ length: i + 1 }, () => term)],
    }))
    const { term: before, terms } = this.cluster
    this.#change({ term, terms: states[count - 1].terms, before: { term: before, terms } })
    await this.#call('propose', states, () => this.#storage.propose(term, data), from + count)
  }
}

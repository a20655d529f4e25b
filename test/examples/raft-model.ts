/**
 * A follower's persistent state as plain values, by figures 2 and 13 of the Raft paper, and the leaders that talk to
 * it. What each call does to the state is a list of states, for a crash may leave any of them.
 */
import type { RaftStorage, RequestVote } from '../../examples/raft-log/raft-storage.ts'

export interface State {
  readonly term: number
  readonly votedFor: string | null
  readonly base: number
  /** Of the entries 1, 2, …; those before the base count for nothing. */
  readonly terms: readonly number[]
}

/** As a leader sends it; what an entry holds follows from its index and term. */
export interface Append {
  readonly term: number
  readonly prev: number
  readonly terms: readonly number[]
}

export const EMPTY: State = { term: 0, votedFor: null, base: 0, terms: [] }

/** Another one for each index and term, from nothing to some KiB. */
export function dataOf(index: number, term: number): Buffer {
  const length = (index * 7919 + term * 104_729) % (index % 3 === 0 ? 4000 : 200)
  return Buffer.alloc(length, `${index} of ${term}. `)
}

const termOf = ({ terms }: State, index: number): number => (index === 0 ? 0 : terms[index - 1])

/** The states that it goes through, none when nothing changes, and whether the entries are there then. */
export function appended(state: State, { term, prev, terms }: Append, prevTerm: number) {
  const states: State[] = []
  if (term < state.term) return { states, success: false }
  let now = state
  const become = (next: Partial<State>) => {
    now = { ...now, ...next }
    states.push(now)
  }
  if (term > state.term) become({ term, votedFor: null })
  const isMissing = prev > now.terms.length
  if (isMissing || (prev >= now.base && termOf(now, prev) !== prevTerm)) {
    return { states, success: false }
  }
  terms.forEach((each, i) => {
    const index = prev + i + 1
    if (index <= now.base || termOf(now, index) === each) return
    if (index <= now.terms.length) become({ terms: now.terms.slice(0, index - 1) })
    become({ terms: [...now.terms, each] })
  })
  return { states, success: true }
}

export function voted(state: State, request: RequestVote) {
  const { term, candidateId, lastLogIndex, lastLogTerm } = request
  if (term < state.term) return { states: [], granted: false }
  const votedFor = term > state.term ? null : state.votedFor
  const ownTerm = termOf(state, state.terms.length)
  const isUpToDate =
    lastLogTerm > ownTerm || (lastLogTerm === ownTerm && lastLogIndex >= state.terms.length)
  const granted = isUpToDate && (votedFor === null || votedFor === candidateId)
  return { states: [{ ...state, term, votedFor: granted ? candidateId : votedFor }], granted }
}

export function compacted(state: State, index: number): State[] {
  return index > state.base ? [{ ...state, base: index }] : []
}

/** @param terms of all entries up to the snapshot's last */
export function installed(state: State, term: number, terms: readonly number[]): State[] {
  if (term < state.term) return []
  const states: State[] = []
  let now = state
  if (term > state.term) states.push((now = { ...now, term, votedFor: null }))
  const base = terms.length
  if (base <= now.base) return states
  const stays = now.terms.length >= base && termOf(now, base) === terms[base - 1]
  return [...states, { ...now, base, terms: stays ? now.terms : terms }]
}

/** What is stored, as the model has it; `history` knows the terms of what is before the base. */
export function stateOf(storage: RaftStorage, history: readonly number[]): State {
  const { term, votedFor, baseIndex: base, lastIndex } = storage
  const terms = Array.from({ length: lastIndex }, (_, i) =>
    i + 1 < base ? history[i] : storage.termAt(i + 1)!,
  )
  return { term, votedFor, base, terms }
}

/** Equal but for what is before the base. */
export function isSame(one: State, other: State): boolean {
  if (one.term !== other.term || one.votedFor !== other.votedFor || one.base !== other.base) {
    return false
  }
  if (one.terms.length !== other.terms.length) return false
  return one.terms.every((term, i) => i + 1 < one.base || term === other.terms[i])
}

/** What is wrong with the entries as they are read; undefined: nothing. */
export async function wrongEntries(storage: RaftStorage): Promise<string | undefined> {
  const { baseIndex, lastIndex } = storage
  const entries = await storage.entries(baseIndex + 1, Number.MAX_SAFE_INTEGER)
  if (entries.length !== lastIndex - baseIndex) return `${entries.length} up to ${lastIndex}`
  for (const [i, { index, term, data }] of entries.entries()) {
    if (index !== baseIndex + 1 + i) return `entry ${index} where ${baseIndex + 1 + i} should be`
    if (term !== storage.termAt(index)) return `entry ${index} is of term ${term}`
    if (!data.equals(dataOf(index, term))) return `entry ${index} of term ${term} holds other bytes`
  }
  return undefined
}

/** What happens to the follower. Numbers up to 1 are parts of what there is. */
export type Step =
  /** Another server leads from now on, in a new term; of the log before it, it has all that is committed, and a part. */
  | { readonly kind: 'lead'; readonly keeps: number }
  /** The leader has some more entries, and sends them in two messages at once, with some that were sent before. */
  | { readonly kind: 'send'; readonly count: number; readonly back: number }
  /** Messages of a leader that is none any more. */
  | { readonly kind: 'stale'; readonly count: number }
  | {
      readonly kind: 'vote'
      readonly ahead: number
      readonly candidate: string
      readonly log: number
    }
  | { readonly kind: 'compact'; readonly part: number }
  | { readonly kind: 'install' }
  | { readonly kind: 'propose'; readonly count: number }

interface Choices {
  int(low: number, high: number): number
}

export function randomStep(random: Choices): Step {
  const part = () => random.int(0, 100) / 100
  const which = random.int(0, 99)
  if (which < 18) return { kind: 'lead', keeps: part() }
  if (which < 58) return { kind: 'send', count: random.int(0, 5), back: random.int(0, 4) }
  if (which < 63) return { kind: 'stale', count: random.int(1, 3) }
  if (which < 80) {
    const candidate = `abc`[random.int(0, 2)]
    const log = random.int(0, 1) === 0 ? part() : 1
    return { kind: 'vote', ahead: random.int(0, 1), candidate, log }
  }
  if (which < 88) return { kind: 'compact', part: part() }
  if (which < 92) return { kind: 'install' }
  return { kind: 'propose', count: random.int(1, 4) }
}

/** The other servers of the cluster, as far as this one hears of them. */
export interface Cluster {
  /** Of the leader; its log has these terms. */
  readonly term: number
  readonly terms: readonly number[]
  /** Committed: every later leader has so many entries as they are. */
  readonly committed: number
  /** The leader before. */
  readonly before: { readonly term: number; readonly terms: readonly number[] }
}

export const NO_CLUSTER: Cluster = {
  term: 0,
  terms: [],
  committed: 0,
  before: { term: 0, terms: [] },
}

/**
 * The power is cut under a Raft server at random moments, and under its recovery. What it has answered must hold: its
 * entries until a later leader overwrites them, its votes for ever. Then safeguards are taken out, and it must not.
 */
import t from 'tap'
import { RaftStorage } from '../../examples/raft-log/raft-storage.ts'
import {
  type CrashContext,
  type CrashTestOptions,
  crashTest,
  type Random,
} from '../../src/crash/index.ts'
import type { Log } from '../../src/index.ts'
import { chooseSeed } from '../support/random.ts'
import { but } from '../support/simulated.ts'
import { testPowerCuts, trimLater } from './power-cuts.ts'
import { Driver, type Witness } from './raft-driver.ts'
import {
  type Cluster,
  EMPTY,
  isSame,
  randomStep,
  type State,
  type Step,
  stateOf,
  wrongEntries,
} from './raft-model.ts'
import { deleteSomething, openBeside } from './side-by-side.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 200)
const FAULTY_RUNS = 5 * RUNS

type Event =
  | { readonly kind: 'begun'; readonly call: number; readonly states: readonly State[] }
  | { readonly kind: 'answered'; readonly call: number }
  | { readonly kind: 'granted'; readonly term: number; readonly candidate: string }
  | { readonly kind: 'changed'; readonly cluster: Cluster }
  | { readonly kind: 'found'; readonly state: State }

interface Tampering {
  readonly entries?: (log: Log) => Log
  readonly state?: (log: Log) => Log
}

/** What may be found now, the likeliest last. */
function candidatesOf(history: readonly Event[]): State[] {
  let candidates: State[] = [EMPTY]
  const ends = new Map<number, number>()
  let dropped = 0
  for (const event of history) {
    if (event.kind === 'begun') {
      candidates.push(...event.states)
      ends.set(event.call, dropped + candidates.length - 1)
    } else if (event.kind === 'answered') {
      const from = ends.get(event.call)! - dropped
      // Calls are answered in their order, but one that changes nothing may be before it.
      if (from <= 0) continue
      candidates = candidates.slice(from)
      dropped += from
    } else if (event.kind === 'found') {
      dropped += candidates.length
      candidates = [event.state]
    }
  }
  return candidates
}

function scenario(tampering: Tampering = {}): CrashTestOptions<Step> {
  const { entries = log => log, state = log => log } = tampering
  const open = async ({ disk }: CrashContext) =>
    RaftStorage.on(
      entries(await openBeside(disk, 'entries')),
      state(await openBeside(disk, 'state')),
    )
  const steps = (random: Random) => Array.from({ length: 14 }, () => randomStep(random))
  return {
    runs: RUNS,
    steps,
    async workload(context) {
      const { device, life, note } = context
      if (life === 0) deleteSomething(device)
      const history = context.history as readonly Event[]
      const witness: Witness = {
        begun: (call, states) => note({ kind: 'begun', call, states } satisfies Event),
        answered: call => note({ kind: 'answered', call } satisfies Event),
        granted: (term, candidate) => note({ kind: 'granted', term, candidate } satisfies Event),
        changed: cluster => note({ kind: 'changed', cluster } satisfies Event),
      }
      const state = candidatesOf(history).at(-1)!
      const cluster = history.filter(event => event.kind === 'changed').at(-1)?.cluster
      const calls = history.filter(event => event.kind === 'begun').length
      const storage = await open(context)
      const driver = new Driver(storage, witness, { state, calls, ...(cluster && { cluster }) })
      await driver.check()
      for (const step of context.steps) await driver.do(step)
      await driver.check()
      if (context.random.chance(0.5)) await storage.close()
    },
    async verify(context) {
      const history = context.history as readonly Event[]
      const storage = await open(context)
      const candidates = candidatesOf(history)
      // Which of them it is tells the terms before the base, which nobody looks at.
      const state = candidates.findLast(one => isSame(stateOf(storage, one.terms), one))
      if (state === undefined) {
        const found = JSON.stringify(stateOf(storage, []))
        throw new Error(`${found}, and none of ${JSON.stringify(candidates)}`)
      }
      const wrong = (await wrongEntries(storage)) ?? wrongVotes(history, state)
      if (wrong !== undefined) throw new Error(wrong)
      context.note({ kind: 'found', state } satisfies Event)
    },
  }
}

/** Each vote that was given is the only one of its term, and known where that term is not over. */
function wrongVotes(history: readonly Event[], { term, votedFor }: State): string | undefined {
  const votes = new Map<number, string>()
  for (const event of history) {
    if (event.kind !== 'granted') continue
    const other = votes.get(event.term) ?? event.candidate
    if (other !== event.candidate) return `${other} and ${event.candidate} in term ${event.term}`
    votes.set(event.term, other)
  }
  const last = Math.max(0, ...votes.keys())
  if (term < last) return `it voted in term ${last}, and is back in ${term}`
  const vote = votes.get(term)
  if (vote !== undefined && vote !== votedFor) return `it voted for ${vote}, and has ${votedFor}`
  return undefined
}

t.test('what a Raft server has answered survives each power cut', async t => {
  const { runs, points, seed } = await crashTest({ ...scenario(), seed: chooseSeed() })
  t.comment(`${runs} crashes at ${points} moments from seed ${seed}`)
  t.ok(runs >= RUNS)
  t.ok(points > 10)
})

testPowerCuts(scenario, RUNS, FAULTY_RUNS)

const TAMPERINGS: Record<string, Tampering> = {
  'answers before its entries are durable': {
    entries: log => but(log, { flush: async () => log.durableLsn, ...trimLater(log) }),
  },
  'votes before the vote is durable': {
    state: log => but(log, { appendDurable: async data => log.append(data), ...trimLater(log) }),
  },
  'does not rewind at a conflict': {
    entries: log => but(log, { rewind: async () => {} }),
  },
  'trims one entry too many': {
    entries: log => but(log, { trim: lsn => log.trim(Math.min(lsn + 1, log.durableLsn)) }),
  },
}

for (const [what, tampering] of Object.entries(TAMPERINGS)) {
  t.test(`this test fails where it ${what}`, async t => {
    const options = { ...scenario(tampering), seed: 1, runs: 3000, shrinkAttempts: 0 }
    const error = await crashTest(options).then(
      () => undefined,
      thrown => thrown,
    )
    t.equal(error?.code, 'ERR_RIOLOG_CRASH_TEST')
    t.comment(String(error?.message).split('\n').slice(0, 2).join(' ').slice(0, 300))
  })
}

/**
 * Random programs of a log's callers, whose code comes back into the log from wherever it runs (callers.ts), in up to
 * three lives with crashes between them (life.ts). A seed comes to the same program, and to the same run of it.
 */
import { mixedSeed, Random } from '../../src/crash/random.ts'
import { SimulatedDevice, VirtualTime } from '../../src/disk/simulated.ts'
import { KIB } from '../support/simulated.ts'
import { Callers, type Stage, Thrown } from './callers.ts'
import { History } from './history.ts'
import { Life } from './life.ts'

const LIVES_MAX = 3

export interface Outcome {
  /** The first thing that was wrong; undefined when nothing is. */
  readonly failure: string | undefined
  /** How many actions the program has. */
  readonly actions: number
  readonly trace: readonly string[]
}

let running: History | undefined
const uncaught = (error: unknown) => {
  if (!(error instanceof Thrown)) running?.bad(`uncaught: ${(error as Error)?.stack ?? error}`)
}

/** Takes what is uncaught in this process: what callers throw is, and everything else is a failure. */
export function takeUncaught(): void {
  process.on('uncaughtException', uncaught)
  process.on('unhandledRejection', uncaught)
}

/**
 * Runs one program.
 * @param kept the numbers of the actions that are done; undefined: all
 */
export async function runProgram(seed: number, kept?: ReadonlySet<number>): Promise<Outcome> {
  const random = new Random(seed)
  const history = new History()
  const trace: string[] = []
  const time = new VirtualTime(new Random(mixedSeed(seed, 77)))
  const place = {
    seed,
    segmentSize: (random.chance(0.85) ? 64 : 4096) * KIB,
    isEncrypted: random.chance(0.15),
  }
  const lives = random.int(1, LIVES_MAX)
  let device = new SimulatedDevice()
  let stage: Life | undefined
  const callers = new Callers(() => stage as Stage, { seed, kept })
  running = history
  try {
    for (; history.life < lives && history.violations.length === 0; history.life++) {
      const life = new Life(place, history, time, device, text => trace.push(text))
      stage = life
      device = await life.live(callers)
      if (history.violations.length > 0) break
      const found = await life.find(device)
      if (found !== undefined) history.judge(found)
    }
  } catch (error) {
    history.bad(`the program threw ${(error as Error).stack}`)
  }
  // What nobody caught is told behind this turn.
  await new Promise(setImmediate)
  return { failure: history.violations[0], actions: callers.actions, trace }
}

/** The fewest actions of a failing program that come to such a failure. */
export async function shrink(seed: number, failure: string): Promise<Outcome> {
  let smallest = await runProgram(seed)
  const stillFails = async (kept: readonly number[]) => {
    const outcome = await runProgram(seed, new Set(kept))
    if (outcome.failure === undefined || kindOf(outcome.failure) !== kindOf(failure)) return false
    smallest = outcome
    return true
  }
  // Without one action, others may be done that were not reached.
  let kept = Array.from({ length: 2 * smallest.actions }, (_, i) => i)
  for (let size = kept.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < kept.length; ) {
      const without = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (await stillFails(without)) kept = without
      else at += size
    }
  }
  return smallest
}

/** Of failures that differ in their numbers alone. */
export function kindOf(failure: string): string {
  return failure.split('\n').slice(0, 2).join(' ').replace(/\d+/g, '#').slice(0, 80)
}

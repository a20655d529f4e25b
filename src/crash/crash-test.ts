/** What a test author calls. */
import { z } from 'zod'
import { RiologError } from '../errors.ts'
import { Explorer, type Found, type Run } from './explore.ts'
import { FAULT_KINDS, type FaultKind } from './faults.ts'
import { type Plan, replay, type Violation } from './plan.ts'
import type { Scenario } from './scenario.ts'
import { shrink } from './shrink.ts'
import { traceOf } from './trace.ts'

const isFunction = (value: unknown) => typeof value === 'function'

/** The rules of {@link CrashTestOptions}. */
const schema = z.strictObject({
  seed: z.number().int().min(0).max(0x7fffffff).optional(),
  runs: z.number().int().min(1).default(1000),
  workload: z.custom<Scenario['workload']>(isFunction, 'must be a function'),
  verify: z.custom<Scenario['verify']>(isFunction, 'must be a function'),
  steps: z.custom<NonNullable<Scenario['steps']>>(isFunction, 'must be a function').optional(),
  faults: z.array(z.enum(FAULT_KINDS)).readonly().default([]),
  everyPoint: z.boolean().default(false),
  exhaustiveUnits: z.number().int().min(0).max(16).default(12),
  shrinkAttempts: z.number().int().min(0).default(2000),
})

/** What to test, and for how long. */
export interface CrashTestOptions<S = unknown> extends Scenario<S> {
  /** The same seed comes to the same runs. Random unless told; the error names it. */
  readonly seed?: number
  /** Crashes to look at: images of the disk that are recovered and verified, at least so many; 1000. */
  readonly runs?: number
  /** Kinds of faults besides the crashes; none. */
  readonly faults?: readonly FaultKind[]
  /** A crash at every moment of each life, and not at some; false. */
  readonly everyPoint?: boolean
  /** Where so many things or fewer are unsynced, every subset of them is taken; 12. */
  readonly exhaustiveUnits?: number
  /** Plans to try in order to find the shortest one that fails; 0: as it was found; 2000. */
  readonly shrinkAttempts?: number
}

/** Who looks on. */
export interface CrashTestHooks {
  /** Called for each run, once it is verified. */
  readonly onRun?: (run: Run) => void
}

/** What was looked at. */
export interface CrashTestSummary {
  /** Comes to the same runs again. */
  readonly seed: number
  /** Crashes that were looked at. */
  readonly runs: number
  /** How long it took. */
  readonly milliseconds: number
  /** The same on the processor's clock, which other programs do not make slower. */
  readonly cpuMilliseconds: number
  /** Moments at which the power was cut, and those of them of which every subset was taken. */
  readonly points: number
  /** Those of `points` of which every subset was taken. */
  readonly pointsComplete: number
  /** How often each kind was there; a run can have several. */
  readonly byKind: Readonly<Record<string, number>>
}

/** Something is wrong with what a crash has left. */
export class CrashTestError extends RiologError {
  override readonly name = 'CrashTestError'
  /** `crashTest` with this seed finds it at once. */
  readonly seed: number
  /** The shortest run that fails: {@link replayCrash} runs it again. */
  readonly plan: Plan
  /** Until it was found. */
  readonly runs: number

  /** @internal */
  constructor(violation: Violation, seed: number, plan: Plan, runs: number) {
    super(
      'ERR_RIOLOG_CRASH_TEST',
      `${violation.message}\nseed ${seed}, after ${runs} runs; the shortest that fails:\n${traceOf(plan)}`,
      { cause: violation.cause ?? violation },
    )
    this.seed = seed
    this.plan = plan
    this.runs = runs
  }
}

/**
 * Runs a workload on a simulated disk, cuts the power under it again and again, and verifies each state that
 * this may leave.
 * @throws CrashTestError naming the seed and the shortest run that fails
 * @throws ERR_RIOLOG_INVALID_OPTION
 */
export async function crashTest<S = unknown>(
  options: CrashTestOptions<S>,
  hooks: CrashTestHooks = {},
): Promise<CrashTestSummary> {
  const checked = check(options)
  const { workload, verify, steps } = options as Scenario
  const scenario: Scenario = { workload, verify, ...(steps && { steps }) }
  const seed = checked.seed ?? Math.floor(Math.random() * 0x3fffffff)
  const byKind: Record<string, number> = {}
  let [points, pointsComplete] = [0, 0]
  const explorer = new Explorer(scenario, {
    ...checked,
    seed,
    mostUnits: checked.exhaustiveUnits,
    onRun: run => {
      for (const kind of kindsOf(run)) byKind[kind] = (byKind[kind] ?? 0) + 1
      hooks.onRun?.(run)
    },
    onPoint: (_units, isComplete) => {
      points++
      if (isComplete) pointsComplete++
    },
  })
  const from = performance.now()
  const fromCpu = process.cpuUsage()
  const found = await explorer.explore()
  if (found !== undefined)
    throw await reported(scenario, found, explorer.runs, checked.shrinkAttempts)
  const milliseconds = performance.now() - from
  const { user, system } = process.cpuUsage(fromCpu)
  const cpuMilliseconds = (user + system) / 1000
  const { runs } = explorer
  return { seed, runs, milliseconds, cpuMilliseconds, points, pointsComplete, byKind }
}

/**
 * Runs a plan again, as an error of {@link crashTest} has printed it.
 * @throws CrashTestError when it still fails
 */
export async function replayCrash<S = unknown>(scenario: Scenario<S>, plan: Plan): Promise<void> {
  const violation = await replay(scenario as Scenario, plan)
  if (violation !== undefined) throw new CrashTestError(violation, 0, plan, 1)
}

/** What a run counts as. */
export function kindsOf({ inRecovery, survivors, faults }: Run): string[] {
  const where = ['', ' in recovery', ' in the recovery of that', ' in the recovery of that, too'][
    inRecovery
  ]
  return [`${survivors === 'kill' ? 'kill' : 'power cut'}${where}`, ...faults]
}

async function reported(
  scenario: Scenario,
  { violation, seed, plan }: Found,
  runs: number,
  attempts: number,
): Promise<CrashTestError> {
  const again = await replay(scenario, plan)
  // What does not come again is not made shorter: the workload depends on something that has no seed.
  if (again === undefined) return new CrashTestError(violation, seed, plan, runs)
  const shortest = await shrink(plan, again, shorter => replay(scenario, shorter), attempts)
  return new CrashTestError(shortest.violation, seed, shortest.plan, runs)
}

function check(options: unknown): z.output<typeof schema> {
  const checked = schema.safeParse(options)
  if (checked.success) return checked.data
  const message = checked.error.issues
    .map(issue => [issue.path.join('.'), issue.message].filter(Boolean).join(': '))
    .join('; ')
  throw new RiologError('ERR_RIOLOG_INVALID_OPTION', message, { cause: checked.error })
}

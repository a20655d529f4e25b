/** A run as a plain object: whoever has it can run it again. */
import { SimulatedDevice } from '../disk/simulated/device.ts'
import { RiologError } from '../errors.ts'
import { type Fault, isOfMedium, mayFail } from './faults.ts'
import { imageOf, type Survivors } from './image.ts'
import { Acknowledged, type CrashPoint, type LifeSettings, type Lived, live } from './life.ts'
import { mixedSeed } from './random.ts'
import type { Scenario } from './scenario.ts'

/** One life, and the crash that ends it. */
export interface PlannedLife {
  /** `workload`, or `verify`: the crash comes while what the crash before it left is being recovered. */
  readonly phase: 'workload' | 'verify'
  /** Of its choices. */
  readonly seed: number
  /** What the workload has to do. */
  readonly steps: readonly unknown[]
  /** What is done besides. */
  readonly faults: readonly Fault[]
  /** Files go through a page cache. */
  readonly hasPageCache: boolean
  /** The crash comes before this operation of the disk, or when the life is over. */
  readonly crashAt: number
  /** What the crash leaves of what was unsynced. */
  readonly survivors: Survivors
}

/** A run as a plain object, for {@link replayCrash}. */
export interface Plan {
  /** One behind the other, on the same disk. */
  readonly lives: readonly PlannedLife[]
}

/** What verification has found wrong. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** The state of a run: what is on the disk, and what has happened. */
export interface World {
  readonly device: SimulatedDevice
  readonly history: readonly unknown[]
  /** A fault of the medium was done in some life. */
  readonly isDamaged: boolean
}

export function freshWorld(): World {
  return { device: new SimulatedDevice(), history: [], isDamaged: false }
}

type Hooks = Pick<LifeSettings, 'wants' | 'cutAt'>

/**
 * Runs the workload on what there is.
 * @param life how many came before
 * @throws Violation when it throws or hangs, and no fault explains that
 */
export async function runWorkload(
  scenario: Scenario,
  world: World,
  planned: Pick<PlannedLife, 'seed' | 'steps' | 'faults' | 'hasPageCache'>,
  life: number,
  hooks: Hooks,
): Promise<Lived> {
  const { seed, faults, steps } = planned
  world.device.hasPageCache = planned.hasPageCache
  const settings = { seed, faults, history: world.history, ...hooks }
  const lived = await live(world.device, settings, context =>
    scenario.workload({
      ...context,
      life,
      steps,
      acknowledge: value => context.note(new Acknowledged(value)),
    }),
  )
  if (lived.end === 'cut' || world.isDamaged || lived.faultsDone.some(mayFail)) return lived
  if (lived.end === 'endless') throw new Violation('the workload never ends')
  if (lived.end === 'idle') throw new Violation('the workload waits for something that never comes')
  if (lived.failed) throw failure('the workload failed', lived.error)
  return lived
}

/**
 * Verifies what a crash has left.
 * @throws Violation
 */
export async function runVerify(
  scenario: Scenario,
  world: World,
  planned: Pick<PlannedLife, 'seed' | 'faults' | 'hasPageCache'>,
  hooks: Hooks,
): Promise<Lived> {
  const { device, history } = world
  device.hasPageCache = planned.hasPageCache
  const { faults } = planned
  const isDamaged = world.isDamaged || faults.some(isOfMedium)
  const settings = { seed: mixedSeed(planned.seed, 4), faults, history, ...hooks }
  const lived = await live(device, settings, context =>
    scenario.verify({
      ...context,
      isDamaged,
      acknowledged: history.flatMap(event => (event instanceof Acknowledged ? [event.value] : [])),
    }),
  )
  const { end, error } = lived
  if (end === 'endless') throw new Violation('the verification never ends')
  const mayStop = lived.faultsDone.some(mayFail)
  if (end === 'idle' && !mayStop)
    throw new Violation('the verification waits for something that never comes')
  if (!lived.failed) return lived
  // Where something is damaged, an error with a code is an answer; where a read failed, the system's is.
  if (error instanceof RiologError && (isDamaged || mayStop)) return lived
  throw failure('the verification failed', error)
}

/** What a crash leaves of a world. */
export function afterCrash(
  { device, history, faultsDone }: Pick<CrashPoint, 'device' | 'history' | 'faultsDone'>,
  before: World,
  survivors: Survivors,
): World {
  const isDamaged = before.isDamaged || faultsDone.some(isOfMedium)
  return { device: imageOf(device, survivors), history, isDamaged }
}

/**
 * Runs a plan again.
 * @returns what is wrong; undefined when nothing is
 */
export async function replay(scenario: Scenario, plan: Plan): Promise<Violation | undefined> {
  let world = freshWorld()
  let workloads = 0
  try {
    for (const planned of plan.lives) {
      const hooks = { cutAt: planned.crashAt }
      let lived: Lived
      if (planned.phase === 'verify') lived = await runVerify(scenario, world, planned, hooks)
      else {
        const before = workloads > 0 ? await recovered(scenario, world, planned) : world
        if (before === undefined) return undefined
        world = before
        lived = await runWorkload(scenario, world, planned, workloads++, hooks)
      }
      world = afterCrash({ ...lived, device: world.device }, world, planned.survivors)
    }
    await runVerify(scenario, world, lastOf(plan), {})
    return undefined
  } catch (error) {
    if (error instanceof Violation) return error
    throw error
  }
}

/**
 * Between two workloads what there is gets verified, as by a process that is killed then.
 * @returns undefined when nothing can go on there: what is damaged was told
 */
export async function recovered(
  scenario: Scenario,
  world: World,
  planned: Pick<PlannedLife, 'seed' | 'hasPageCache'>,
): Promise<World | undefined> {
  const verified = await runVerify(scenario, world, { ...planned, faults: [] }, {})
  if (verified.failed) return undefined
  return { ...world, device: world.device.snapshot(), history: verified.history }
}

/** The last verification has no faults of its own. */
function lastOf({ lives }: Plan): Pick<PlannedLife, 'seed' | 'faults' | 'hasPageCache'> {
  const { seed, hasPageCache } = lives.at(-1) ?? { seed: 0, hasPageCache: false }
  return { seed, hasPageCache, faults: [] }
}

function failure(what: string, error: unknown): Violation {
  const message = error instanceof Error ? error.message : String(error)
  return new Violation(`${what}: ${message}`, { cause: error })
}

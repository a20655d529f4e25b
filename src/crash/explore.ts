/**
 * Goes through the states that crashes may leave: a life of the workload is run once, and at many of its
 * moments the power is cut, with all that may survive or a sample of it. Each such image is recovered and
 * verified; some recoveries are cut themselves, and some images get another life.
 */
import type { FaultKind } from './faults.ts'
import { isOfMedium, randomFaults } from './faults.ts'
import { enumerate, type Survivors } from './image.ts'
import type { CrashPoint } from './life.ts'
import {
  afterCrash,
  freshWorld,
  type Plan,
  type PlannedLife,
  recovered,
  runVerify,
  runWorkload,
  Violation,
  type World,
} from './plan.ts'
import { mixedSeed, Random } from './random.ts'
import type { Scenario } from './scenario.ts'

/** One crash whose image was recovered and verified. */
export interface Run {
  /** Crashes in a row that came in a recovery: 0 after a crash of the workload. */
  readonly inRecovery: number
  /** Which choice of what was unsynced. */
  readonly survivors: Survivors['kind']
  /** Kinds of the faults that were done besides. */
  readonly faults: readonly FaultKind[]
}

export interface ExploreOptions {
  readonly seed: number
  /** Images to recover, at least so many unless something is wrong. */
  readonly runs: number
  /** Up to so many units all subsets are taken. */
  readonly mostUnits: number
  /** Every moment of a life, and not some. */
  readonly everyPoint: boolean
  readonly faults: readonly FaultKind[]
  readonly onRun: (run: Run) => void
  /** Told of each moment whose states were all taken, or not. */
  readonly onPoint: (units: number, isComplete: boolean) => void
}

export interface Found {
  readonly violation: Violation
  /** Of the lives that led there: `riolog crash --seed` begins with it. */
  readonly seed: number
  readonly plan: Plan
}

/** The part of the moments of a life, and of a recovery, at which the power is cut. */
const POINTS_OF_LIFE = 0.03
const POINTS_OF_RECOVERY = 0.12
/** Lives of the workload in a row. */
const WORKLOADS_MAX = 4
const IN_RECOVERY_MAX = 3
/** So long the event loop is held up, in milliseconds. */
const HOLD_MS = 40

export class Explorer {
  readonly #scenario: Scenario
  readonly #options: ExploreOptions
  #runs = 0
  #yieldedAt = performance.now()
  /** Of the lives from the first on. */
  #random = new Random(0)

  constructor(scenario: Scenario, options: ExploreOptions) {
    this.#scenario = scenario
    this.#options = options
  }

  get runs(): number {
    return this.#runs
  }

  /** Returns what is wrong; undefined when nothing was found. */
  async explore(): Promise<Found | undefined> {
    for (let seed = this.#options.seed; !this.#isOver; seed++) {
      this.#random = new Random(mixedSeed(seed, 0))
      const path: PlannedLife[] = []
      try {
        await this.#workload(freshWorld(), path, 0, this.#random.chance(0.2))
      } catch (error) {
        if (!(error instanceof Violation)) throw error
        return { violation: error, seed, plan: { lives: path } }
      }
    }
    return undefined
  }

  /** Another life on what there is, and all that comes of it. `path` leads to what is wrong. */
  async #workload(
    world: World,
    path: PlannedLife[],
    life: number,
    hasPageCache: boolean,
  ): Promise<void> {
    const random = this.#random
    const planned = this.#plannedLife(world, life, hasPageCache)
    path.push(planned)
    const before = life > 0 ? await recovered(this.#scenario, world, planned) : world
    if (before === undefined) return void path.pop()
    const wants = this.#chooser(POINTS_OF_LIFE)
    const lived = await runWorkload(this.#scenario, before, planned, life, { wants })
    path.pop()
    const crashes = lived.points.flatMap(point =>
      this.#survivorsOf(point).map(survivors => ({ point, survivors })),
    )
    // One of them has another life: so a run is a chain of lives, with crashes on each side.
    const goesOn = life + 1 < WORKLOADS_MAX ? random.int(0, crashes.length) : -1
    for (const [at, { point, survivors }] of crashes.entries()) {
      if (this.#isOver) return
      path.push({ ...planned, crashAt: point.operation, survivors })
      await this.#crash(before, point, path, 0)
      if (at === goesOn) {
        const next = afterCrash(point, before, survivors)
        await this.#workload(next, path, life + 1, hasPageCache)
      }
      path.pop()
    }
  }

  #plannedLife(world: World, life: number, hasPageCache: boolean): PlannedLife {
    const random = this.#random
    // Two faults of the medium may take all evidence away.
    const kinds = this.#options.faults.filter(kind => !world.isDamaged || !isOfMedium({ kind }))
    return {
      phase: 'workload',
      seed: random.seed(),
      steps: this.#scenario.steps?.(new Random(random.seed()), life) ?? [],
      faults: random.chance(0.7) ? randomFaults(random, kinds, 80) : [],
      hasPageCache,
      crashAt: Number.MAX_SAFE_INTEGER,
      survivors: { kind: 'kill' },
    }
  }

  /** The image that the end of `path` leaves, recovered and verified; perhaps with a crash in that. */
  async #crash(
    before: World,
    point: CrashPoint,
    path: PlannedLife[],
    inRecovery: number,
  ): Promise<void> {
    const random = this.#random
    const last = path.at(-1)!
    const world = afterCrash(point, before, last.survivors)
    const isDeeper = random.chance(inRecovery === 0 ? 0.1 : 0.3) && inRecovery < IN_RECOVERY_MAX
    const hooks = isDeeper ? { wants: this.#chooser(POINTS_OF_RECOVERY) } : {}
    const quiet = { seed: last.seed, hasPageCache: last.hasPageCache, faults: [] }
    const verified = await runVerify(this.#scenario, world, quiet, hooks)
    await this.#count(path, point, inRecovery)
    const { everyPoint, mostUnits } = this.#options
    const most = everyPoint ? mostUnits : Math.min(4, mostUnits)
    for (const inside of this.#few(verified.points, 2)) {
      for (const survivors of this.#few(this.#imagesOf(inside, most, 3), 3)) {
        if (this.#isOver) return
        const crashAt = inside.operation
        path.push({ ...last, phase: 'verify', steps: [], faults: [], crashAt, survivors })
        await this.#crash(world, inside, path, inRecovery + 1)
        path.pop()
      }
    }
  }

  get #isOver(): boolean {
    return this.#runs >= this.#options.runs
  }

  #chooser(probability: number): (operation: number) => boolean {
    if (this.#options.everyPoint) return () => true
    const random = this.#random
    return () => random.chance(probability)
  }

  #survivorsOf(point: CrashPoint): Survivors[] {
    const images = this.#imagesOf(point, this.#options.mostUnits, 12)
    const isLikely = point.faultsDone.length > 0
    if (this.#random.chance(isLikely ? 0.5 : 0.2)) images.push({ kind: 'kill' })
    return images
  }

  #imagesOf(point: CrashPoint, mostUnits: number, samples: number): Survivors[] {
    const sectorBytes = this.#random.chance(0.5) ? 512 : 4096
    const { images, units, isComplete } = enumerate(
      point.device,
      sectorBytes,
      mostUnits,
      samples,
      this.#random,
    )
    this.#options.onPoint(units, isComplete)
    return images
  }

  #few<T>(all: readonly T[], most: number): readonly T[] {
    if (this.#options.everyPoint || all.length <= most) return all
    return Array.from({ length: most }, () => this.#random.pick(all))
  }

  async #count(path: readonly PlannedLife[], point: CrashPoint, inRecovery: number): Promise<void> {
    this.#runs++
    const earlier = path.slice(0, -1).flatMap(({ faults }) => faults)
    const faults = [...earlier, ...point.faultsDone].map(({ kind }) => kind)
    const survivors = path.at(-1)!.survivors.kind
    this.#options.onRun({ inRecovery, survivors, faults: [...new Set(faults)] })
    if (performance.now() - this.#yieldedAt < HOLD_MS) return
    await new Promise(resolve => setImmediate(resolve))
    this.#yieldedAt = performance.now()
  }
}

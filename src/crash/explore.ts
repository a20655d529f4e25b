/**
 * Goes through the states that crashes may leave: a life of the workload is run once, and at many of its
 * moments the power is cut, with all that may survive or a sample of it. Each such image is recovered and
 * verified; some recoveries are cut themselves, and some images get another life.
 */
import type { FaultKind } from './faults.ts'
import { randomFaults } from './faults.ts'
import { enumerate, type Survivors } from './image.ts'
import type { CrashPoint, Lived } from './life.ts'
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
    for (let seed = this.#options.seed; this.#runs < this.#options.runs; seed++) {
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

  /** Another life on what there is, and all that comes of it. `path` is what led to a violation. */
  async #workload(
    world: World,
    path: PlannedLife[],
    life: number,
    hasPageCache: boolean,
  ): Promise<void> {
    const random = this.#random
    const { faults: kinds } = this.#options
    // Two faults of the medium may take all evidence away.
    const allowed = world.isDamaged ? [] : kinds
    const faults = random.chance(0.5) ? randomFaults(random, allowed, 150) : []
    const planned: PlannedLife = {
      phase: 'workload',
      seed: random.seed(),
      steps: this.#scenario.steps?.(new Random(random.seed()), life) ?? [],
      faults,
      hasPageCache,
      crashAt: Number.MAX_SAFE_INTEGER,
      survivors: { kind: 'kill' },
    }
    path.push(planned)
    let before = world
    if (life > 0) before = await recovered(this.#scenario, world, planned)
    const wants = this.#chooser(0.05)
    const lived = await runWorkload(this.#scenario, before, planned, life, { wants })
    path.pop()
    const isBroken = lived.faultsDone.length > 0
    for (const point of lived.points) {
      const images = this.#imagesOf(point, this.#options.mostUnits, 12)
      if (random.chance(isBroken ? 0.5 : 0.2)) images.push({ kind: 'kill' })
      const goesOn = random.int(0, 3 * images.length)
      for (const [at, survivors] of images.entries()) {
        const done = { ...planned, crashAt: point.operation, survivors }
        await this.#crash(before, point, lived, [...path, done], path, at === goesOn ? life + 1 : 0)
      }
    }
  }

  /** @param nextLife goes on with so many lives behind; 0: not at all */
  async #crash(
    before: World,
    point: CrashPoint,
    lived: Lived,
    lives: PlannedLife[],
    path: PlannedLife[],
    nextLife: number,
    inRecovery = 0,
  ): Promise<void> {
    const random = this.#random
    const last = lives.at(-1)!
    const crashed = { history: point.history, faultsDone: lived.faultsDone }
    const world = afterCrash(point.device, crashed, before, last.survivors)
    const isDeeper = inRecovery < IN_RECOVERY_MAX && random.chance(inRecovery === 0 ? 0.12 : 0.3)
    const wants = isDeeper ? this.#chooser(0.12) : undefined
    try {
      const { seed, hasPageCache } = last
      const verified = await runVerify(
        this.#scenario,
        world,
        { seed, hasPageCache, faults: [] },
        { ...(wants && { wants }) },
      )
      await this.#count(lives, inRecovery)
      for (const inside of verified.points) {
        // What led here was verified with the seed of the life before it; a crash in it keeps that.
        const planned: PlannedLife = { ...last, phase: 'verify', steps: [], faults: [] }
        for (const survivors of this.#few(this.#imagesOf(inside, 4, 3), 5)) {
          const next = { ...planned, crashAt: inside.operation, survivors }
          await this.#crash(world, inside, verified, [...lives, next], path, 0, inRecovery + 1)
        }
      }
      if (nextLife > 0 && nextLife < WORKLOADS_MAX) {
        const again = afterCrash(point.device, crashed, before, last.survivors)
        const sub = lives.slice()
        await this.#inPath(sub, path, () => this.#workload(again, sub, nextLife, hasPageCache))
      }
    } catch (error) {
      if (error instanceof Violation && path.length < lives.length)
        path.splice(0, path.length, ...lives)
      throw error
    }
  }

  async #inPath(sub: PlannedLife[], path: PlannedLife[], run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      path.splice(0, path.length, ...sub)
      throw error
    }
  }

  #chooser(probability: number): (operation: number) => boolean {
    if (this.#options.everyPoint) return () => true
    const random = this.#random
    return () => random.chance(probability)
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

  #few<T>(all: T[], most: number): T[] {
    if (this.#options.everyPoint || all.length <= most) return all
    return Array.from({ length: most }, () => this.#random.pick(all))
  }

  async #count(lives: readonly PlannedLife[], inRecovery: number): Promise<void> {
    this.#runs++
    const faults = lives.flatMap(life => life.faults.map(({ kind }) => kind))
    this.#options.onRun({ inRecovery, survivors: lives.at(-1)!.survivors.kind, faults })
    if (performance.now() - this.#yieldedAt < HOLD_MS) return
    await new Promise(resolve => setImmediate(resolve))
    this.#yieldedAt = performance.now()
  }
}

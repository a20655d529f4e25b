/** Which of the states that a power cut may leave are looked at. */
import type { SimulatedDevice } from '../disk/simulated/device.ts'
import type { Fate, SectorBytes, Unit } from '../disk/simulated/power-cut.ts'
import type { Random } from './random.ts'

/** What survives a crash. A plain object, as it stands in a plan. */
export type Survivors =
  /** The process was killed, the power stayed on. */
  | { readonly kind: 'kill' }
  | {
      readonly kind: 'power'
      readonly sectorBytes: SectorBytes
      /** A letter for each unit, in the device's order: {@link LETTERS}; what is missing is old. */
      readonly fates: string
      /** Of the bytes of garbage. */
      readonly seed: number
    }

export const LETTERS: Record<Fate, string> = {
  old: 'o',
  new: 'n',
  zeros: 'z',
  garbage: 'g',
  between: 'b',
  stale: 's',
  both: '2',
}
const FATE_OF = new Map(Object.entries(LETTERS).map(([fate, letter]) => [letter, fate as Fate]))

/** The device that a crash leaves. */
export function imageOf(device: SimulatedDevice, survivors: Survivors): SimulatedDevice {
  if (survivors.kind === 'kill') return device.snapshot()
  const { sectorBytes, fates, seed } = survivors
  const units = device.unsynced(sectorBytes)
  return device.left(units, (_, at) => FATE_OF.get(fates[at]) ?? 'old', garbageOf(seed))
}

/** A cheap generator: a block of garbage takes thousands of bytes. */
function garbageOf(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    return state >>> 24
  }
}

export interface Enumeration {
  readonly images: Survivors[]
  /** Units that make a difference. */
  readonly units: number
  /** True when these are all that there are, by old and new. */
  readonly isComplete: boolean
}

/**
 * All states by old and new when the units that make a difference are few, else structured ones and
 * random ones; and some in which a unit is neither old nor new.
 * @param mostUnits up to so many all subsets are taken: 2 to the power of it
 * @param samples how many random ones besides
 */
export function enumerate(
  device: SimulatedDevice,
  sectorBytes: SectorBytes,
  mostUnits: number,
  samples: number,
  random: Random,
): Enumeration {
  const units = device.unsynced(sectorBytes)
  const open = [...units.keys()].filter(at => matters(units[at]))
  const image = (fateOf: (at: number) => string): Survivors => ({
    kind: 'power',
    sectorBytes,
    fates: lettersOf(units, fateOf),
    seed: random.seed(),
  })
  const isComplete = open.length <= mostUnits
  const images: Survivors[] = []
  if (isComplete) {
    for (let subset = 0; subset < 2 ** open.length; subset++) {
      const chosen = new Set(open.filter((_, bit) => (subset & (1 << bit)) !== 0))
      images.push(image(at => (chosen.has(at) ? 'n' : 'o')))
    }
  } else {
    const last = open.at(-1)
    images.push(image(() => 'o'))
    images.push(image(() => 'n'))
    images.push(image(at => (at === last ? 'n' : 'o')))
    images.push(image(at => (at === open[0] ? 'o' : 'n')))
    for (let i = 0; i < samples; i++) {
      const probability = random.int(0, 100) / 100
      images.push(image(() => (random.chance(probability) ? 'n' : 'o')))
    }
  }
  // Of what is open, some is neither: a sector that was being written when the power went.
  if (open.length > 0) {
    for (let i = 0; i < Math.min(samples, 1 + open.length); i++) {
      const probability = random.int(0, 100) / 100
      images.push(image(at => strange(units[at], random, probability)))
    }
  }
  return { images, units: open.length, isComplete }
}

function matters(unit: Unit): boolean {
  return unit.kind !== 'sector' || unit.differs
}

function lettersOf(units: readonly Unit[], fateOf: (at: number) => string): string {
  let letters = ''
  for (let at = 0; at < units.length; at++) letters += fateOf(at)
  return letters
}

function strange(unit: Unit, random: Random, probability: number): string {
  if (unit.kind === 'name' && unit.change.oldName !== undefined) return random.pick(['o', 'n', '2'])
  if (unit.kind !== 'sector' || random.chance(probability)) return random.chance(0.5) ? 'n' : 'o'
  return random.pick(unit.hasBetween ? ['o', 'z', 'g', 's', 'b'] : ['o', 'z', 'g', 's'])
}

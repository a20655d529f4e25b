/** One seed: a damaged copy of an original on a simulated disk, opened in each way. */
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { Random } from '../support/random.ts'
import { type Damaged, damage } from './damage.ts'
import { NotPromised, tryWay, WAYS } from './openings.ts'
import type { Original } from './originals.ts'

const MIB = 1024 * 1024
const HANG_MS = 20_000
/** A disk asked more often than this for logs of some dozens of blocks is asked without end. */
const MOST_OPERATIONS = 100_000
/** No transfer is longer: the window of a scan. */
const LONGEST_BYTES = 3 * MIB
/** More than opening, appending and rotating takes. */
const CAPACITY_BYTES = 64 * MIB

export interface Outcome {
  readonly way: string
  readonly what: string
}

export interface Failure {
  readonly seed: number
  readonly way: string
  readonly original: string
  readonly done: readonly string[]
  readonly error: unknown
}

/** The least often the long one, which takes the most time. */
function originalFor(originals: readonly Original[], random: Random): Original {
  return originals[random.chance(0.98) ? random.int(0, originals.length - 2) : originals.length - 1]
}

export function damagedBy(
  seed: number,
  originals: readonly Original[],
): Damaged & { readonly original: Original; readonly random: Random } {
  const random = new Random(seed)
  const original = originalFor(originals, random)
  return { ...damage(original, originals, random), original, random }
}

/** A wait that nothing ends would end the process without a word: the timer keeps it there to tell. */
export async function withinTime<T>(running: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const error = new NotPromised(`it hangs: not done after ${limitMs} ms`)
    timer = setTimeout(() => reject(error), limitMs)
  })
  try {
    return await Promise.race([running, late])
  } finally {
    clearTimeout(timer)
  }
}

/** A device that gives an error without a code once more is asked of it than makes sense. */
function deviceOf(files: ReadonlyMap<string, Uint8Array>): SimulatedDevice {
  const device = new SimulatedDevice()
  for (const [name, bytes] of files) device.putFile(name, bytes)
  device.capacityBytes = CAPACITY_BYTES
  device.interference = ({ index, length, kind, name }) => {
    const what = `${kind} of ${length} bytes of ${name}, operation ${index}`
    // A sync has no length.
    const isLong = kind !== 'sync' && length > LONGEST_BYTES
    const isTooMuch = index > MOST_OPERATIONS || isLong
    return isTooMuch ? new NotPromised(`without bound: ${what}`) : undefined
  }
  return device
}

/** @param onOutcome is told what became of each way */
export async function runSeed(
  seed: number,
  originals: readonly Original[],
  onOutcome: (outcome: Outcome) => void,
): Promise<Failure | undefined> {
  const { directory, done, involved, original, random } = damagedBy(seed, originals)
  for (const [way, run] of Object.entries(WAYS)) {
    const device = deviceOf(directory)
    const added = new Map<number, Buffer>()
    const disk = () => new SimulatedDisk(device)
    const opening = { disk, path: 'simulated', original, involved, random, added }
    try {
      onOutcome({ way, what: await withinTime(tryWay(run, opening), HANG_MS) })
      if (device.operations > MOST_OPERATIONS) throw new NotPromised('without bound')
    } catch (error) {
      return { seed, way, original: original.name, done, error }
    }
  }
  return undefined
}

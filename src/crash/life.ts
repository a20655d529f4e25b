/** One life of a program on a simulated disk: it runs until it ends, hangs, or the power is cut. */
import type { SimulatedDevice } from '../disk/simulated/device.ts'
import { SimulatedDisk } from '../disk/simulated/disk.ts'
import { PowerCut, type SimulatedOperation } from '../disk/simulated/effects.ts'
import { type Driven, VirtualTime } from '../disk/simulated/virtual-time.ts'
import { Log } from '../log/log.ts'
import { type CheckedOptions, checkOptions, type LogOptions } from '../log/options.ts'
import { MIN_SEGMENT_SIZE } from '../segment/format.ts'
import { type Fault, Faults } from './faults.ts'
import { mixedSeed, Random } from './random.ts'
import type { CrashContext } from './scenario.ts'

/** A life that does more than this never ends. */
const EVENTS_MAX = 200_000
const SMALL: LogOptions = { segmentSize: MIN_SEGMENT_SIZE }

/** Something that was promised to somebody outside. */
export class Acknowledged {
  readonly value: unknown

  constructor(value: unknown) {
    this.value = value
  }
}

/** A moment at which the power may be cut. */
export interface CrashPoint {
  /** The operation that is about to change something; the number behind the last one at the end. */
  readonly operation: number
  /** The device as it was. */
  readonly device: SimulatedDevice
  /** What had happened, in all lives. */
  readonly history: readonly unknown[]
  /** Faults that were done in this life by then. */
  readonly faultsDone: readonly Fault[]
}

export interface LifeSettings {
  /** Of the order in which operations are answered, of salts, and of the context's choices. */
  readonly seed: number
  readonly faults: readonly Fault[]
  /** What happened before. */
  readonly history: readonly unknown[]
  /** Whether the device is to be kept as it is before this operation. */
  readonly wants?: (operation: number) => boolean
  /** The power is cut before this operation. */
  readonly cutAt?: number
}

export interface Lived {
  /** `cut`: the power was; `idle`: it waits for something that never comes. */
  readonly end: Driven | 'cut'
  /** What it threw. */
  readonly error: unknown
  readonly failed: boolean
  readonly history: readonly unknown[]
  readonly points: readonly CrashPoint[]
  readonly faultsDone: readonly Fault[]
  /** Operations that the device was asked for. */
  readonly operations: number
}

const checkedOptions = new WeakMap<LogOptions, CheckedOptions>()

/** Checking costs a tenth of an opening, and the same options come again and again. */
function checked(options: LogOptions): CheckedOptions {
  const known = checkedOptions.get(options)
  if (known !== undefined) return known
  const made = checkOptions({ ...SMALL, ...options })
  checkedOptions.set(options, made)
  return made
}

/** Lives until `body` ends, or the power goes. */
export async function live(
  device: SimulatedDevice,
  settings: LifeSettings,
  body: (context: CrashContext) => Promise<void>,
): Promise<Lived> {
  const { seed, wants, cutAt } = settings
  const choices = new Random(mixedSeed(seed, 1))
  const time = new VirtualTime(choices)
  const disk = new SimulatedDisk(device, {
    scheduler: time,
    randomBytes: count => choices.bytes(count),
  })
  const history = [...settings.history]
  const points: CrashPoint[] = []
  const faults = new Faults(device, settings.faults)
  const keep = (operation: number) =>
    points.push({
      operation,
      device: device.snapshot(),
      history: history.slice(),
      faultsDone: faults.done.slice(),
    })
  const fates = new Random(mixedSeed(seed, 2))
  device.failedSync = () => fates.pick(['reached', 'dropped', 'kept'])
  device.interference = operation => {
    if (operation.index === cutAt) device.cutPower()
    else if (changesSomething(operation, device) && wants?.(operation.index)) keep(operation.index)
    return faults.on(operation)
  }
  let isSettled = false
  let failed = false
  let error: unknown
  body(contextOf(disk, time, settings, history)).then(
    () => {
      isSettled = true
    },
    thrown => {
      isSettled = true
      failed = !(thrown instanceof PowerCut)
      error = thrown
    },
  )
  const driven = await time.drive(() => isSettled || device.isOff, EVENTS_MAX)
  const end = device.isOff ? 'cut' : driven
  if (end !== 'cut' && wants?.(device.operations)) keep(device.operations)
  const { operations } = device
  device.interference = undefined
  const faultsDone = faults.done
  return { end, error, failed, history, points, faultsDone, operations }
}

function contextOf(
  disk: SimulatedDisk,
  time: VirtualTime,
  { seed, faults }: LifeSettings,
  history: unknown[],
): CrashContext {
  return {
    disk,
    device: disk.device,
    clock: time,
    random: new Random(mixedSeed(seed, 3)),
    faults,
    history,
    open: (options = SMALL) => Log.openOn(disk, 'simulated', checked(options)),
    sleep: milliseconds => time.sleep(milliseconds),
    note: event => void history.push(event),
  }
}

/** Cutting the power before a read comes to the same as before what follows it. */
function changesSomething({ kind, name }: SimulatedOperation, device: SimulatedDevice): boolean {
  if (kind === 'read' || kind === 'list') return false
  return kind !== 'open' || device.lookUp(name) === undefined
}

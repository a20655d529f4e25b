/**
 * Cuts the power at each operation of a procedure in turn, leaves each of a fixed set of things behind, opens
 * what is left, and cuts the power at each operation of that opening, too. Nothing here is random.
 */
import type {
  Outcome,
  SectorFate,
  SimulatedDevice,
  SimulatedOperation,
} from '../../src/disk/simulated.ts'
import type { LogOptions } from '../../src/log/options.ts'
import { addon } from '../../src/native.ts'
import { type Oracle, payloadOf } from './oracle.ts'
import { openSimulated, recordsOf } from './simulated.ts'

export interface Scenario {
  readonly device: SimulatedDevice
  readonly oracle: Oracle
  /** The procedure, and nothing else; it resolves when all that belongs to it is done. */
  run(): Promise<unknown>
}

export interface Procedure {
  readonly name: string
  readonly options?: LogOptions
  /** Every step that is to be cut before, in the order in which they first come. */
  readonly steps: readonly string[]
  make(): Promise<Scenario>
}

export interface Report {
  /** Power cuts with all that they may leave: of the procedure, and of the openings behind it. */
  cuts: number
  cutsOfOpenings: number
  /** Openings that were judged; cuts that leave the same bytes behind are judged once. */
  judged: number
  readonly steps: string[]
  readonly wrong: string[]
}

/** The opening behind a cut is cut itself for the first so many cuts before the same step. */
const TIMES = 2
const HEADER = 0
const SECOND_COPY = 65536
const READS = new Set(['list', 'read', 'open'])

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

/** What an operation is for, by its place. @param known the highest segment before the procedure */
function stepOf({ kind, name, position, length }: SimulatedOperation, known: number): string {
  if (name === '') return kind
  if (name === 'MANIFEST') {
    if (kind !== 'write') return `${kind} MANIFEST`
    if (length > SECOND_COPY) return 'write MANIFEST'
    return `write ${position === SECOND_COPY ? 'second' : 'first'} copy`
  }
  const segment = Number.parseInt(name, 10) > known ? 'new segment' : 'segment'
  if (kind !== 'write') return `${kind} ${segment}`
  if (position === HEADER) return `write header of ${segment}`
  return length > SECOND_COPY / 2 ? `write zeros of ${segment}` : `write group of ${segment}`
}

/** Names and sizes, and each unsynced sector by its place among them. */
interface Left {
  readonly name: string
  readonly names: (index: number) => boolean
  readonly fate: (index: number, count: number) => SectorFate
}

const SECTORS: [string, Left['fate']][] = [
  ['none', () => 'old'],
  ['all', () => 'new'],
  ['the first half', (i, n) => (i < n / 2 ? 'new' : 'old')],
  ['the second half', (i, n) => (i < n / 2 ? 'old' : 'new')],
  ['every other', i => (i % 2 === 0 ? 'new' : 'old')],
  ['every other but for the first', i => (i % 2 === 0 ? 'old' : 'new')],
  ['the last', (i, n) => (i === n - 1 ? 'new' : 'old')],
  ['every other, zeros else', i => (i % 2 === 0 ? 'new' : 'zeros')],
  ['every other, garbage else', i => (i % 2 === 0 ? 'garbage' : 'new')],
]
const NAMES: [string, Left['names']][] = [
  ['all names', () => true],
  ['no name', () => false],
  ['every other name', i => i % 2 === 0],
]
const LEFT: readonly Left[] = NAMES.flatMap(([which, names]) =>
  SECTORS.map(([name, fate]) => ({ name: `${name}, ${which}`, names, fate })),
)
/** What recovery is cut with: the first that differ. */
const LEFT_OF_OPENINGS = LEFT.filter(({ name }) => /^(none|all|every other),/.test(name))

interface Image {
  readonly left: string
  readonly device: SimulatedDevice
}

/** The different things that a cut leaves behind. */
function imagesOf(device: SimulatedDevice, lefts: readonly Left[]): Image[] {
  let count = 0
  const counting: Outcome = {
    survives: () => true,
    fate: () => {
      count++
      return 'old'
    },
    garbage: () => 0,
  }
  device.afterPowerCut(counting)
  const images = new Map<string, Image>()
  for (const { name, names, fate } of lefts) {
    let index = 0
    let changes = 0
    const image = device.afterPowerCut({
      survives: () => names(changes++),
      fate: () => fate(index++, count),
      garbage: () => 0xa5,
    })
    const key = image.names().map(file => {
      const bytes = image.bytesOf(file)
      return `${file} ${bytes.length} ${addon().crc32c(0, bytes, 0, bytes.length)}`
    })
    const id = key.join('\n')
    if (!images.has(id)) images.set(id, { left: name, device: image })
  }
  return [...images.values()]
}

/** True when it was cut; false when it came to its end. */
async function untilCut(running: Promise<unknown>, device: SimulatedDevice): Promise<boolean> {
  let ended = false
  let failure: unknown
  running.then(
    () => (ended = true),
    error => {
      ended = true
      failure = error
    },
  )
  while (!ended && !device.isOff) await turn()
  // Whoever was told before the cut gets to say so.
  for (let i = 0; i < 3; i++) await turn()
  if (!device.isOff && failure !== undefined) throw failure
  return device.isOff
}

const highestOf = (device: SimulatedDevice) =>
  Math.max(0, ...device.names().map(name => Number.parseInt(name, 10) || 0))

export async function cutEverywhere(procedure: Procedure): Promise<Report> {
  const report: Report = { cuts: 0, cutsOfOpenings: 0, judged: 0, steps: [], wrong: [] }
  const seen = new Map<string, number>()
  let changed = true
  for (let operation = 0; ; operation++) {
    const { device, oracle, run } = await procedure.make()
    const known = highestOf(device)
    const at = device.operations + operation
    let step = ''
    device.interference = asked => {
      if (asked.index !== at) return undefined
      step = stepOf(asked, known)
      device.cutPower()
      return undefined
    }
    if (!(await untilCut(run(), device))) return { ...report, steps: [...seen.keys()] }
    const before = seen.get(step) ?? 0
    seen.set(step, before + 1)
    // Before a read the disk is as it was before the operation that came last.
    const images = imagesOf(device, changed ? LEFT : LEFT.slice(0, 1))
    report.cuts += changed ? LEFT.length : 1
    const where = `${procedure.name}, cut at operation ${operation} (${step})`
    for (const [i, image] of images.entries()) {
      const place = `${where}, left: ${image.left}`
      await judge(image.device, oracle, procedure, place, report)
      // Of what each cut may leave one thing, by turns; commits come again and again.
      if (changed && before < TIMES && i === operation % images.length) {
        await cutOpening(image.device, oracle, procedure, place, operation === 0, report)
      }
    }
    changed = !READS.has(step.split(' ')[0]) || /new segment/.test(step)
  }
}

/** All that is promised of a disk: what is acknowledged is found, readers see no more, and it goes on. */
async function judge(
  image: SimulatedDevice,
  before: Oracle,
  { options }: Procedure,
  place: string,
  report: Report,
): Promise<void> {
  report.judged++
  const handedOut = Math.max(0, ...before.pendingLsns(), ...before.acknowledgedLsns())
  try {
    const device = image.afterKill()
    const shown = await shownBeside(image.afterKill(), options)
    const log = await openSimulated(device, { idleStampMs: 0, ...options })
    const found = await recordsOf(log)
    const wrong = before.copy().judge(found)
    const lsns = new Set(found.map(({ lsn }) => lsn))
    if (shown.some(lsn => !lsns.has(lsn))) wrong.push('a reader was shown what is not there')
    const data = payloadOf(-1, 20)
    const lsn = await log.appendDurable(data)
    if (lsn <= handedOut) wrong.push(`LSN ${lsn} was handed out before`)
    if (!(await log.read(lsn)).equals(data)) wrong.push(`LSN ${lsn} reads as something else`)
    await log.close()
    for (const what of wrong) report.wrong.push(`${place}: ${what}`)
  } catch (error) {
    report.wrong.push(`${place}: ${(error as Error).stack}`)
  }
}

/** What a read-only opening shows, before anybody has opened the log for writing. */
async function shownBeside(device: SimulatedDevice, options: LogOptions = {}): Promise<number[]> {
  try {
    const reader = await openSimulated(device, { ...options, readOnly: true })
    const shown = (await recordsOf(reader)).map(({ lsn }) => lsn)
    await reader.close()
    return shown
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_RIOLOG_NO_LOG') return []
    throw error
  }
}

/** The same for the opening that recovers: of an image with nothing unsynced, reads leave it as it is. */
async function cutOpening(
  image: SimulatedDevice,
  before: Oracle,
  { options }: Procedure,
  place: string,
  isWhole: boolean,
  report: Report,
): Promise<void> {
  const open = (device: SimulatedDevice, rest: LogOptions = {}) =>
    openSimulated(device, { idleStampMs: 0, ...options, ...rest })
  const known = highestOf(image)
  const steps: string[] = []
  const uncut = image.afterKill()
  uncut.interference = asked => {
    steps[asked.index] = stepOf(asked, known)
    return undefined
  }
  const whole = await open(uncut)
  const opens = steps.length
  await whole.close()
  for (const [operation, step] of steps.slice(0, opens).entries()) {
    const stamps = /copy$|^sync MANIFEST/.test(step)
    if (!isWhole && !stamps) continue
    const device = image.afterKill()
    device.interference = ({ index }) => {
      if (index === operation) device.cutPower()
      return undefined
    }
    await untilCut(open(device), device)
    report.cutsOfOpenings += LEFT_OF_OPENINGS.length
    for (const { left, device: again } of imagesOf(device, LEFT_OF_OPENINGS)) {
      report.judged++
      const where = `${place}; opening cut at ${operation} (${step}), left: ${left}`
      try {
        const log = await open(again)
        const wrong = before.copy().judge(await recordsOf(log))
        for (const what of wrong) report.wrong.push(`${where}: ${what}`)
      } catch (error) {
        report.wrong.push(`${where}: ${(error as Error).stack}`)
      }
    }
  }
}

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
import { addon } from '../../src/native.ts'

/** Says of what a cut has left behind what is wrong with it, by what had happened before. */
export interface Judge {
  /** All that is promised. The image stays as it is. */
  whole(image: SimulatedDevice): Promise<string[]>
  /** That nothing was lost, once an opening was cut, too. */
  again(image: SimulatedDevice): Promise<string[]>
  /** The opening that is cut. */
  open(device: SimulatedDevice): Promise<{ close(): Promise<unknown> }>
}

export interface Scenario {
  readonly device: SimulatedDevice
  readonly judge: Judge
  /** The procedure, and nothing else; it resolves when all that belongs to it is done. */
  run(): Promise<unknown>
}

export interface Procedure {
  readonly name: string
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
  const decided = new Set<string>()
  for (const { name, names, fate } of lefts) {
    // Where little was unsynced, many of them come to the same.
    const decision = `${names} ${Array.from({ length: count }, (_, i) => fate(i, count))}`
    if (decided.has(decision)) continue
    decided.add(decision)
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
    const { device, judge, run } = await procedure.make()
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
      report.judged++
      await note(judge.whole(image.device), place, report)
      // Of what each cut may leave one thing, by turns; commits come again and again.
      if (changed && before < TIMES && i === operation % images.length) {
        await cutOpening(image.device, judge, place, operation === 0, report)
      }
    }
    changed = !READS.has(step.split(' ')[0]) || /new segment/.test(step)
  }
}

async function note(judging: Promise<string[]>, place: string, report: Report): Promise<void> {
  const wrong = await judging.catch(error => [String((error as Error).stack)])
  for (const what of wrong) report.wrong.push(`${place}: ${what}`)
}

/** The same for the opening that recovers: of an image with nothing unsynced, reads leave it as it is. */
async function cutOpening(
  image: SimulatedDevice,
  judge: Judge,
  place: string,
  isWhole: boolean,
  report: Report,
): Promise<void> {
  const known = highestOf(image)
  const steps: string[] = []
  const uncut = image.afterKill()
  uncut.interference = asked => {
    steps[asked.index] = stepOf(asked, known)
    return undefined
  }
  const opened = await judge.open(uncut)
  const ofOpening = steps.slice()
  await opened.close()
  for (const [operation, step] of ofOpening.entries()) {
    const stamps = /copy$|^sync MANIFEST/.test(step)
    if (!isWhole && !stamps) continue
    const device = image.afterKill()
    device.interference = ({ index }) => {
      if (index === operation) device.cutPower()
      return undefined
    }
    await untilCut(judge.open(device), device)
    report.cutsOfOpenings += LEFT_OF_OPENINGS.length
    for (const { left, device: again } of imagesOf(device, LEFT_OF_OPENINGS)) {
      report.judged++
      const where = `${place}; opening cut at ${operation} (${step}), left: ${left}`
      await note(judge.again(again), where, report)
    }
  }
}

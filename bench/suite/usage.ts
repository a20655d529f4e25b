/** What a round takes of the machine, beside its time. */
import { readFileSync } from 'node:fs'
import type { Figures } from './contender.ts'

export interface Outcome {
  readonly operations: number
  readonly seconds: number
  /** Of the records. */
  readonly bytes: number
  readonly [name: string]: number
}

/**
 * Before each round counts. A process that has waited for its turn for seconds begins at half its speed, and takes
 * some 100 ms to find it again; the C program and fio, which are started for each round, write for longer before theirs.
 */
export const ROUND_WARM_UP_MS = 200

/**
 * Before a contender's first round, in rounds: 4 s. V8 optimizes for so long, in threads that take the CPUs from the disk's
 * interrupts and workers meanwhile, and drops what it made when the first segment is full. A server has that behind it;
 * after 0.3 s, as it was, 64 callers did 0.72 of the records/s, and p99 was two to three times as long.
 */
const WARM_UP_ROUNDS = 10

const WARM_UP_MS_MAX = 4000

/** @param milliseconds of a round */
export function warmUpMs(milliseconds: number): number {
  return Math.min(WARM_UP_ROUNDS * milliseconds, WARM_UP_MS_MAX)
}

const SECTOR = 512
/** Nothing is written for so long: longer than stores wait between two pieces of their own work. */
const QUIET_MS = 20
const QUIET_MS_MAX = 3000
/** Of /sys/block/DEVICE/stat: the seventh figure is the sectors that were written. */
const SECTORS_WRITTEN = 6

/** Bytes that this process has had read from or written to devices (proc(5), /proc/pid/io). */
export function deviceBytes(kind: 'read' | 'write'): number {
  try {
    const text = readFileSync('/proc/self/io', 'utf8')
    return Number(new RegExp(`^${kind}_bytes: (\\d+)$`, 'm').exec(text)?.[1])
  } catch {
    return Number.NaN
  }
}

function sectorsWritten(stat: string | undefined): number {
  if (stat === undefined) return Number.NaN
  return Number(readFileSync(stat, 'utf8').trim().split(/\s+/)[SECTORS_WRITTEN])
}

/** What is not timed, and writes all the same. */
export interface Around {
  before(): Promise<Outcome>
  after(): Promise<unknown>
}

/** @param stat the file that counts what the device does, all processes' together */
export async function measured(
  run: () => Promise<Outcome>,
  stat: string | undefined,
  around?: Around,
): Promise<Figures> {
  const written = deviceBytes('write')
  const sectors = sectorsWritten(stat)
  const before = await around?.before()
  const cpu = process.cpuUsage()
  const outcome = await run()
  const { user, system } = process.cpuUsage(cpu)
  await around?.after()
  const { operations, seconds, bytes } = outcome
  const appended = bytes + (before?.bytes ?? 0)
  return finite({
    ...outcome,
    perSecond: operations / seconds,
    bytesPerSecond: bytes / seconds,
    cpuUs: (user + system) / operations,
    writtenPerByte: (deviceBytes('write') - written) / appended,
    deviceWrittenPerByte: ((sectorsWritten(stat) - sectors) * SECTOR) / appended,
    rssMiB: process.memoryUsage.rss() / 2 ** 20,
    peakRssMiB: process.resourceUsage().maxRSS / 1024,
  })
}

/**
 * Resolves when this process has stopped to write: what a store still does for itself must not fall into
 * the round of the next contender. There are stores that never stop.
 */
export async function quiet(): Promise<void> {
  const deadline = performance.now() + QUIET_MS_MAX
  for (let before = Number.NaN; performance.now() < deadline; ) {
    const written = deviceBytes('write')
    if (written === before || Number.isNaN(written)) return
    before = written
    await new Promise(resolve => setTimeout(resolve, QUIET_MS))
  }
}

/** Without what could not be found out here: JSON has no NaN. */
export function finite(figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => Number.isFinite(value)))
}

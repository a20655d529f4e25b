/** Openings: of a log that was closed, and of one whose writer was killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Log, type LogOptions } from 'riolog'
import type { Figures, Session } from '../contender.ts'
import { deviceBytes, finite } from '../usage.ts'

export interface OpeningSettings {
  readonly directory: string
  readonly segmentSize: number
  readonly record: number
  /** How much a filling appends, and each opening behind it. */
  readonly bytes: number
  /** Gives back what lies inside the files of sealed segments: of what a scan would read, an opening reads nothing. */
  readonly holes?: boolean
}

const IN_FLIGHT = 8
/** Of each file with a hole, at either end. */
const KEPT_BYTES = 1 << 20

const optionsOf = ({ segmentSize }: OpeningSettings): LogOptions => ({ segmentSize })

async function fill(log: Log, recordBytes: number, until: number): Promise<void> {
  const record = Buffer.alloc(recordBytes, 'riolog')
  let appended = 0
  const caller = async () => {
    while (appended < until) {
      appended += recordBytes
      await log.appendDurable(record)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
}

/** Files as long as before, and nearly empty (fallocate(1)): a log of 100 GiB on a disk that has no room for one. */
function punchHoles(log: Log, { directory, segmentSize }: OpeningSettings): () => Promise<void> {
  const length = segmentSize - 2 * KEPT_BYTES
  const range = ['--punch-hole', '--offset', String(KEPT_BYTES), '--length', String(length)]
  let punched = Promise.resolve()
  const punch = async (file: string) => {
    const child = spawn('fallocate', [...range, join(directory, file)], { stdio: 'inherit' })
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`no hole in ${file}`)
  }
  const stop = log.onSealed(({ number }) => {
    const file = `${String(number).padStart(16, '0')}.seg`
    punched = punched.then(() => punch(file))
  })
  return () => {
    stop()
    return punched
  }
}

/** Fills a log, and goes on appending when it is measured, until it is killed. */
export async function startFilling(settings: OpeningSettings): Promise<Session> {
  const log = await Log.open(settings.directory, optionsOf(settings))
  const done = settings.holes ? punchHoles(log, settings) : undefined
  await fill(log, settings.record, settings.bytes)
  await done?.()
  return { measure: () => appendOn(log, settings), close: () => log.close() }
}

async function appendOn(log: Log, { record }: OpeningSettings): Promise<Figures> {
  fill(log, record, Number.POSITIVE_INFINITY).catch(() => {})
  return {}
}

/** Is measured once, by opening the log; from then on it appends as a filling does. */
export async function startOpening(settings: OpeningSettings): Promise<Session> {
  let log: Log
  const open = async () => {
    const before = deviceBytes('read')
    const started = performance.now()
    log = await Log.open(settings.directory, optionsOf(settings))
    const milliseconds = performance.now() - started
    const readMiB = (deviceBytes('read') - before) / 2 ** 20
    const { segments, segmentSize } = log.info()
    const sizes = { segments: segments.length, segmentMiB: segmentSize / 2 ** 20 }
    const figures = finite({ milliseconds, readMiB, ...sizes })
    await fill(log, settings.record, settings.bytes)
    return figures
  }
  return {
    measure: async round => (round === 0 ? open() : appendOn(log, settings)),
    close: () => log.close(),
  }
}

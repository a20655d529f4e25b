/** Openings: of a log that was closed, and of one whose writer was killed. */
import { Log, type LogOptions } from 'riolog'
import type { Figures, Session } from '../contender.ts'
import { deviceBytes, finite } from '../usage.ts'

export interface OpeningSettings {
  readonly directory: string
  readonly segmentSize: number
  readonly record: number
  /** How much a filling appends, and each opening behind it. */
  readonly bytes: number
}

const IN_FLIGHT = 8

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

/** Fills a log, and goes on appending when it is measured, until it is killed. */
export async function startFilling(settings: OpeningSettings): Promise<Session> {
  const log = await Log.open(settings.directory, optionsOf(settings))
  await fill(log, settings.record, settings.bytes)
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

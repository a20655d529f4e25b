/** Many logs in one process, each with one caller that appends. */
import { join } from 'node:path'
import { Log } from 'riolog'
import { Latencies } from '../../latencies.ts'
import type { Session } from '../contender.ts'
import { measured, type Outcome, ROUND_WARM_UP_MS } from '../usage.ts'

export interface ManyLogsSettings {
  readonly directory: string
  readonly logs: number
  readonly bytes: number
  readonly milliseconds: number
}

/** Small, since each log has two files. */
const SEGMENT_SIZE = 1 << 20
/** Opened at a time. */
const OPENINGS = 8

export async function startManyLogs(settings: ManyLogsSettings): Promise<Session> {
  const { directory, bytes, milliseconds } = settings
  const started = performance.now()
  const logs = await openAll(directory, settings.logs)
  const openMs = (performance.now() - started) / settings.logs
  const latencies = new Latencies()
  const run = async (duration: number): Promise<Outcome> => {
    const record = Buffer.alloc(bytes, 7)
    latencies.clear()
    const start = performance.now()
    const caller = async (log: Log) => {
      for (let now = start; now < start + duration; ) {
        await log.appendDurable(record)
        const after = performance.now()
        latencies.add(after - now)
        now = after
      }
    }
    await Promise.all(logs.map(caller))
    const seconds = (performance.now() - start) / 1000
    const { count } = latencies
    const figures = { openMs, ...latencies.percentiles() }
    return { operations: count, seconds, bytes: count * bytes, ...figures }
  }
  await run(milliseconds)
  return {
    measure: async () => {
      await run(ROUND_WARM_UP_MS)
      return measured(() => run(milliseconds), undefined)
    },
    close: () => Promise.all(logs.map(log => log.close())),
  }
}

async function openAll(directory: string, count: number): Promise<Log[]> {
  const logs: Log[] = []
  let next = 0
  const opener = async () => {
    while (next < count) {
      const path = join(directory, String(next++))
      logs.push(await Log.open(path, { segmentSize: SEGMENT_SIZE }))
    }
  }
  await Promise.all(Array.from({ length: OPENINGS }, opener))
  return logs
}

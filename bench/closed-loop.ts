/** Callers in a closed loop: each appends one record, awaits that it is durable, and goes on. */
import { Latencies, type Percentiles } from './latencies.ts'

export interface Appender {
  readonly name: string
  append(record: Uint8Array): Promise<unknown>
  close(): Promise<void>
}

export interface Result extends Percentiles {
  readonly records: number
  readonly seconds: number
  readonly recordsPerSecond: number
}

/** @param milliseconds how long to append; the time to finish counts too */
export async function runClosedLoop(
  appender: Pick<Appender, 'append'>,
  callers: number,
  recordBytes: number,
  milliseconds: number,
  latencies = new Latencies(),
): Promise<Result> {
  latencies.clear()
  const started = performance.now()
  const deadline = started + milliseconds
  const caller = async (id: number) => {
    const record = Buffer.alloc(recordBytes, id)
    for (let now = performance.now(); now < deadline && !latencies.isFull; ) {
      await appender.append(record)
      const after = performance.now()
      latencies.add(after - now)
      now = after
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, id) => caller(id)))
  const seconds = (performance.now() - started) / 1000
  const records = latencies.count
  return { records, seconds, recordsPerSecond: records / seconds, ...latencies.percentiles() }
}

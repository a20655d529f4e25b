/** Callers in a closed loop: each appends one record, awaits that it is durable, and goes on. */

export interface Appender {
  readonly name: string
  append(record: Uint8Array): Promise<unknown>
  close(): Promise<void>
}

export interface Result {
  readonly recordsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
}

/** @param milliseconds how long to append; the time to finish counts too */
export async function runClosedLoop(
  appender: Appender,
  callers: number,
  recordBytes: number,
  milliseconds: number,
): Promise<Result> {
  const latencies: number[] = []
  const started = performance.now()
  const deadline = started + milliseconds
  const caller = async (id: number) => {
    const record = Buffer.alloc(recordBytes, id)
    for (let now = performance.now(); now < deadline; ) {
      await appender.append(record)
      const after = performance.now()
      latencies.push(after - now)
      now = after
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, id) => caller(id)))
  const seconds = (performance.now() - started) / 1000
  latencies.sort((a, b) => a - b)
  const at = (part: number) => Math.round(latencies[Math.floor(latencies.length * part)] * 1000)
  return { recordsPerSecond: latencies.length / seconds, p50Us: at(0.5), p99Us: at(0.99) }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}

export function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)].toFixed(2)
  return `${at(0.25)} to ${at(0.75)}`
}

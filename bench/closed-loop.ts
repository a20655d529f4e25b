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

/** A round has fewer. */
const MAX_SAMPLES = 4_000_000

/** @param milliseconds how long to append; the time to finish counts too */
export async function runClosedLoop(
  appender: Appender,
  callers: number,
  recordBytes: number,
  milliseconds: number,
): Promise<Result> {
  // Preallocated: the measuring must not make garbage that the log is then charged for.
  const latencies = new Float64Array(MAX_SAMPLES)
  let samples = 0
  const started = performance.now()
  const deadline = started + milliseconds
  const caller = async (id: number) => {
    const record = Buffer.alloc(recordBytes, id)
    for (let now = performance.now(); now < deadline && samples < MAX_SAMPLES; ) {
      await appender.append(record)
      const after = performance.now()
      latencies[samples++] = after - now
      now = after
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, id) => caller(id)))
  const seconds = (performance.now() - started) / 1000
  const sorted = latencies.subarray(0, samples).sort()
  const at = (part: number) => Math.round(sorted[Math.floor(samples * part)] * 1000)
  return { recordsPerSecond: samples / seconds, p50Us: at(0.5), p99Us: at(0.99) }
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

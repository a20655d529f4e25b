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

/**
 * Reads the clock once for all callers that go on together, as the C program does for a group: a reading for each record
 * is a few hundredths of what 512 callers do. A latency is from one such moment to the next, so nothing falls between them.
 */
class SharedClock {
  #now = 0
  #isRead = false
  readonly #forget = () => {
    this.#isRead = false
  }

  now(): number {
    if (this.#isRead) return this.#now
    this.#isRead = true
    this.#now = performance.now()
    // Behind those who are about to go on by now.
    queueMicrotask(this.#forget)
    return this.#now
  }
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
  const clock = new SharedClock()
  const caller = async (id: number) => {
    const record = Buffer.alloc(recordBytes, id)
    for (let now = clock.now(); now < deadline && !latencies.isFull; ) {
      await appender.append(record)
      const after = clock.now()
      latencies.add(after - now)
      now = after
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, id) => caller(id)))
  return resultOf(latencies, started)
}

function resultOf(latencies: Latencies, started: number): Result {
  const seconds = (performance.now() - started) / 1000
  const records = latencies.count
  return { records, seconds, recordsPerSecond: records / seconds, ...latencies.percentiles() }
}

export type Tell = (record: Uint8Array, done: (error: unknown) => void) => unknown

/** The same with callers that are called back, and have no promise. */
export function runCallbackLoop(
  append: Tell,
  callers: number,
  recordBytes: number,
  milliseconds: number,
  latencies = new Latencies(),
): Promise<Result> {
  latencies.clear()
  const started = performance.now()
  const deadline = started + milliseconds
  const clock = new SharedClock()
  return new Promise((resolve, reject) => {
    let going = callers
    const caller = (id: number) => {
      const record = Buffer.alloc(recordBytes, id)
      let since = clock.now()
      const done = (error: unknown) => {
        if (error !== undefined) return reject(error)
        const now = clock.now()
        latencies.add(now - since)
        since = now
        if (now < deadline && !latencies.isFull) append(record, done)
        else if (--going === 0) resolve(resultOf(latencies, started))
      }
      append(record, done)
    }
    for (let id = 0; id < callers; id++) caller(id)
  })
}

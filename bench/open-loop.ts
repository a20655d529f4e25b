/**
 * Records that come at a fixed rate, whether the earlier ones are durable or not, as requests come to a
 * server. A closed loop asks less while it waits, and so leaves out what the others would have waited
 * meanwhile (coordinated omission). Here a latency counts from when a record was due, however late the
 * loop comes to it.
 */
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { Appender } from './closed-loop.ts'
import { Latencies, type Percentiles } from './latencies.ts'

export interface OpenLoopResult extends Percentiles {
  readonly records: number
  /** From the first arrival until the last one is durable. */
  readonly seconds: number
}

/** The times at which records are due, in milliseconds: as independent clients come (Poisson). */
export function* arrivals(perSecond: number, milliseconds: number, seed: number) {
  const random = xoroshiro128plus(seed | 0)
  const gap = () => (-Math.log(1 - uniformFloat64(random)) * 1000) / perSecond
  for (let due = gap(); due < milliseconds; due += gap()) yield due
}

/** What tests replace. */
export interface Clock {
  now(): number
  /** Gives the event loop one turn. */
  turn(): Promise<unknown>
}

const REAL: Clock = {
  now: () => performance.now(),
  // A timer would be up to a millisecond late. This spins, so no CPU time is taken of an open loop.
  turn: () => new Promise(resolve => setImmediate(resolve)),
}

/** @param dues ascending, in milliseconds from the start */
export async function runOpenLoop(
  appender: Pick<Appender, 'append'>,
  recordBytes: number,
  dues: Iterable<number>,
  clock = REAL,
  latencies = new Latencies(),
): Promise<OpenLoopResult> {
  latencies.clear()
  const record = Buffer.alloc(recordBytes, 7)
  const started = clock.now()
  let waiting = 0
  let failure: unknown
  const append = (due: number) => {
    waiting++
    appender.append(record).then(
      () => {
        waiting--
        latencies.add(clock.now() - started - due)
      },
      error => {
        waiting--
        failure ??= error
      },
    )
  }
  const times = dues[Symbol.iterator]()
  let next = times.next()
  while (!next.done || waiting > 0) {
    // Looked at for each one: those that came due while the last one was appended are due, too.
    while (!next.done && next.value <= clock.now() - started) {
      append(next.value)
      next = times.next()
    }
    await clock.turn()
    if (failure !== undefined) throw failure
  }
  const seconds = (clock.now() - started) / 1000
  return { records: latencies.count, seconds, ...latencies.percentiles() }
}

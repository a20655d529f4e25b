/** A log that is read: all of it in order, or records at random. */
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { Log } from 'riolog'
import { Latencies } from '../../latencies.ts'
import type { Session } from '../contender.ts'
import { measured, type Outcome, ROUND_WARM_UP_MS, warmUpMs } from '../usage.ts'

export interface ReadSettings {
  readonly directory: string
  readonly bytes: number
  readonly records: number
  readonly load: 'scan' | 'scanBatches' | { depth: number; milliseconds: number; seed: number }
}

export async function startReads({ directory, bytes, records, load }: ReadSettings) {
  const log = await Log.open(directory)
  const lsns = await fill(log, bytes, records)
  const session = (
    warmUp: (round: number) => Promise<unknown>,
    run: (round: number) => Promise<Outcome>,
  ): Session => ({
    measure: async round => {
      await warmUp(round)
      return measured(() => run(round), undefined)
    },
    close: () => log.close(),
  })
  if (load !== 'scan' && load !== 'scanBatches') {
    const { depth, milliseconds, seed } = load
    const read = (ms: number, from: number) => readAtRandom(log, lsns, bytes, depth, ms, from)
    await read(warmUpMs(milliseconds), seed - 1)
    return session(
      round => read(ROUND_WARM_UP_MS, seed - 2 - round),
      round => read(milliseconds, seed + round),
    )
  }
  const run = load === 'scan' ? scan : scanBatches
  return session(
    () => run(log, bytes, ROUND_WARM_UP_MS),
    async () => {
      const outcome = await run(log, bytes)
      const { operations } = outcome
      if (operations !== records) throw new Error(`${operations} of ${records} records`)
      return outcome
    },
  )
}

async function fill(log: Log, bytes: number, count: number): Promise<number[]> {
  const lsns: number[] = []
  const record = Buffer.alloc(bytes, 'riolog')
  while (lsns.length < count) {
    try {
      while (lsns.length < count) {
        // Each of them another one, so that the right record is told from any other.
        record.writeUInt32LE(lsns.length)
        lsns.push(log.append(record))
      }
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
      await log.drain()
    }
  }
  await log.flush()
  return lsns
}

/** So many records between two looks at the clock, at most. */
const LOOK_EACH = 4096

async function scan(log: Log, bytes: number, milliseconds = Infinity): Promise<Outcome> {
  const started = performance.now()
  let count = 0
  for await (const { data } of log.scan()) {
    check(data, bytes, count++)
    if (count % LOOK_EACH === 0 && performance.now() > started + milliseconds) break
  }
  return outcomeOf(started, count, bytes)
}

async function scanBatches(log: Log, bytes: number, milliseconds = Infinity): Promise<Outcome> {
  const started = performance.now()
  let count = 0
  for await (const batch of log.scanBatches()) {
    for (const { data } of batch) check(data, bytes, count++)
    if (performance.now() > started + milliseconds) break
  }
  return outcomeOf(started, count, bytes)
}

function check(data: Buffer, bytes: number, index: number): void {
  if (data.length !== bytes || data.readUInt32LE() !== index) throw new Error('another record')
}

function outcomeOf(started: number, count: number, bytes: number): Outcome {
  const seconds = (performance.now() - started) / 1000
  return { operations: count, seconds, bytes: count * bytes }
}

async function readAtRandom(
  log: Log,
  lsns: readonly number[],
  bytes: number,
  depth: number,
  milliseconds: number,
  seed: number,
): Promise<Outcome> {
  const random = xoroshiro128plus(seed | 0)
  const latencies = new Latencies()
  const started = performance.now()
  const deadline = started + milliseconds
  const reader = async () => {
    for (let now = performance.now(); now < deadline; ) {
      const number = uniformInt(random, 0, lsns.length - 1)
      const data = await log.read(lsns[number])
      if (data.readUInt32LE() !== number) throw new Error('another record')
      const after = performance.now()
      latencies.add(after - now)
      now = after
    }
  }
  await Promise.all(Array.from({ length: depth }, reader))
  const seconds = (performance.now() - started) / 1000
  const { count } = latencies
  return { operations: count, seconds, bytes: count * bytes, ...latencies.percentiles() }
}

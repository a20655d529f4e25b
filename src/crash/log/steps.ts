/** What a workload does with a log: plain objects, so that a failing run can be reduced to the fewest. */
import type { LogOptions } from '../../log/options.ts'
import type { Random } from '../random.ts'

/** What the log's own workload can do. */
export type LogStep =
  | { readonly do: 'open'; readonly options: StepOptions }
  | { readonly do: 'append'; readonly bytes: number }
  | { readonly do: 'batch'; readonly bytes: readonly number[] }
  /** Asks for durability, and goes on. */
  | { readonly do: 'flush' }
  /** Waits until all is durable that was asked for. */
  | { readonly do: 'wait' }
  | { readonly do: 'flushSync' }
  /** `at`: a part of 1000 of what is acknowledged. */
  | { readonly do: 'trim'; readonly at: number }
  | { readonly do: 'rewind'; readonly at: number }
  | { readonly do: 'sleep'; readonly ms: number }
  | { readonly do: 'reopen' }
  | { readonly do: 'scan' }

/** The log's options that make a difference to a crash (`LogOptions`). */
export interface StepOptions {
  /** As in `LogOptions`. */
  readonly maxGroupBytes: number
  /** As in `LogOptions`. */
  readonly commitsInFlight: number
  /** As in `LogOptions`; on a simulated disk `auto` is never on. */
  readonly overlap?: 'auto' | 'always'
  /** As in `LogOptions`; on a simulated disk `auto` takes turns. */
  readonly sync: 'auto' | 'fdatasync' | 'dsync'
  /** As in `LogOptions`. */
  readonly maxDelayMs: number
  /** As in `LogOptions`. */
  readonly recycledSegments: number
  /** As in `LogOptions`. */
  readonly zeroedSegments?: number
  /** As in `LogOptions`. */
  readonly commitTimeoutMs: number
  /** Records are compressed and encrypted. */
  readonly isPacked: boolean
}

export const DEFAULTS: StepOptions = {
  maxGroupBytes: 8192,
  commitsInFlight: 1,
  sync: 'fdatasync',
  maxDelayMs: 0,
  recycledSegments: 2,
  commitTimeoutMs: 0,
  isPacked: false,
}

export function randomSteps(random: Random): LogStep[] {
  const steps: LogStep[] = []
  if (random.chance(0.6)) steps.push({ do: 'open', options: randomOptions(random) })
  const count = random.int(1, random.chance(0.3) ? 60 : 25)
  // Some lives fill segments, and some rewind and trim all the time.
  const long = random.chance(0.3) ? 0.4 : 0.08
  const changes = random.chance(0.3) ? 0.15 : 0.03
  for (let i = 0; i < count; i++) steps.push(randomStep(random, long, changes))
  return steps
}

function randomStep(random: Random, long: number, changes: number): LogStep {
  const kind = random.int(0, 999) / 1000
  const bytes = () => (random.chance(long) ? random.int(3000, 20_000) : random.int(0, 400))
  if (kind < changes) return { do: 'trim', at: random.int(0, 1000) }
  if (kind < 2 * changes) return { do: 'rewind', at: random.int(0, 1000) }
  if (kind < 2 * changes + 0.03) return { do: 'reopen' }
  if (kind < 0.5) return { do: 'append', bytes: bytes() }
  if (kind < 0.6) return { do: 'batch', bytes: Array.from({ length: random.int(1, 6) }, bytes) }
  if (kind < 0.8) return { do: 'flush' }
  if (kind < 0.88) return { do: 'wait' }
  if (kind < 0.91) return { do: 'flushSync' }
  if (kind < 0.93) return { do: 'scan' }
  return { do: 'sleep', ms: random.chance(0.2) ? 1500 : random.int(1, 50) / 1000 }
}

function randomOptions(random: Random): StepOptions {
  return {
    ...DEFAULTS,
    maxGroupBytes: random.chance(0.5) ? 8192 : 1 << 20,
    commitsInFlight: random.chance(0.4) ? random.int(2, 4) : 1,
    sync: syncOf(random.int(0, 99)),
    maxDelayMs: random.chance(0.2) ? random.int(1, 5) : 0,
    recycledSegments: random.int(0, 2),
    commitTimeoutMs: random.chance(0.3) ? 100 : 0,
    isPacked: random.chance(0.05),
    overlap: random.chance(0.4) ? 'always' : 'auto',
    zeroedSegments: random.int(0, 2),
  }
}

function syncOf(percent: number): StepOptions['sync'] {
  if (percent < 15) return 'auto'
  return percent < 30 ? 'dsync' : 'fdatasync'
}

const KEY = Buffer.alloc(32, 5)
const PLAIN: LogOptions = {}
const PACKED: LogOptions = {
  compression: 'deflate',
  encryption: { keyId: 1, key: () => KEY, acceptPlain: true },
}
const known = new Map<string, LogOptions>()

/** The log's options; the same object for the same ones, since checking them takes its time. */
export function logOptionsOf(options: StepOptions = DEFAULTS): LogOptions {
  const id = JSON.stringify(options)
  const { isPacked, ...rest } = options
  const made = known.get(id) ?? { ...rest, ...(isPacked && PACKED) }
  known.set(id, made)
  return made
}

/** For an opening that only reads. */
export function readingOptions(isPacked: boolean): LogOptions {
  return isPacked ? PACKED : PLAIN
}

const PATTERN = Buffer.alloc(1 << 17)
for (let i = 0, x = 1; i < PATTERN.length; i++) {
  x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0
  PATTERN[i] = x >>> 24
}

/** Bytes that tell one append from another. */
export function payloadOf(id: number, bytes: number): Buffer {
  const from = (id * 37) % (1 << 16)
  const payload = Buffer.from(PATTERN.subarray(from, from + bytes))
  if (bytes >= 4) payload.writeUInt32LE(id >>> 0)
  return payload
}

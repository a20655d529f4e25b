/** One of YCSB's workloads on one key-value store, each write awaited durable. */
import { randomBytes } from 'node:crypto'
import { Latencies } from '../../latencies.ts'
import { Peers } from '../../peers/load.ts'
import type { Session } from '../contender.ts'
import { type KvStore, type KvStoreName, openKvStore } from '../kv-stores.ts'
import { measured, type Outcome, quiet, ROUND_WARM_UP_MS, warmUpMs } from '../usage.ts'
import { Chooser, type Distribution, kindOf, type Workload, Zipfian } from '../workloads.ts'

export interface YcsbSettings {
  readonly store: KvStoreName
  readonly directory: string
  /** riolog's own folder. */
  readonly root: string
  readonly workload: Workload
  readonly distribution: Distribution
  readonly callers: number
  /** What the store holds before the first operation. */
  readonly records: number
  readonly valueBytes: number
  readonly milliseconds: number
}

/** Its rounds are twice as long as others. */
const WARM_UP_PART = 1 / 2
const SCAN_MAX = 100
const LOADED_TOGETHER = 1000
/** Made ahead: to make one takes a tenth of what the fastest store takes to keep it. */
const VALUES = 1024

export async function startYcsb(settings: YcsbSettings): Promise<Session> {
  const { store: name, directory, root, milliseconds } = settings
  const store = await openKvStore(name, directory, new Peers(root))
  const run = new Run(store, settings)
  await run.load()
  await run.measure(WARM_UP_PART * warmUpMs(milliseconds))
  await quiet()
  return {
    measure: async () => {
      await run.measure(ROUND_WARM_UP_MS)
      const figures = await measured(() => run.measure(milliseconds), undefined)
      await quiet()
      return figures
    },
    close: () => store.close(),
  }
}

class Run {
  readonly #store: KvStore
  readonly #settings: YcsbSettings
  readonly #values: Buffer[]
  readonly #chooser: Chooser
  readonly #latencies = new Latencies()
  #lastValue = 0
  /** How many records there are by now. */
  #count = 0

  constructor(store: KvStore, settings: YcsbSettings) {
    const { records, valueBytes, workload, distribution } = settings
    this.#store = store
    this.#settings = settings
    this.#values = Array.from({ length: VALUES }, () => randomBytes(valueBytes))
    this.#chooser = new Chooser(new Zipfian(records), distribution, workload.latest ?? false)
  }

  async load(): Promise<void> {
    const { records } = this.#settings
    while (this.#count < records) {
      const length = Math.min(LOADED_TOGETHER, records - this.#count)
      await Promise.all(Array.from({ length }, () => this.#insert()))
    }
  }

  /** Callers in a closed loop. */
  async measure(milliseconds: number): Promise<Outcome> {
    const { callers, valueBytes } = this.#settings
    const latencies = this.#latencies
    latencies.clear()
    const start = performance.now()
    const end = start + milliseconds
    let done = 0
    const caller = async () => {
      for (let now = performance.now(); now < end && !latencies.isFull; now = performance.now()) {
        await this.#operate()
        latencies.add(performance.now() - now)
        // Reads that never wait would keep the other callers and the disk from their turns.
        if (++done % callers === 0) await new Promise(resolve => setImmediate(resolve))
      }
    }
    await Promise.all(Array.from({ length: callers }, caller))
    const seconds = (performance.now() - start) / 1000
    return { operations: done, seconds, bytes: done * valueBytes, ...latencies.percentiles() }
  }

  async #operate(): Promise<unknown> {
    const { workload } = this.#settings
    const kind = kindOf(workload)
    if (kind === 'insert') return this.#insert()
    const key = keyOf(this.#chooser.next(this.#count))
    if (kind === 'update') return this.#store.put(key, this.#newValue())
    if (kind === 'scan') return this.#store.scan(key, 1 + Math.floor(Math.random() * SCAN_MAX))
    const value = await this.#store.get(key)
    // One that another caller inserts just now may not be there yet.
    if (value === undefined && !workload.latest) throw new Error(`${key} is lost`)
    if (kind === 'modify') return this.#store.put(key, this.#newValue())
    return value
  }

  #insert(): Promise<unknown> {
    return this.#store.put(keyOf(this.#count++), this.#newValue())
  }

  #newValue(): Buffer {
    this.#lastValue = (this.#lastValue + 1) % VALUES
    return this.#values[this.#lastValue]
  }
}

function keyOf(number: number): string {
  return `user${String(number).padStart(12, '0')}`
}

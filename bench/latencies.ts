import { percentile } from './statistics.ts'

/** A round has fewer. */
const MAX_SAMPLES = 4_000_000
const MAX_ON_THEIR_WAY = 100_000

export interface Percentiles {
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
}

/** Preallocated: the measuring must not make garbage that what is measured is then charged for. */
export class Latencies {
  readonly #milliseconds = new Float64Array(MAX_SAMPLES)
  #count = 0

  get count(): number {
    return this.#count
  }

  /** With room for those that are still on their way. */
  get isFull(): boolean {
    return this.#count >= MAX_SAMPLES - MAX_ON_THEIR_WAY
  }

  add(milliseconds: number): void {
    // Beyond its end a typed array takes nothing, and says nothing.
    if (this.#count === MAX_SAMPLES) throw new Error(`more than ${MAX_SAMPLES} latencies`)
    this.#milliseconds[this.#count++] = milliseconds
  }

  clear(): void {
    this.#count = 0
  }

  percentiles(): Percentiles {
    const sorted = this.#milliseconds.subarray(0, this.#count).sort()
    const at = (part: number) => percentile(sorted, part) * 1000
    return { p50Us: at(0.5), p99Us: at(0.99), p999Us: at(0.999) }
  }
}

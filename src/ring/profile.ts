import { createHistogram, type Histogram, type RecordableHistogram } from 'node:perf_hooks'
import { OPERATION_NAMES } from './abi.ts'
import type { Operation } from './operation.ts'

/** What a ring with the option `profile` has measured. All times are in nanoseconds. */
export interface RingProfile {
  /** The system call that hands operations over, and the work of filling in their SQEs. */
  readonly submit: Histogram
  /** From the call of a method to the submission: the wait for the end of the turn, or for a place. */
  readonly wait: Histogram
  /** How many operations one submission handed over. */
  readonly batch: Histogram
  /** How many the kernel had after it. */
  readonly inFlight: Histogram
  /** From the submission to the moment that JavaScript knew, by operation. */
  readonly operations: Readonly<Record<string, Histogram>>
}

const NS_PER_MS = 1e6

/** Histograms record integers from 1 on. */
function recordAtLeast1(histogram: RecordableHistogram, value: number): void {
  histogram.record(Math.max(1, Math.round(value)))
}

export class Profiler {
  readonly #submit = createHistogram()
  readonly #wait = createHistogram()
  readonly #batch = createHistogram()
  readonly #inFlight = createHistogram()
  readonly #operations = new Map<number, RecordableHistogram>()

  pushed(operations: readonly Operation[]): void {
    const now = performance.now()
    for (const operation of operations) operation.stamps = { pushedAt: now, submittedAt: now }
  }

  submitted(count: number, ms: number, inFlight: number): void {
    recordAtLeast1(this.#submit, ms * NS_PER_MS)
    recordAtLeast1(this.#batch, count)
    recordAtLeast1(this.#inFlight, inFlight)
  }

  completed(operations: { forEach(visit: (operation: Operation) => void): void }): void {
    const now = performance.now()
    operations.forEach(operation => {
      const { stamps } = operation
      if (stamps === undefined) return
      operation.stamps = undefined
      let histogram = this.#operations.get(operation.opcode)
      if (histogram === undefined) {
        histogram = createHistogram()
        this.#operations.set(operation.opcode, histogram)
      }
      recordAtLeast1(this.#wait, (stamps.submittedAt - stamps.pushedAt) * NS_PER_MS)
      recordAtLeast1(histogram, (now - stamps.submittedAt) * NS_PER_MS)
    })
  }

  read(): RingProfile {
    const operations: Record<string, Histogram> = {}
    for (const [opcode, histogram] of this.#operations) {
      operations[OPERATION_NAMES[opcode]] = histogram
    }
    return {
      submit: this.#submit,
      wait: this.#wait,
      batch: this.#batch,
      inFlight: this.#inFlight,
      operations,
    }
  }
}

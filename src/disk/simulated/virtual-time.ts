/**
 * A time of its own, which passes only while somebody drives it: a queue of events, each run when all
 * promises have settled that the one before it set off. No timer and no turn of the real event loop
 * decides anything, so the same choices come to the same run.
 */
import type { Clock, Timer } from '../clock.ts'
import type { Scheduler } from './scheduler.ts'

/** Decides how long each step takes: an integer from `low` to `high`, both included. */
export interface Choices {
  /** The next choice. */
  int(low: number, high: number): number
}

/** Why {@link VirtualTime.drive} came back: what it waited for is done, nothing is left that could happen,
 *  or it has gone on for too long. */
export type Driven = 'done' | 'idle' | 'endless'

class Event implements Timer {
  readonly at: number
  readonly sequence: number
  run: (() => void) | undefined

  constructor(at: number, sequence: number, run: () => void) {
    this.at = at
    this.sequence = sequence
    this.run = run
  }

  clear(): void {
    this.run = undefined
  }

  ref(): void {
    this.#holds = true
  }

  unref(): void {
    this.#holds = false
  }

  hasRef(): boolean {
    return this.#holds
  }

  #holds = true
}

/** The longest that a step of a device takes, in microseconds of its time. */
const STEP_US_MAX = 16
const SETTLED = Promise.resolve()

/** A time that passes only while it is driven: the same choices come to the same run. */
export class VirtualTime implements Scheduler, Clock {
  readonly clock: Clock = this
  readonly #choices: Choices
  readonly #heap: Event[] = []
  #now = 0
  #sequence = 0

  /** Begins at 0; `choices` decide how long each step takes. */
  constructor(choices: Choices) {
    this.#choices = choices
  }

  now(): number {
    return this.#now
  }

  setTimer(run: () => void, milliseconds: number): Timer {
    return this.#add(Math.max(0.001, milliseconds), run)
  }

  sleep(milliseconds: number): Promise<void> {
    return new Promise(resolve => this.setTimer(resolve, milliseconds))
  }

  pause(milliseconds: number): Promise<void> {
    return this.sleep(milliseconds)
  }

  /** Steps of operations beside each other come in any order; the answer comes at once, or later. */
  operate(isRead: boolean, effect: () => number | undefined, answer: () => void): void {
    const steps = this.#choices.int(0, 2 * STEP_US_MAX ** 2 - 1)
    const first = 1 + (steps % STEP_US_MAX)
    const isLate = !isRead && steps >= STEP_US_MAX ** 2
    const second = isLate ? 1 + (Math.floor(steps / STEP_US_MAX) % STEP_US_MAX) : 0
    this.#add(first / 1000, () => {
      const late = effect()
      if (late === undefined) return
      if (late === 0 && second === 0) answer()
      else this.#add(late + second / 1000, answer)
    })
  }

  /**
   * Lets time pass until `isDone`, or until nothing is left that could happen.
   * @param most events, after which it gives up
   */
  drive(isDone: () => boolean, most = 1_000_000): Promise<Driven> {
    return new Promise((resolve, reject) => {
      let left = most
      const turn = () => {
        if (isDone()) return resolve('done')
        const event = this.#next()
        if (event === undefined) return resolve('idle')
        if (left-- === 0) return resolve('endless')
        this.#now = Math.max(this.#now, event.at)
        try {
          event.run?.()
        } catch (error) {
          return reject(error)
        }
        settle()
      }
      // Twice behind the microtasks and the ticks that they queue: who waits several promises deep, and
      // whoever puts something off behind those, comes before the next event.
      const settle = () => void SETTLED.then(afterMicrotasks)
      const afterMicrotasks = () => process.nextTick(afterTicks)
      const afterTicks = () => void SETTLED.then(again)
      const again = () => process.nextTick(turn)
      settle()
    })
  }

  #next(): Event | undefined {
    for (;;) {
      const event = this.#pop()
      if (event === undefined || event.run !== undefined) return event
    }
  }

  #add(delayMs: number, run: () => void): Event {
    const event = new Event(this.#now + delayMs, this.#sequence++, run)
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent])) break
      heap[at] = heap[parent]
      at = parent
    }
    heap[at] = event
    return event
  }

  #pop(): Event | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++
      if (!isBefore(heap[child], last)) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = last
    return first
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence)
}

/**
 * Who is told when a group is durable. Kept as columns that are filled again for group after group: an
 * object for each of them, in a list made for each group, is garbage that V8 takes for long-lived.
 */
import type { RiologError } from '../errors.ts'

export type Resolve = (lsn: number) => void
export type Reject = (error: unknown) => void
/**
 * Called once the record at `lsn` is durable, or with the error that says why nobody knows
 * (ERR_RIOLOG_POISONED). What it throws is uncaught.
 */
export type WhenDurable = (error: RiologError | undefined, lsn: number) => void

export class Waiters {
  #count = 0
  /** Of a promise its resolver, with the rejecter beside it; else what is called in both cases. */
  readonly #told: (Resolve | WhenDurable | undefined)[] = []
  readonly #rejecters: (Reject | undefined)[] = []
  readonly #lsns: number[] = []

  get count(): number {
    return this.#count
  }

  addPromise(resolve: Resolve, reject: Reject, lsn: number): void {
    this.#add(resolve, reject, lsn)
  }

  addCallback(whenDurable: WhenDurable, lsn: number): void {
    this.#add(whenDurable, undefined, lsn)
  }

  /** In the order in which they came; nobody is added meanwhile. */
  resolveAll(): void {
    for (let i = 0; i < this.#count; i++) {
      const told = this.#told[i]!
      if (this.#rejecters[i] !== undefined) (told as Resolve)(this.#lsns[i])
      else call(told as WhenDurable, undefined, this.#lsns[i])
    }
    this.#clear()
  }

  rejectAll(error: RiologError): void {
    for (let i = 0; i < this.#count; i++) {
      const reject = this.#rejecters[i]
      if (reject !== undefined) reject(error)
      else call(this.#told[i] as WhenDurable, error, this.#lsns[i])
    }
    this.#clear()
  }

  #add(told: Resolve | WhenDurable, reject: Reject | undefined, lsn: number): void {
    const i = this.#count++
    this.#told[i] = told
    this.#rejecters[i] = reject
    this.#lsns[i] = lsn
  }

  /** Nothing that was told is held any longer. For a few `fill` takes longer than a loop. */
  #clear(): void {
    for (let i = 0; i < this.#count; i++) {
      this.#told[i] = undefined
      this.#rejecters[i] = undefined
    }
    this.#count = 0
  }
}

/** What it throws is uncaught, as it is of an EventTarget's listener, and keeps nobody else from being told. */
function call(whenDurable: WhenDurable, error: RiologError | undefined, lsn: number): void {
  try {
    whenDurable(error, lsn)
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown
    })
  }
}

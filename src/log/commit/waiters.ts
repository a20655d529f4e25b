/**
 * Who is told when a group is durable. Kept as columns that are filled again for group after group: an
 * object for each of them, in a list made for each group, is garbage that V8 takes for long-lived.
 */
import type { RiologError } from '../../errors.ts'
import { throwUncaught } from '../../uncaught.ts'

export type Resolve = (lsn: number) => void
export type Reject = (error: unknown) => void
/**
 * Called once the record at `lsn` is durable, or with the error that says why nobody knows
 * (ERR_RIOLOG_POISONED). What it throws is uncaught.
 */
export type WhenDurable = (error: RiologError | undefined, lsn: number) => void

/** What all groups of a log have in common. */
export class Telling {
  /** Promises of groups that are durable which have not gone on yet: none of a later group may before them. */
  due = 0
}

const resolved = Promise.resolve()

export class Waiters {
  readonly #telling: Telling
  #count = 0
  /** Of a promise its resolver, with the rejecter beside it; else what is called in both cases. */
  readonly #told: (Resolve | WhenDurable | undefined)[] = []
  readonly #rejecters: (Reject | undefined)[] = []
  readonly #lsns: number[] = []
  /** Once there are several promises, all but the first go on from this one. */
  #shared: Promise<void> | undefined
  #resolveShared: () => void = () => {}
  #rejectShared: Reject = () => {}
  #sharing = 0
  /** Of the records among these, and how many of them have taken theirs. */
  readonly #sharedLsns: number[] = []
  #added = 0
  #taken = 0
  readonly #addFirst = (resolve: Resolve, reject: Reject) =>
    this.#add(resolve, reject, this.#lsns[0])
  readonly #share = (resolve: () => void, reject: Reject) => {
    this.#resolveShared = resolve
    this.#rejectShared = reject
  }
  /**
   * One for all of them: a closure for each record is garbage. What goes on from a promise does so in the order in
   * which it asked for it (ECMAScript, 27.2.1.8 TriggerPromiseReactions), and of two promises that of the one that was
   * resolved first: also when a group's memory is in use again before all of its callers have gone on.
   */
  readonly #takeNext = () => {
    this.#telling.due--
    const lsn = this.#sharedLsns[this.#taken++]
    if (this.#taken === this.#added) {
      this.#taken = 0
      this.#added = 0
    }
    return lsn
  }

  constructor(telling: Telling) {
    this.#telling = telling
  }

  /**
   * A promise of a record's LSN. One that goes on from another costs half as much as one with settling functions of
   * its own (docs/DECISIONS.md), but takes two where nobody else waits.
   */
  promise(lsn: number): Promise<number> {
    if (this.#count === 0) {
      this.#lsns[0] = lsn
      return new Promise(this.#addFirst)
    }
    this.#sharedLsns[this.#added++] = lsn
    return this.#goOn(this.#takeNext)
  }

  /** A promise of what is true then, behind those of the records. */
  promiseOf(valueThen: () => number): Promise<number> {
    return this.#goOn(() => {
      this.#telling.due--
      return valueThen()
    })
  }

  #goOn(take: () => number): Promise<number> {
    this.#shared ??= new Promise(this.#share)
    this.#sharing++
    return this.#shared.then(take)
  }

  /** One that was made before. */
  addPromise(resolve: Resolve, reject: Reject, lsn: number): void {
    this.#add(resolve, reject, lsn)
  }

  addCallback(whenDurable: WhenDurable, lsn: number): void {
    this.#add(whenDurable, undefined, lsn)
  }

  /** In the order in which they came. They go on behind this turn: so {@link callAll}, which comes next, is ahead of them. */
  resolvePromises(): void {
    for (let i = 0; i < this.#count; i++) {
      if (this.#rejecters[i] === undefined) continue
      const told = this.#told[i] as Resolve
      const lsn = this.#lsns[i]
      if (this.#telling.due === 0) told(lsn)
      else void resolved.then(() => told(lsn))
    }
    if (this.#shared !== undefined) {
      this.#telling.due += this.#sharing
      this.#resolveShared()
    }
  }

  /** Callbacks, in the order in which they came; nobody is added meanwhile. */
  callAll(): void {
    for (let i = 0; i < this.#count; i++) {
      if (this.#rejecters[i] === undefined)
        call(this.#told[i] as WhenDurable, undefined, this.#lsns[i])
    }
    this.#clear()
  }

  rejectAll(error: RiologError): void {
    for (let i = 0; i < this.#count; i++) {
      const reject = this.#rejecters[i]
      if (reject !== undefined) reject(error)
      else call(this.#told[i] as WhenDurable, error, this.#lsns[i])
    }
    if (this.#shared !== undefined) this.#rejectShared(error)
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
    this.#shared = undefined
    this.#sharing = 0
  }
}

/** What it throws keeps nobody else from being told. */
function call(whenDurable: WhenDurable, error: RiologError | undefined, lsn: number): void {
  try {
    whenDurable(error, lsn)
  } catch (thrown) {
    throwUncaught(thrown)
  }
}

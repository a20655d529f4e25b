/**
 * Whether to do something in another way where no rule tells which one is faster: both take turns for a while,
 * and the one that got more records to the disk is taken, until they are compared again.
 */
import { median } from './median.ts'

/** Commits behind each change of the way that do not count: the callers have to fall into step. */
const SETTLING = 4
/** Commits of a turn that do. */
const MEASURED = 24
/** Turns each way in a comparison. */
const TURNS = 3
/** Turns each way, those of comparisons before too, whose median counts: a collection or a slow commit falls into one. */
const REMEMBERED = 9
/** The other way has to be faster by so much. */
const WINS_FROM = 1.03
/** Commits between two comparisons: at first, and at most. Each one doubles it. */
const FIRST_PAUSE = 64
const LONGEST_PAUSE = 8192

export class Trial {
  #takesOther = false
  #pause = FIRST_PAUSE
  #untilComparison = FIRST_PAUSE
  /** Records a millisecond, turn by turn, the last ones. */
  #rates: { readonly usual: number[]; readonly other: number[] } = { usual: [], other: [] }
  /** To come of a comparison; 0: there is none now. */
  #turns = 0
  #commits = 0
  #records = 0
  #from = 0

  /** Whether the next records are to go the other way. */
  get takesOther(): boolean {
    return this.#takesOther
  }

  /** A commit is durable. @param now milliseconds */
  committed(now: number, records: number): void {
    if (this.#turns === 0) {
      if (--this.#untilComparison <= 0) this.#begin()
      return
    }
    this.#commits++
    this.#records += records
    if (this.#commits === SETTLING) {
      this.#from = now
      this.#records = 0
    }
    if (this.#commits < SETTLING + MEASURED) return
    const rates = this.#rates[this.#takesOther ? 'other' : 'usual']
    rates.push(this.#records / (now - this.#from))
    if (rates.length > REMEMBERED) rates.shift()
    this.#turns--
    if (this.#turns === 0) this.#decide()
    else this.#nextTurn()
  }

  /** What is done has changed, and nothing that was measured tells of it. A choice stands until the next comparison. */
  interrupt(): void {
    if (this.#turns > 0) {
      this.#turns = 0
      this.#takesOther = false
      this.#untilComparison = this.#pause
    }
    if (this.#rates.usual.length > 0) this.#rates = { usual: [], other: [] }
  }

  #begin(): void {
    this.#turns = 2 * TURNS
    this.#nextTurn()
  }

  #nextTurn(): void {
    this.#takesOther = !this.#takesOther
    this.#commits = 0
  }

  #decide(): void {
    const { usual, other } = this.#rates
    this.#takesOther = median(other) > WINS_FROM * median(usual)
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
    this.#untilComparison = this.#pause
  }
}

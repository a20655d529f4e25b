/**
 * Whether callers and the disk work at the same time, or in turns.
 *
 * ```
 *   in turns   disk  ████........████........      the callers of a group go on when it is durable, and
 *              work  ....████████....████████      all of them share the next one
 *
 *   at once    disk  ████.████.████.████.████      half of them are cut when they have appended, and from
 *              work  ████ ████ ████ ████ ████      then on one half is on the disk while the other works
 * ```
 *
 * In turns there is one commit where there would be two: that is the faster way as long as callers do little. Where
 * what they do between two appends takes as long as a good part of a commit, the disk waits for them, and no rule tells
 * which way is faster: it depends on how long the records are, too. So both are tried (trial.ts).
 */
import { performance } from 'node:perf_hooks'
import { Trial } from './trial.ts'

/**
 * `auto`: at once where that is measured to be faster, with callers who take longer than {@link WORTH_TRYING} commits. Not
 * for a simulated disk, whose runs depend on no time.
 */
export type OverlapMode = 'auto' | 'always' | 'never'

/** Two commits instead of one are what it costs: below, it loses (docs/DECISIONS.md). */
const WORTH_TRYING = 3 / 4
/** A commit that is noticed late, behind what callers did meanwhile, tells nothing of the disk: the shortest
 *  of late counts, and is forgotten by so much with each commit. */
const FORGET = 1.02
/** Of the newest measurement in the mean of callers' work. */
const NEWEST = 1 / 8
/** So many more commits have to say so than not: the first ones of a process take longer than any later. */
const VOTES = 8
/**
 * Callers' work, in milliseconds, between two looks for what the kernel has left to this thread (`DiskFile.letGoOn`).
 * A look and the questions before it take as long as to append a short record (docs/DECISIONS.md).
 */
const LOOK_EVERY_MS = 0.005
/** Records between two of them: one more look in so many is not to be measured. */
const MOST_BETWEEN_LOOKS = 64
/** More records than any group holds; an integer that V8 keeps in place of a pointer. */
const ALL = 2 ** 30 - 1
/** Where less than this part waits to be written when a commit comes back, the halves are cut anew. */
const LEAST_PART = 1 / 4

export class Overlap {
  readonly #mode: OverlapMode
  readonly #now: () => number
  /** Milliseconds of a commit. */
  #commitMs = Number.POSITIVE_INFINITY
  /** Means, of commits: milliseconds until all who were told have appended again, and records. */
  #workMs = 0
  #workRecords = 1
  /** Commits that said that it is worth a trial, less those that said no; between 0 and twice {@link VOTES}. */
  #votes = 0
  readonly #trial = new Trial()
  /** Records of the commit that came back last, and when; 0: their callers have gone on. */
  #told = 0
  #toldAt = 0
  #records = Number.POSITIVE_INFINITY
  #isOn = false

  constructor(mode: OverlapMode, now = () => performance.now()) {
    this.#mode = mode
    this.#now = now
  }

  get isOn(): boolean {
    return this.#isOn
  }

  /**
   * A commit came back, and its callers are about to go on.
   * @param now milliseconds, `performance.now`
   * @param ms that it took, from when it was submitted
   * @param records of that group
   * @param open records that came meanwhile, and wait for their commit
   */
  committed(now: number, ms: number, records: number, open: number): void {
    this.#toldAt = now
    this.#told = records
    this.#commitMs = Math.min(ms, this.#commitMs * FORGET)
    this.#records = records + open
    const workMs = (this.#workMs / this.#workRecords) * this.#records
    const isWorthTrying = this.#records > 1 && workMs > WORTH_TRYING * this.#commitMs
    this.#votes = Math.min(Math.max(0, this.#votes + (isWorthTrying ? 1 : -1)), 2 * VOTES)
    this.#isOn = this.#mode === 'always' || (this.#mode === 'auto' && this.#gains(now, records))
  }

  #gains(now: number, records: number): boolean {
    if (this.#votes < VOTES) {
      this.#trial.interrupt()
      return false
    }
    this.#trial.committed(now, records)
    return this.#trial.takesOther
  }

  /** The other half is with the disk, and those who were told go on only now. */
  goOn(): void {
    this.#toldAt = this.#now()
  }

  /** All who were told have done what they do, and have appended again. */
  wentOn(): void {
    if (this.#told === 0) return
    this.#workMs += (this.#now() - this.#toldAt - this.#workMs) * NEWEST
    this.#workRecords += (this.#told - this.#workRecords) * NEWEST
    this.#told = 0
  }

  /**
   * Up to how many records the group that fills may grow with no look at the disk, nor whether it is a half.
   * @param open records that it holds now
   * @param isAwaited whether the disk has a commit to answer
   */
  mayFillTo(open: number, isAwaited: boolean): number {
    if (!this.#isOn) return ALL
    if (!isAwaited) return Math.min(Math.ceil(this.#records / 2), ALL)
    const between = Math.floor((LOOK_EVERY_MS * this.#workRecords) / this.#workMs)
    return open + Math.min(between, MOST_BETWEEN_LOOKS)
  }

  /** Whether a group of so many records is to go to the disk, which has nothing to do. */
  isHalf(open: number): boolean {
    return this.#isOn && open >= this.#records / 2
  }

  /** The same in the moment that a commit has come back: what waits is the other half. */
  isOtherHalf(open: number): boolean {
    return this.#isOn && open >= this.#records * LEAST_PART
  }
}

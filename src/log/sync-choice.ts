/**
 * `sync: 'auto'`: commits become durable the way that is the faster one just now, by what commits take.
 *
 * One write with RWF_DSYNC wakes fewer threads one after the other than a write and the fdatasync behind it: on an
 * idle machine it is faster by a fifth to a third, and by two thirds or more where the thread and the disk's interrupts
 * are on different CPUs. But beside something else that keeps the CPU of those interrupts busy it takes 4 ms, twenty
 * times as long (docs/DECISIONS.md). So now and then both ways take turns for some commits, and three in a row
 * that starve end it.
 */
import type { EngineName, SyncMode } from '../disk/disk.ts'
import { KIB } from '../segment/format.ts'
import { median } from './median.ts'

/** How commits become durable: `log.info().sync`. */
export interface SyncReport {
  /** The way that is taken now. */
  readonly mode: SyncMode
  /** Milliseconds of a commit each way when `auto` last decided: medians, or by `dsync` the last of some that starved. */
  readonly measured?: Readonly<Record<SyncMode, number>>
  /** Why `auto` takes `fdatasync` without measuring. */
  readonly reason?: string
}

/** Commits each way in a comparison. They take turns, so that whatever else happens happens to both. */
const SAMPLES = 15
/** Ways that differ by less are equal for our purpose. */
const WINS_BELOW = 0.95
/** Commits between two comparisons: at first, and at most. Each one doubles it. */
const FIRST_PAUSE = 64
const LONGEST_PAUSE = 4096
/** A commit that takes so many times what one by fdatasync took, and so many milliseconds... */
const STARVED_TIMES = 8
const STARVED_MS = 1
/** ...and so many of them in a row: a disk has single slow ones. */
const STARVED_COMMITS = 3
/** Most of the time of a commit from here on is the transfer, and others may be in flight beside it. */
const LARGE_BYTES = 512 * KIB

type Samples = Record<SyncMode, number[]>

export class SyncChoice {
  readonly #measures: boolean
  readonly #takesTurns: boolean
  readonly #reason: string | undefined
  #mode: SyncMode
  #pause = FIRST_PAUSE
  #untilComparison = FIRST_PAUSE
  /** While both ways take turns. */
  #samples: Samples | undefined
  #measured: Record<SyncMode, number> | undefined
  #turns = 0
  #starvedCommits = 0

  /** @param doubt why RWF_DSYNC is not to be trusted unasked (`DiskDirectory.doubtsDsync`) */
  constructor(option: SyncMode | 'auto', engine: EngineName, doubt: string | undefined) {
    const isAuto = option === 'auto'
    // A simulated disk has no speed, and a run on it depends on no time: both ways are to be tested.
    this.#takesTurns = isAuto && engine === 'simulated'
    this.#measures = isAuto && !this.#takesTurns && doubt === undefined
    this.#reason = isAuto ? doubt : undefined
    this.#mode = isAuto ? 'fdatasync' : option
  }

  get report(): SyncReport {
    return {
      mode: this.#mode,
      ...(this.#measured && { measured: { ...this.#measured } }),
      ...(this.#reason && { reason: this.#reason }),
    }
  }

  /** How the next commit becomes durable. @param bytes that it writes */
  next(bytes: number): SyncMode {
    if (this.#takesTurns) return this.#nextInTurn()
    if (!this.#measures) return this.#mode
    if (bytes >= LARGE_BYTES) return 'fdatasync'
    return this.#samples === undefined ? this.#mode : this.#nextInTurn()
  }

  /** A commit came back good. @param ms from when it was submitted */
  committed(mode: SyncMode, bytes: number, ms: number): void {
    if (!this.#measures || bytes >= LARGE_BYTES) return
    if (mode === 'dsync' && this.#starves(ms)) this.#decide('fdatasync')
    if (this.#samples === undefined) {
      if (--this.#untilComparison <= 0) this.#samples = { fdatasync: [], dsync: [] }
      return
    }
    this.#samples[mode].push(ms)
    const { fdatasync, dsync } = this.#samples
    if (fdatasync.length < SAMPLES || dsync.length < SAMPLES) return
    this.#measured = { fdatasync: median(fdatasync), dsync: median(dsync) }
    const ratio = this.#measured.dsync / this.#measured.fdatasync
    if (ratio < WINS_BELOW) this.#decide('dsync')
    else this.#decide(ratio > 1 / WINS_BELOW ? 'fdatasync' : this.#mode)
  }

  #nextInTurn(): SyncMode {
    return this.#turns++ % 2 === 0 ? 'dsync' : 'fdatasync'
  }

  #starves(ms: number): boolean {
    const usual = this.#measured?.fdatasync ?? median(this.#samples?.fdatasync ?? [])
    const isSlow = ms > STARVED_MS && ms > STARVED_TIMES * usual
    this.#starvedCommits = isSlow ? this.#starvedCommits + 1 : 0
    if (this.#starvedCommits < STARVED_COMMITS) return false
    this.#measured = { fdatasync: usual, dsync: ms }
    return true
  }

  #decide(mode: SyncMode): void {
    this.#mode = mode
    this.#samples = undefined
    this.#starvedCommits = 0
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
    this.#untilComparison = this.#pause
  }
}

/**
 * `sync: 'auto'` and `busyPoll: 'auto'`: commits go the way that is the fastest just now, by what commits take.
 *
 * A commit is a chain of wake-ups. One write with RWF_DSYNC wakes fewer threads one after the other than a write and the
 * fdatasync behind it, and with an event loop that polls the last of them is none. But beside something else that keeps
 * the CPU of the disk's interrupts busy RWF_DSYNC takes 4 ms, twenty times as long, and beside something else on the
 * thread's own CPU so does polling (docs/DECISIONS.md). So now and then all ways take turns for some commits, and a way of
 * which three in a row starve is left until they do so again.
 */
import type { EngineName, SyncMode } from '../../disk/disk.ts'
import { KIB } from '../../units.ts'
import { median } from './median.ts'

/** How commits become durable, and what decided it: `log.info().commits`. */
export interface CommitReport {
  /** How the next one's bytes become durable. */
  readonly sync: SyncMode
  /** Whether the event loop does not sleep while one is awaited. */
  readonly busyPoll: boolean
  /** What commits took each way when `auto` last compared them. */
  readonly measured?: readonly MeasuredWay[]
  /** Why `auto` leaves out ways, unmeasured. */
  readonly doubts?: readonly string[]
}

/** A way of commits, and what it took. */
export interface MeasuredWay {
  /** As in {@link CommitReport}. */
  readonly sync: SyncMode
  /** As in {@link CommitReport}. */
  readonly busyPoll: boolean
  /** Milliseconds of a commit: a median, or the last one of a way that starved. */
  readonly milliseconds: number
}

export interface CommitOptions {
  readonly sync: SyncMode | 'auto'
  readonly busyPoll: 'auto' | 'always' | 'never'
}

/** Commits each way in a comparison. They take turns, so that whatever else happens happens to all. */
const SAMPLES = 15
/** Ways that differ by less are equal for our purpose. */
const WINS_BELOW = 0.95
/** Polling takes a CPU that something else could have: what it gains has to be worth it. */
const BUSY_POLL_COUNTS = 1 / 0.9
/** Commits between two comparisons: at first, and at most. Each one doubles it. */
const FIRST_PAUSE = 64
const LONGEST_PAUSE = 4096
/** A commit that takes so many times what one of the first way took, and so many milliseconds... */
const STARVED_TIMES = 8
const STARVED_MS = 1
/** ...and so many of them in a row: a disk has single slow ones. */
const STARVED_COMMITS = 3
/** A way that takes so many times what it took when it was chosen is not what was chosen... */
const CHANGED_TIMES = 2
/** ...where so many commits in a row do: then all are compared at once. */
const CHANGED_COMMITS = 8
/** Most of the time of a commit from here on is the transfer, and others may be in flight beside it. */
const LARGE_BYTES = 512 * KIB

/** One of the ways, and what is known of it. */
export class CommitWay {
  readonly sync: SyncMode
  readonly busyPoll: boolean
  /** @internal Milliseconds, in the comparison under way. */
  samples: number[] = []
  /** @internal Commits in a row. */
  starved = 0
  /** @internal It starves: the comparison goes on without it. */
  isOut = false
  /** @internal What it took at the last comparison. */
  milliseconds: number | undefined

  constructor(sync: SyncMode, busyPoll: boolean) {
    this.sync = sync
    this.busyPoll = busyPoll
  }

  get cost(): number {
    return this.milliseconds! * (this.busyPoll ? BUSY_POLL_COUNTS : 1)
  }
}

export class CommitWayChoice {
  /** The first one depends on the fewest others, and is taken until something is known. */
  readonly #ways: readonly CommitWay[]
  readonly #takesTurns: boolean
  readonly #doubts: readonly string[]
  #current: CommitWay
  #pause = FIRST_PAUSE
  #untilComparison = FIRST_PAUSE
  #isComparing = false
  #turns = 0
  /** Commits in a row of the way that is taken, each of which took much longer than it did when it was compared. */
  #changed = 0

  /**
   * @param doubts why RWF_DSYNC is not to be trusted unasked (`DiskDirectory.doubtsDsync`), and why the event loop is
   *   not to be kept awake unasked (`Disk.doubtsBusyPoll`)
   */
  constructor(
    options: CommitOptions,
    engine: EngineName,
    doubts: { readonly dsync?: string | undefined; readonly busyPoll?: string | undefined } = {},
  ) {
    const isSimulated = engine === 'simulated'
    const autoSyncs: SyncMode[] =
      doubts.dsync === undefined ? ['fdatasync', 'dsync'] : ['fdatasync']
    const autoPolls = isSimulated || doubts.busyPoll !== undefined ? [false] : [false, true]
    const syncs = options.sync === 'auto' ? autoSyncs : [options.sync]
    const polls = options.busyPoll === 'auto' ? autoPolls : [options.busyPoll === 'always']
    this.#ways = polls.flatMap(busyPoll => syncs.map(sync => new CommitWay(sync, busyPoll)))
    this.#current = this.#ways[0]
    // A simulated disk has no speed, and a run on it depends on no time: all ways are to be tested.
    this.#takesTurns = isSimulated
    this.#doubts = [
      options.sync === 'auto' ? doubts.dsync : undefined,
      options.busyPoll === 'auto' ? doubts.busyPoll : undefined,
    ].filter(doubt => doubt !== undefined)
  }

  get report(): CommitReport {
    const { sync, busyPoll } = this.#current
    const measured = this.#ways.flatMap(way =>
      way.milliseconds === undefined
        ? []
        : [{ sync: way.sync, busyPoll: way.busyPoll, milliseconds: way.milliseconds }],
    )
    return {
      sync,
      busyPoll,
      ...(measured.length > 0 && { measured }),
      ...(this.#doubts.length > 0 && { doubts: this.#doubts }),
    }
  }

  /** Whether the event loop is kept awake, as far as is known now. */
  get busyPolls(): boolean {
    return this.#current.busyPoll
  }

  /** How the next commit is made. @param bytes that it writes */
  next(bytes: number): CommitWay {
    if (this.#takesTurns) return this.#nextInTurn()
    if (bytes >= LARGE_BYTES) return this.#ways[0]
    return this.#isComparing ? this.#nextInTurn() : this.#current
  }

  /** A commit came back good. @param ms from when it was submitted */
  committed(way: CommitWay, bytes: number, ms: number): void {
    if (this.#takesTurns || this.#ways.length === 1 || bytes >= LARGE_BYTES) return
    if (this.#starves(way, ms)) {
      way.milliseconds = ms
      way.isOut = true
      // The next best one may depend on the same CPU: then it is found out as soon.
      if (!this.#isComparing && way === this.#current) this.#end(this.#best())
    }
    if (!this.#isComparing) {
      this.#changed = this.#isChanged(way, ms) ? this.#changed + 1 : 0
      if (--this.#untilComparison <= 0 || this.#changed === CHANGED_COMMITS) this.#begin()
      return
    }
    way.samples.push(ms)
    if (this.#ways.every(({ isOut, samples }) => isOut || samples.length >= SAMPLES)) {
      this.#decide()
    }
  }

  #nextInTurn(): CommitWay {
    const ways = this.#ways
    let way: CommitWay
    do {
      way = ways[this.#turns++ % ways.length]
    } while (way.isOut)
    return way
  }

  #starves(way: CommitWay, ms: number): boolean {
    const [first] = this.#ways
    if (way === first) return false
    const usual = first.milliseconds ?? median(first.samples)
    const isSlow = ms > STARVED_MS && ms > STARVED_TIMES * usual
    way.starved = isSlow ? way.starved + 1 : 0
    return way.starved === STARVED_COMMITS
  }

  /** A slow disk hides what starves: the usual commit is too near to it. And a way that slows down need not be the one that starves. */
  #isChanged(way: CommitWay, ms: number): boolean {
    return way === this.#current && ms > CHANGED_TIMES * (way.milliseconds ?? Infinity)
  }

  #begin(): void {
    this.#isComparing = true
    this.#changed = 0
    for (const way of this.#ways) {
      way.samples = []
      way.starved = 0
      way.isOut = false
    }
  }

  #decide(): void {
    for (const way of this.#ways) if (!way.isOut) way.milliseconds = median(way.samples)
    const best = this.#best()
    const current = this.#current
    const stays = !current.isOut && best.cost >= WINS_BELOW * current.cost
    this.#end(stays ? current : best)
  }

  #best(): CommitWay {
    return this.#ways
      .filter(({ isOut }) => !isOut)
      .reduce((best, way) => (way.cost < best.cost ? way : best))
  }

  #end(way: CommitWay): void {
    this.#current = way
    this.#isComparing = false
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
    this.#untilComparison = this.#pause
  }
}

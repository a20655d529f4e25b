/**
 * Whether the log is poisoned. A failed write or sync leaves unknown what the disk holds: from then on
 * nothing is written, nothing that completes later counts, and whoever waits is told.
 */
import type { Clock } from '../../disk/clock.ts'
import type { DiskFile } from '../../disk/disk.ts'
import { PoisonedError, RiologError } from '../../errors.ts'
import { Watchdog } from './watchdog.ts'

export interface HealthParts {
  readonly clock: Clock
  /** Milliseconds without an answer of the disk, after which the log is poisoned; 0: never. */
  readonly commitTimeoutMs: number
  /** Whether somebody waits for the disk, besides those of {@link Health.orPoisoned}. */
  readonly isAwaited: () => boolean
  /** What is durable, and the end of what is undecided behind it. */
  readonly undecided: () => { readonly durableLsn: number; readonly end: number }
  /** Told once, before those who wait. */
  readonly onPoisoned: (poison: PoisonedError) => void
}

export class Health {
  readonly #parts: HealthParts
  readonly #watchdog: Watchdog
  #poison: PoisonedError | undefined
  /** Rejecters of those who wait for the disk. */
  readonly #whenPoisoned = new Set<(error: unknown) => void>()
  /** What the disk has been asked for them and has not answered, also when nobody waits any more. */
  readonly #asked = new Set<Promise<unknown>>()
  /** Files of forks that came to nothing, to be closed when the disk has answered. */
  readonly #abandoned: Promise<DiskFile | undefined>[] = []

  constructor(parts: HealthParts) {
    this.#parts = parts
    const { clock, commitTimeoutMs, isAwaited } = parts
    this.#watchdog = new Watchdog(
      clock,
      commitTimeoutMs,
      () => this.#whenPoisoned.size > 0 || isAwaited(),
      () => this.fail(stuck(commitTimeoutMs)),
    )
  }

  get poison(): PoisonedError | undefined {
    return this.#poison
  }

  /** @throws ERR_RIOLOG_POISONED */
  refuseIfPoisoned(): void {
    if (this.#poison !== undefined) throw this.#poison
  }

  /** Something was asked of the disk, which has a time to answer. */
  asked(): void {
    this.#watchdog.asked()
  }

  answered(): void {
    this.#watchdog.answered()
  }

  /** What the disk may never answer: it rejects when the log is poisoned meanwhile. */
  async orPoisoned<T>(asked: Promise<T>): Promise<T> {
    this.#watchdog.asked()
    this.#asked.add(asked)
    const answered = () => this.#asked.delete(asked)
    asked.then(answered, answered)
    let whenPoisoned!: (error: unknown) => void
    const poisoned = new Promise<never>((_, reject) => {
      whenPoisoned = reject
    })
    this.#whenPoisoned.add(whenPoisoned)
    try {
      return await Promise.race([asked, poisoned])
    } finally {
      this.#whenPoisoned.delete(whenPoisoned)
      this.#watchdog.answered()
    }
  }

  /** Poisons, once; returns what those are told who wait. */
  fail(cause: unknown): PoisonedError {
    if (this.#poison !== undefined) return this.#poison
    const { durableLsn, end } = this.#parts.undecided()
    const poison = new PoisonedError(durableLsn, end, cause)
    this.#poison = poison
    this.#parts.onPoisoned(poison)
    for (const reject of this.#whenPoisoned) reject(poison)
    return poison
  }

  /** Nobody uses the file any more, but the kernel may: it is closed by {@link settled}. */
  abandon(file: Promise<DiskFile | undefined>): void {
    this.#abandoned.push(file)
  }

  /** Resolves when the disk has answered all: after a poison, too, it may be writing from our memory. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#asked)
    // Not before: a write that goes on behind a close would land in whatever gets the descriptor's number.
    for (const file of await Promise.all(this.#abandoned.splice(0))) file?.close()
  }

  stop(): void {
    this.#watchdog.stop()
  }
}

function stuck(milliseconds: number): RiologError {
  const message = `the disk has answered nothing for ${milliseconds} ms (commitTimeoutMs)`
  return new RiologError('ERR_RIOLOG_TIMEOUT', message)
}

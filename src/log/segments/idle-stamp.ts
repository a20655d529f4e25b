/**
 * Tells the manifest the durable LSN once the log is idle: the last group has nothing behind it that
 * proves it durable. A timer that looks once in a while; setting one for each commit would cost more. Also while it is
 * busy, so that an opening has little to read.
 */
import type { Clock, Timer } from '../../disk/clock.ts'

export interface IdleStampParts {
  readonly clock: Clock
  /** Milliseconds without progress; 0: never. */
  readonly idleMs: number
  readonly durableLsn: () => number
  /** The LSN that the manifest knows of. */
  readonly stampedLsn: () => number
  readonly stamp: () => Promise<unknown>
}

export class IdleStamp {
  readonly #parts: IdleStampParts
  #timer: Timer | undefined
  #stamping: Promise<unknown> = Promise.resolve()
  #stopped = false

  constructor(parts: IdleStampParts) {
    this.#parts = parts
  }

  /** There was a commit. The timer holds no process open. */
  moved(): void {
    const { clock, idleMs, durableLsn, stampedLsn, stamp } = this.#parts
    if (idleMs === 0 || this.#timer !== undefined || this.#stopped) return
    const seen = durableLsn()
    this.#timer = clock.setTimer(() => {
      this.#timer = undefined
      if (durableLsn() <= stampedLsn()) return
      if (seen === durableLsn()) this.#stamping = stamp().catch(() => {})
      else this.moved()
    }, idleMs)
    this.#timer.unref()
  }

  /** The manifest knows less than an opening should have to find out. */
  fellBehind(): void {
    const { idleMs, stamp } = this.#parts
    if (idleMs === 0 || this.#stopped) return
    const stamping = stamp().catch(() => {})
    // What it resolves to would hold what the one before did.
    this.#stamping = Promise.all([this.#stamping, stamping]).then(() => {})
  }

  /** No stamp begins any more. */
  stop(): void {
    this.#stopped = true
    this.#timer?.clear()
  }

  /** Resolves when no stamp is under way. */
  async settled(): Promise<void> {
    await this.#stamping
  }
}

/**
 * Notices that the disk answers nothing any more. One timer for all that is awaited: a timer for each
 * commit would cost as much as the commit's own bookkeeping.
 */
import type { Clock, Timer } from '../../disk/clock.ts'

export class Watchdog {
  readonly #clock: Clock
  readonly #limitMs: number
  readonly #isAwaited: () => boolean
  readonly #onStuck: () => void
  #timer: Timer | undefined
  #progressAt = 0

  /**
   * @param limitMs milliseconds without progress; 0: it never barks
   * @param isAwaited whether somebody waits for the disk at all
   */
  constructor(clock: Clock, limitMs: number, isAwaited: () => boolean, onStuck: () => void) {
    this.#clock = clock
    this.#limitMs = limitMs
    this.#isAwaited = isAwaited
    this.#onStuck = onStuck
  }

  /** Something was asked of the disk: the time counts from here, unless it counts already. */
  asked(): void {
    if (this.#limitMs === 0) return
    if (this.#timer === undefined || !this.#timer.hasRef()) this.#progressAt = this.#clock.now()
    if (this.#timer === undefined) this.#lookIn(this.#limitMs, false)
    this.#timer?.ref()
  }

  /** The disk has answered: the time counts anew. While nobody waits, the process may end. */
  answered(): void {
    if (this.#timer === undefined) return
    this.#progressAt = this.#clock.now()
    if (!this.#isAwaited()) this.#timer.unref()
  }

  stop(): void {
    this.#timer?.clear()
    this.#timer = undefined
  }

  #look(isAgain: boolean): void {
    this.#timer = undefined
    if (!this.#isAwaited()) return
    const left = this.#limitMs - (this.#clock.now() - this.#progressAt)
    if (left > 0) this.#lookIn(Math.ceil(left), false)
    // In a turn of libuv's loop timers come before what the disk has answered (uv_run): the thread may have been busy, or stopped.
    else if (!isAgain) this.#lookIn(0, true)
    else this.#onStuck()
  }

  #lookIn(milliseconds: number, isAgain: boolean): void {
    this.#timer = this.#clock.setTimer(() => this.#look(isAgain), milliseconds)
  }
}

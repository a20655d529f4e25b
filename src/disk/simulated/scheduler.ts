/** When the operations of a simulated disk take place, and when they are answered. */
import { type Clock, SYSTEM_CLOCK } from '../clock.ts'

/** Decides when the operations of a simulated disk take place. */
export interface Scheduler {
  /** What timers run on. */
  readonly clock: Clock
  /**
   * Calls `effect` at a later moment, and `answer` at the same or a still later one.
   * @param isRead nothing changes, so it makes no difference how late the answer comes
   * @param effect returns milliseconds by which the answer is late; undefined: it never comes
   */
  operate(isRead: boolean, effect: () => number | undefined, answer: () => void): void
  /** Lets others go first. */
  pause(milliseconds: number): Promise<void>
}

/**
 * A turn of the real event loop for each step, as a device takes: for tests that wait for turns themselves.
 * Its timers are those of the system.
 */
export const EVENT_LOOP: Scheduler = {
  clock: SYSTEM_CLOCK,
  operate(_isRead, effect, answer) {
    setImmediate(() => {
      const late = effect()
      if (late === undefined) return
      if (late > 0) setTimeout(answer, late)
      else setImmediate(answer)
    })
  },
  // By a timer, the same seed would come to other runs.
  pause: () => new Promise(resolve => setImmediate(resolve)),
}

/**
 * The time that a disk's operations take, and so the time that whoever waits for them counts in. A real
 * engine has the system's; a simulated one can have a time of its own, so that a run depends on no timer.
 */
export interface Clock {
  /** Milliseconds, which never go back. */
  now(): number
  /** Runs once, so many milliseconds from now. Like Node's own it holds the process open until unref. */
  setTimer(run: () => void, milliseconds: number): Timer
  /** The same, as a promise. */
  sleep(milliseconds: number): Promise<void>
}

/** As Node has it, and `clear`. */
export interface Timer {
  /** Holds the process open, as a new one does. */
  ref(): void
  /** Does not hold the process open. */
  unref(): void
  /** Whether it holds the process open. */
  hasRef(): boolean
  /** It will not run. */
  clear(): void
}

class SystemTimer implements Timer {
  readonly #timeout: NodeJS.Timeout

  constructor(run: () => void, milliseconds: number) {
    this.#timeout = setTimeout(run, milliseconds)
  }

  ref(): void {
    this.#timeout.ref()
  }

  unref(): void {
    this.#timeout.unref()
  }

  hasRef(): boolean {
    return this.#timeout.hasRef()
  }

  clear(): void {
    clearTimeout(this.#timeout)
  }
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  setTimer: (run, milliseconds) => new SystemTimer(run, milliseconds),
  sleep: milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds)),
}

import { SystemError } from '../../errors.ts'
import type { SimulatedDevice } from './device.ts'
import { type Effect, EIO, type OperationKind, PowerCut } from './effects.ts'
import type { Scheduler } from './scheduler.ts'

/** How often an engine asks again before it gives up (EINTR, EAGAIN). */
const ATTEMPTS = 16

/** How operations come to a device, and the answers back. */
export class Port {
  readonly device: SimulatedDevice
  readonly #scheduler: Scheduler
  #lateMs: number | undefined = 0

  constructor(device: SimulatedDevice, scheduler: Scheduler) {
    this.device = device
    this.#scheduler = scheduler
  }

  /** Takes place later, and is answered later still; never once the power is cut. */
  later<T>(run: () => T, isRead = false): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: T
      let failure: unknown
      let failed = false
      const effect = () => {
        this.#lateMs = 0
        try {
          result = run()
        } catch (error) {
          if (error instanceof PowerCut) return undefined
          failure = error
          failed = true
        }
        return this.device.isOff && !failed ? undefined : this.#lateMs
      }
      this.#scheduler.operate(isRead, effect, () => {
        if (failed) reject(failure)
        else if (!this.device.isOff) resolve(result)
      })
    })
  }

  /**
   * Asks the device for something.
   * @param run does it, unless an effect that says otherwise is handed to it
   */
  ask<T>(kind: OperationKind, name: string, run: (effect?: Effect) => T, at = 0, length = 0): T {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const effect = this.device.enter(kind, name, at, length)
      if (effect?.kind === 'again') continue
      if (effect?.kind === 'stuck') this.#lateMs = undefined
      if (effect?.kind === 'slow' && this.#lateMs !== undefined) this.#lateMs += effect.milliseconds
      return run(effect)
    }
    throw new SystemError(EIO, kind, name)
  }
}

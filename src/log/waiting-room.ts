/** Those who wait until there is room: for a record of theirs, in its order, or to try again. */
import type { Packed } from './codec.ts'

export interface WaitingAppend {
  readonly record: Packed
  readonly resolve: (lsn: number) => void
  readonly reject: (error: unknown) => void
}

interface WaitingCaller {
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class WaitingRoom {
  readonly #appends: WaitingAppend[] = []
  readonly #callers: WaitingCaller[] = []

  /** Nobody may be served before these. */
  get hasAppends(): boolean {
    return this.#appends.length > 0
  }

  get isEmpty(): boolean {
    return this.#appends.length === 0 && this.#callers.length === 0
  }

  addAppend(waiting: WaitingAppend): void {
    this.#appends.push(waiting)
  }

  addCaller(resolve: () => void, reject: (error: unknown) => void): void {
    this.#callers.push({ resolve, reject })
  }

  /**
   * Appends are taken in their order; then those who asked for room are told.
   * @param take false when there is none for it
   */
  offer(take: (waiting: WaitingAppend) => boolean, hasRoom: () => boolean): void {
    while (this.#appends.length > 0) {
      if (!take(this.#appends[0])) return
      this.#appends.shift()
    }
    if (this.#callers.length === 0 || !hasRoom()) return
    for (const { resolve } of this.#callers.splice(0)) resolve()
  }

  refuse(error: unknown): void {
    for (const { reject } of this.#appends.splice(0)) reject(error)
    for (const { reject } of this.#callers.splice(0)) reject(error)
  }
}

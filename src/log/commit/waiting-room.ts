/** Those who wait until there is room: for a record of theirs, in its order, or to try again. */
import type { Packed } from '../records/codec.ts'

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
  #appends: WaitingAppend[] = []
  /** Those before it are taken: Array.shift moves all that follow, once there are many. */
  #from = 0
  readonly #callers: WaitingCaller[] = []

  /** Nobody may be served before these. */
  get hasAppends(): boolean {
    return this.#appends.length > this.#from
  }

  get isEmpty(): boolean {
    return !this.hasAppends && this.#callers.length === 0
  }

  addAppend(waiting: WaitingAppend): void {
    this.#appends.push(waiting)
  }

  addCaller(resolve: () => void, reject: (error: unknown) => void): void {
    this.#callers.push({ resolve, reject })
  }

  /**
   * Appends are taken in their order; then those who asked for room are told.
   * @param take false when there is none for it; what it throws is told to the one who waits
   */
  offer(take: (waiting: WaitingAppend) => boolean, hasRoom: () => boolean): void {
    while (this.hasAppends) {
      const waiting = this.#appends[this.#from]
      try {
        if (!take(waiting)) return
      } catch (error) {
        waiting.reject(error)
      }
      // A poison meanwhile has told all of them.
      if (this.#appends[this.#from] === waiting) this.#dropFirst()
    }
    if (this.#callers.length === 0) return
    try {
      if (!hasRoom()) return
    } catch (error) {
      for (const { reject } of this.#callers.splice(0)) reject(error)
    }
    for (const { resolve } of this.#callers.splice(0)) resolve()
  }

  refuse(error: unknown): void {
    const appends = this.#appends.slice(this.#from)
    this.#appends = []
    this.#from = 0
    for (const { reject } of appends) reject(error)
    for (const { reject } of this.#callers.splice(0)) reject(error)
  }

  #dropFirst(): void {
    this.#from++
    if (this.#from * 2 < this.#appends.length) return
    this.#appends = this.#appends.slice(this.#from)
    this.#from = 0
  }
}

import { throwUncaught } from '../uncaught.ts'

/** Those who want to be told of something, in the order in which they asked. */
export class Listeners<T> {
  readonly #latestAlone: boolean
  #told = 0
  readonly #listeners = new Set<{ readonly tell: (value: T) => void }>()

  /** @param latestAlone of a value that only moves on: who was told of a later one is not told of this any more */
  constructor({ latestAlone = false } = {}) {
    this.#latestAlone = latestAlone
  }

  /** Returns a function that takes the listener off again. */
  add(tell: (value: T) => void): () => void {
    const entry = { tell }
    this.#listeners.add(entry)
    return () => {
      this.#listeners.delete(entry)
    }
  }

  /**
   * What a listener throws is uncaught.
   * @returns false when one of them came back in, and all have been told of what came then
   */
  tell(value: T): boolean {
    const told = ++this.#told
    for (const { tell } of [...this.#listeners]) {
      if (this.#latestAlone && told !== this.#told) return false
      try {
        tell(value)
      } catch (error) {
        throwUncaught(error)
      }
    }
    return told === this.#told
  }
}

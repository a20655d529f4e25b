import { throwUncaught } from '../uncaught.ts'

/** Those who want to be told of something, in the order in which they asked. */
export class Listeners<T> {
  readonly #listeners = new Set<{ readonly tell: (value: T) => void }>()

  /** Returns a function that takes the listener off again. */
  add(tell: (value: T) => void): () => void {
    const entry = { tell }
    this.#listeners.add(entry)
    return () => {
      this.#listeners.delete(entry)
    }
  }

  /** What a listener throws is uncaught. */
  tell(value: T): void {
    if (this.#listeners.size === 0) return
    for (const { tell } of [...this.#listeners]) {
      try {
        tell(value)
      } catch (error) {
        throwUncaught(error)
      }
    }
  }
}

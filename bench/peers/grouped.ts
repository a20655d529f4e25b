interface Waiting<Item> {
  readonly item: Item
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * What callers hand over at the same time is written together: one sync for all of it. What comes while
 * that is written is the next group.
 */
export class Grouped<Item> {
  readonly #write: (items: Item[]) => unknown
  #waiting: Waiting<Item>[] = []
  #busy = false

  /** @param write is called with one group at a time; makes it durable before it returns or resolves */
  constructor(write: (items: Item[]) => unknown) {
    this.#write = write
  }

  put(item: Item): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      if (this.#busy) return
      this.#busy = true
      // Behind the microtasks, in which the other callers put.
      setImmediate(() => this.#flush())
    })
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        const written = this.#write(group.map(({ item }) => item))
        // Without a promise there is nothing to wait for.
        if (written instanceof Promise) await written
        for (const { resolve } of group) resolve()
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
      await new Promise<void>(resolve => setImmediate(resolve))
    }
    this.#busy = false
  }
}

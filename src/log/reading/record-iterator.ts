type Next<Item> = IteratorResult<Item, undefined>

const END = { done: true, value: undefined } as const

/**
 * Records, or batches of them, one after the other, from groups that are read one after the other. An iterator by
 * hand: an async generator costs about as much for each record as reading it does.
 */
export abstract class RecordIterator<Item> implements AsyncIterableIterator<Item> {
  #done = false
  /** Calls of `next` that have not settled: those behind them wait their turn. */
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  /** Throws when the log has been closed meanwhile, or does not hold the place any more. */
  protected abstract check(): void
  /** What comes next of what has been read; undefined when that has no more. */
  protected abstract itemAtHand(): Item | undefined
  /** Gets the next group, or waits for one; false at the end of what is to be read. */
  protected abstract advance(): Promise<boolean>
  /** Called at least once when it has come to its end, in whatever way. */
  protected abstract release(): void

  next(): Promise<Next<Item>> {
    if (this.#waiting === 0) {
      try {
        const result = this.#atHand()
        if (result !== undefined) return Promise.resolve(result)
      } catch (error) {
        return Promise.reject(error)
      }
    }
    this.#waiting++
    const result = this.#last.then(() => this.#atHand() ?? this.#readOn())
    const settled = () => {
      this.#waiting--
    }
    this.#last = result.then(settled, settled)
    return result
  }

  async return(): Promise<Next<Item>> {
    this.#end()
    return END
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  protected get isDone(): boolean {
    return this.#done
  }

  #end(): void {
    this.#done = true
    this.release()
  }

  /** What needs no reading; undefined when it does. */
  #atHand(): Next<Item> | undefined {
    if (this.#done) return END
    try {
      this.check()
      const value = this.itemAtHand()
      return value && { done: false, value }
    } catch (error) {
      this.#end()
      throw error
    }
  }

  async #readOn(): Promise<Next<Item>> {
    try {
      while (!this.#done) {
        this.check() // a log that closes waits for the read before this one, not for the next
        if (!(await this.advance())) break
        const value = this.#done ? undefined : this.itemAtHand()
        if (value !== undefined) return { done: false, value }
      }
    } catch (error) {
      if (this.#done) return END // the loop was left meanwhile
      this.#end()
      throw error
    }
    this.#end()
    return END
  }
}

/**
 * First in, first out, for the few things that every commit puts in and takes out. An array that shifts its last
 * element drops its memory, and takes 152 bytes anew with the next push (V8 11.3): with one commit in flight that is
 * each time. This one keeps what it has.
 */
export class Fifo<T> implements Iterable<T> {
  /** A ring, of a power of two. */
  #items: (T | undefined)[] = new Array(8).fill(undefined)
  #first = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  push(item: T): void {
    if (this.#length === this.#items.length) this.#grow()
    this.#items[(this.#first + this.#length) & (this.#items.length - 1)] = item
    this.#length++
  }

  /** Only where there is one. */
  shift(): T {
    const item = this.#items[this.#first]!
    this.#items[this.#first] = undefined
    this.#first = (this.#first + 1) & (this.#items.length - 1)
    this.#length--
    return item
  }

  /** @param i from the oldest on; only below `length` */
  at(i: number): T {
    return this.#items[(this.#first + i) & (this.#items.length - 1)]!
  }

  find(isWanted: (item: T) => boolean): T | undefined {
    for (let i = 0; i < this.#length; i++) if (isWanted(this.at(i))) return this.at(i)
    return undefined
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let i = 0; i < this.#length; i++) yield this.at(i)
  }

  #grow(): void {
    const items = [...this]
    this.#items = [...items, ...items.map(() => undefined)]
    this.#first = 0
  }
}

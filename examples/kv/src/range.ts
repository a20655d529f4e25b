/** A walk through a part of a map, as Level's iterators take it. */
import { type Cursor, type Entry, OrderedMap } from './ordered-map.ts'

export interface Range {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
  readonly reverse?: boolean
}

interface Bound {
  readonly key: Uint8Array
  /** The key itself is not in the range. */
  readonly beyond: boolean
}

export class RangeWalk<V> {
  readonly #map: OrderedMap<V>
  readonly #reverse: boolean
  readonly #first: Bound | undefined
  readonly #last: Bound | undefined
  #cursor: Cursor<V>

  constructor(map: OrderedMap<V>, range: Range) {
    const { reverse = false } = range
    const lower = boundOf(range.gte, range.gt)
    const upper = boundOf(range.lte, range.lt)
    this.#map = map
    this.#reverse = reverse
    this.#first = reverse ? upper : lower
    this.#last = reverse ? lower : upper
    this.#cursor = map.cursor(this.#first?.key, reverse, this.#first?.beyond)
  }

  next(): Entry<V> | undefined {
    const entry = this.#cursor.next()
    return entry === undefined || this.#isBehind(entry[0]) ? undefined : entry
  }

  /** Goes on at a key; one outside the range ends the walk. */
  seek(key: Uint8Array): void {
    const outside = this.#isBefore(key) || this.#isBehind(key)
    const map = outside ? new OrderedMap<V>() : this.#map
    this.#cursor = map.cursor(key, this.#reverse)
  }

  #isBefore(key: Uint8Array): boolean {
    return this.#first !== undefined && this.#isOutside(key, this.#first, this.#reverse)
  }

  #isBehind(key: Uint8Array): boolean {
    return this.#last !== undefined && this.#isOutside(key, this.#last, !this.#reverse)
  }

  #isOutside(key: Uint8Array, bound: Bound, isUpper: boolean): boolean {
    const order = Buffer.compare(key, bound.key)
    if (order === 0) return bound.beyond
    return order > 0 === isUpper
  }
}

function boundOf(included?: Uint8Array, excluded?: Uint8Array): Bound | undefined {
  if (included !== undefined) return { key: included, beyond: false }
  return excluded && { key: excluded, beyond: true }
}

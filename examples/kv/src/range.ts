/** A walk through a part of a map, as Level's iterators take it. */
import { type Key, keyOf } from './bytes.ts'
import { type Cursor, type Entry, OrderedMap, type ReadonlyOrderedMap } from './ordered-map.ts'

export interface Range {
  readonly gt?: Buffer | string
  readonly gte?: Buffer | string
  readonly lt?: Buffer | string
  readonly lte?: Buffer | string
  readonly reverse?: boolean
}

interface Bound {
  readonly key: Key
  /** The key itself is not in the range. */
  readonly beyond: boolean
}

export class RangeWalk<V> {
  readonly #map: ReadonlyOrderedMap<V>
  readonly #reverse: boolean
  readonly #first: Bound | undefined
  readonly #last: Bound | undefined
  #cursor: Cursor<V>

  constructor(map: ReadonlyOrderedMap<V>, range: Range) {
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
  seek(key: Key): void {
    const outside = this.#isBefore(key) || this.#isBehind(key)
    const map = outside ? new OrderedMap<V>() : this.#map
    this.#cursor = map.cursor(key, this.#reverse)
  }

  #isBefore(key: Key): boolean {
    return this.#first !== undefined && this.#isOutside(key, this.#first, this.#reverse)
  }

  #isBehind(key: Key): boolean {
    return this.#last !== undefined && this.#isOutside(key, this.#last, !this.#reverse)
  }

  #isOutside(key: Key, bound: Bound, isUpper: boolean): boolean {
    if (key === bound.key) return bound.beyond
    return key > bound.key === isUpper
  }
}

function boundOf(included?: Buffer | string, excluded?: Buffer | string): Bound | undefined {
  if (included !== undefined) return { key: keyOf(included), beyond: false }
  return excluded === undefined ? undefined : { key: keyOf(excluded), beyond: true }
}

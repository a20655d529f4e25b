/**
 * An ordered map that never changes: `set` and `delete` give another map, which shares all but one path with
 * the one that it came from. So a snapshot is a reference, an iterator sees one state whatever is written
 * meanwhile, and a checkpoint is written from a map that stands still.
 *
 * ```
 *             Branch  a ── m            keys[i] is the least key below children[i]
 *                    /      \
 *        Leaf  a b f          m q x     at most WIDTH keys each
 * ```
 */
import type { Key } from './bytes.ts'

const WIDTH = 64
/** A node that became this short is joined with its neighbour where both fit into one. */
const SHORT = WIDTH / 4

export type Entry<V> = readonly [key: Key, value: V]

class Leaf<V> {
  readonly keys: readonly Key[]
  readonly values: readonly V[]

  constructor(keys: readonly Key[], values: readonly V[]) {
    this.keys = keys
    this.values = values
  }

  slice(from: number, to?: number): Leaf<V> {
    return new Leaf(this.keys.slice(from, to), this.values.slice(from, to))
  }

  joined(next: Leaf<V>): Leaf<V> {
    return new Leaf([...this.keys, ...next.keys], [...this.values, ...next.values])
  }
}

class Branch<V> {
  readonly keys: readonly Key[]
  readonly children: readonly Node<V>[]

  constructor(children: readonly Node<V>[], keys: readonly Key[] = firstKeys(children)) {
    this.keys = keys
    this.children = children
  }

  slice(from: number, to?: number): Branch<V> {
    return new Branch(this.children.slice(from, to))
  }

  joined(next: Branch<V>): Branch<V> {
    return new Branch([...this.children, ...next.children])
  }

  /** With other nodes in the place of one child. */
  with(index: number, nodes: readonly Node<V>[]): Branch<V> {
    const children = replaced(this.children, index, nodes)
    const isSame = nodes.length === 1 && nodes[0].keys[0] === this.keys[index]
    return isSame ? new Branch(children, this.keys) : new Branch(children)
  }

  /** The child in whose range a key is. */
  indexFor(key: Key): number {
    return Math.max(0, countUpTo(this.keys, key) - 1)
  }
}

type Node<V> = Leaf<V> | Branch<V>

interface Place<V> {
  readonly leaf: Leaf<V>
  readonly index: number
}

export class OrderedMap<V> {
  readonly size: number
  readonly #root: Node<V>

  constructor(root: Node<V> = new Leaf<V>([], []), size = 0) {
    this.#root = root
    this.size = size
  }

  get(key: Key): V | undefined {
    let node = this.#root
    while (node instanceof Branch) node = node.children[node.indexFor(key)]
    const index = countBelow(node.keys, key)
    return node.keys[index] === key ? node.values[index] : undefined
  }

  has(key: Key): boolean {
    return this.get(key) !== undefined
  }

  set(key: Key, value: V): OrderedMap<V> {
    const size = this.has(key) ? this.size : this.size + 1
    const nodes = withKey(this.#root, key, value)
    return new OrderedMap(nodes.length === 1 ? nodes[0] : new Branch(nodes), size)
  }

  delete(key: Key): OrderedMap<V> {
    if (!this.has(key)) return this
    let root = withoutKey(this.#root, key)
    while (root instanceof Branch && root.children.length === 1) root = root.children[0]
    return new OrderedMap(root, this.size - 1)
  }

  /** The first entry at or behind a key, or at or before it. `beyond`: not the one of the key itself. */
  nearest(key: Key | undefined, reverse: boolean, beyond: boolean): Place<V> | undefined {
    const edge = reverse ? lastOf(this.#root) : firstOf(this.#root)
    if (key === undefined) return edge.leaf.keys.length === 0 ? undefined : edge
    let node = this.#root
    let neighbour: Node<V> | undefined
    while (node instanceof Branch) {
      const index = node.indexFor(key)
      neighbour = node.children[reverse ? index - 1 : index + 1] ?? neighbour
      node = node.children[index]
    }
    // The key itself counts as before the place or as behind it.
    const count = beyond === reverse ? countBelow(node.keys, key) : countUpTo(node.keys, key)
    const index = reverse ? count - 1 : count
    if (index >= 0 && index < node.keys.length) return { leaf: node, index }
    return neighbour && (reverse ? lastOf(neighbour) : firstOf(neighbour))
  }

  /** Walks from a key on, that one included unless `beyond`; without a key from the end of the map. */
  cursor(key?: Key, reverse = false, beyond = false): Cursor<V> {
    return new Cursor(this, key, reverse, beyond)
  }
}

/** Goes through a leaf, and then looks for the one behind its last key. */
export class Cursor<V> {
  readonly #map: OrderedMap<V>
  readonly #reverse: boolean
  #leaf: Leaf<V> | undefined
  #index = 0

  constructor(map: OrderedMap<V>, key: Key | undefined, reverse: boolean, beyond: boolean) {
    this.#map = map
    this.#reverse = reverse
    this.#enter(map.nearest(key, reverse, beyond))
  }

  next(): Entry<V> | undefined {
    const leaf = this.#leaf
    if (leaf === undefined) return undefined
    const entry = [leaf.keys[this.#index], leaf.values[this.#index]] as const
    this.#index += this.#reverse ? -1 : 1
    if (this.#index < 0 || this.#index === leaf.keys.length) {
      this.#enter(this.#map.nearest(entry[0], this.#reverse, true))
    }
    return entry
  }

  #enter(place: Place<V> | undefined): void {
    this.#leaf = place?.leaf
    this.#index = place?.index ?? 0
  }
}

function firstOf<V>(node: Node<V>): Place<V> {
  let leaf = node
  while (leaf instanceof Branch) leaf = leaf.children[0]
  return { leaf, index: 0 }
}

function lastOf<V>(node: Node<V>): Place<V> {
  let leaf = node
  while (leaf instanceof Branch) leaf = leaf.children[leaf.children.length - 1]
  return { leaf, index: leaf.keys.length - 1 }
}

/** One node, or two where one would be too wide. */
function withKey<V>(node: Node<V>, key: Key, value: V): Node<V>[] {
  if (node instanceof Branch) {
    const index = node.indexFor(key)
    return halves(node.with(index, withKey(node.children[index], key, value)))
  }
  const index = countBelow(node.keys, key)
  if (node.keys[index] === key) {
    return [new Leaf(node.keys, replaced(node.values, index, [value]))]
  }
  const keys = replaced(node.keys, index, [key], 0)
  return halves(new Leaf(keys, replaced(node.values, index, [value], 0)))
}

/** The key is there. A node without keys comes back where it was the last one. */
function withoutKey<V>(node: Node<V>, key: Key): Node<V> {
  if (node instanceof Leaf) {
    const index = countBelow(node.keys, key)
    return new Leaf(replaced(node.keys, index, []), replaced(node.values, index, []))
  }
  const index = node.indexFor(key)
  const child = withoutKey(node.children[index], key)
  if (child.keys.length === 0) return new Branch(replaced(node.children, index, []))
  const children = replaced(node.children, index, [child])
  return new Branch(child.keys.length < SHORT ? withJoined(children, index) : children)
}

/** The child, which is short, joined with the one beside it if that makes one node. */
function withJoined<V>(children: Node<V>[], index: number): Node<V>[] {
  const left = index > 0 ? index - 1 : index
  const [one, other] = [children[left], children[left + 1]]
  if (other === undefined || one.keys.length + other.keys.length > WIDTH) return children
  // Both are of the same height.
  const joined = one instanceof Leaf ? one.joined(other as Leaf<V>) : one.joined(other as Branch<V>)
  return replaced(children, left, [joined], 2)
}

function halves<V>(node: Node<V>): Node<V>[] {
  const { length } = node.keys
  return length <= WIDTH ? [node] : [node.slice(0, length >> 1), node.slice(length >> 1)]
}

function firstKeys<V>(children: readonly Node<V>[]): Key[] {
  return children.map(child => child.keys[0])
}

function replaced<T>(all: readonly T[], index: number, by: readonly T[], removed = 1): T[] {
  const copy = all.slice()
  // What most writes do, and several times as fast.
  if (by.length === 1 && removed === 1) copy[index] = by[0]
  else copy.splice(index, removed, ...by)
  return copy
}

/** How many keys are less. */
function countBelow(keys: readonly Key[], key: Key): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (keys[middle] < key) low = middle + 1
    else high = middle
  }
  return low
}

/** How many keys are less or the same. */
function countUpTo(keys: readonly Key[], key: Key): number {
  const index = countBelow(keys, key)
  return keys[index] === key ? index + 1 : index
}

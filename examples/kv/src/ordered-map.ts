/**
 * An ordered map, of which a snapshot costs nothing: it shares all nodes with the map, and from then on the map
 * copies a node before it changes it (copy on write, node by node). So an iterator sees one state whatever is written
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

/** Who may change a node: the map that made it, until a snapshot shares it. */
class Owner {}

class Leaf<V> {
  readonly owner: Owner
  readonly keys: Key[]
  readonly values: V[]

  constructor(owner: Owner, keys: Key[], values: V[]) {
    this.owner = owner
    this.keys = keys
    this.values = values
  }

  /** Itself, or a copy that may be changed. */
  ownedBy(owner: Owner): Leaf<V> {
    return this.owner === owner ? this : new Leaf(owner, this.keys.slice(), this.values.slice())
  }

  /** Takes the rear half away, into a node of its own. */
  split(): Leaf<V> {
    const half = this.keys.length >> 1
    return new Leaf(this.owner, this.keys.splice(half), this.values.splice(half))
  }

  join(next: Leaf<V>): void {
    this.keys.push(...next.keys)
    this.values.push(...next.values)
  }
}

class Branch<V> {
  readonly owner: Owner
  readonly keys: Key[]
  readonly children: Node<V>[]

  constructor(owner: Owner, keys: Key[], children: Node<V>[]) {
    this.owner = owner
    this.keys = keys
    this.children = children
  }

  ownedBy(owner: Owner): Branch<V> {
    return this.owner === owner ? this : new Branch(owner, this.keys.slice(), this.children.slice())
  }

  split(): Branch<V> {
    const half = this.keys.length >> 1
    return new Branch(this.owner, this.keys.splice(half), this.children.splice(half))
  }

  join(next: Branch<V>): void {
    this.keys.push(...next.keys)
    this.children.push(...next.children)
  }

  /** The child in whose range a key is. */
  indexFor(key: Key): number {
    return Math.max(0, countUpTo(this.keys, key) - 1)
  }

  /** A child that may be changed; this node may be. */
  ownChild(index: number): Node<V> {
    const child = this.children[index].ownedBy(this.owner)
    this.children[index] = child
    return child
  }
}

type Node<V> = Leaf<V> | Branch<V>

interface Place<V> {
  readonly leaf: Leaf<V>
  readonly index: number
}

/** What a snapshot is: it never changes. */
export interface ReadonlyOrderedMap<V> {
  readonly size: number
  get(key: Key): V | undefined
  has(key: Key): boolean
  /**
   * Walks from a key on, that one included unless `beyond`; without a key from the end of the map. Over a map
   * that is changed meanwhile it means nothing: take a snapshot.
   */
  cursor(key?: Key, reverse?: boolean, beyond?: boolean): Cursor<V>
}

export class OrderedMap<V> implements ReadonlyOrderedMap<V> {
  #owner = new Owner()
  #root: Node<V> = new Leaf<V>(this.#owner, [], [])
  #size = 0

  get size(): number {
    return this.#size
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

  /** What the map is now; neither of both sees what is done to the other. */
  snapshot(): OrderedMap<V> {
    const snapshot = new OrderedMap<V>()
    snapshot.#root = this.#root
    snapshot.#size = this.#size
    // Nobody has the owner of the nodes that both share now.
    this.#owner = new Owner()
    return snapshot
  }

  set(key: Key, value: V): void {
    const root = this.#ownRoot()
    if (insert(root, key, value)) this.#size++
    if (root.keys.length <= WIDTH) return
    const right = root.split()
    this.#root = new Branch(this.#owner, [root.keys[0], right.keys[0]], [root, right])
  }

  delete(key: Key): void {
    if (!this.has(key)) return
    remove(this.#ownRoot(), key)
    this.#size--
    while (this.#root instanceof Branch && this.#root.children.length === 1) {
      this.#root = this.#root.children[0]
    }
  }

  cursor(key?: Key, reverse = false, beyond = false): Cursor<V> {
    return new Cursor(this, key, reverse, beyond)
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

  #ownRoot(): Node<V> {
    this.#root = this.#root.ownedBy(this.#owner)
    return this.#root
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

/** Into a node that may be changed, which may be one too wide then. False where the key was there. */
function insert<V>(node: Node<V>, key: Key, value: V): boolean {
  if (node instanceof Leaf) {
    const index = countBelow(node.keys, key)
    const isThere = node.keys[index] === key
    if (isThere) node.values[index] = value
    else {
      node.keys.splice(index, 0, key)
      node.values.splice(index, 0, value)
    }
    return !isThere
  }
  const index = node.indexFor(key)
  const child = node.ownChild(index)
  const isNew = insert(child, key, value)
  if (!isNew) return false
  node.keys[index] = child.keys[0]
  if (child.keys.length > WIDTH) {
    const right = child.split()
    node.keys.splice(index + 1, 0, right.keys[0])
    node.children.splice(index + 1, 0, right)
  }
  return true
}

/** A key that is there, from a node that may be changed; a child that is empty then goes. */
function remove<V>(node: Node<V>, key: Key): void {
  if (node instanceof Leaf) {
    const index = countBelow(node.keys, key)
    node.keys.splice(index, 1)
    node.values.splice(index, 1)
    return
  }
  const index = node.indexFor(key)
  const child = node.ownChild(index)
  remove(child, key)
  if (child.keys.length === 0) {
    node.keys.splice(index, 1)
    node.children.splice(index, 1)
    return
  }
  node.keys[index] = child.keys[0]
  if (child.keys.length < SHORT) joinShort(node, index)
}

/** Joins a short child with the one beside it, if that makes one node. */
function joinShort<V>(node: Branch<V>, index: number): void {
  const left = index > 0 ? index - 1 : index
  const next = node.children[left + 1]
  if (next === undefined) return
  if (node.children[left].keys.length + next.keys.length > WIDTH) return
  const child = node.ownChild(left)
  // Both are of the same height.
  if (child instanceof Leaf) child.join(next as Leaf<V>)
  else child.join(next as Branch<V>)
  node.keys.splice(left + 1, 1)
  node.children.splice(left + 1, 1)
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

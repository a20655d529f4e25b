/** The store as an `abstract-level` database. What is public checks its arguments there, and calls this. */
import {
  type AbstractDatabaseOptions,
  AbstractIterator,
  AbstractKeyIterator,
  AbstractLevel,
  AbstractSnapshot,
  AbstractValueIterator,
} from 'abstract-level'
import { keyBytes, keyOf } from './bytes.ts'
import type { Entry } from './ordered-map.ts'
import { type Range, RangeWalk } from './range.ts'
import type { Operation } from './record.ts'
import { Store, type StoreOptions, type View } from './store.ts'
import type { Value } from './value.ts'

export interface RiologLevelOptions<K, V>
  extends AbstractDatabaseOptions<K, V>,
    Omit<StoreOptions, keyof AbstractDatabaseOptions<K, V>> {
  /** Writes resolve when they are durable, unless their own option `sync` says otherwise; true. */
  readonly sync?: boolean
}

export interface WriteOptions {
  readonly sync?: boolean
}

interface ReadOptions {
  readonly snapshot?: Snapshot
}

type LevelOperation =
  | { readonly type: 'del'; readonly key: Buffer }
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }

type RangeOptions = Range & ReadOptions & { readonly limit: number; readonly values?: boolean }

/** Keys that `clear` deletes with one record. */
const CLEAR_KEYS = 1000

export class RiologLevel<K = string, V = string> extends AbstractLevel<Buffer, K, V> {
  readonly location: string
  readonly #sync: boolean
  #store: Store | undefined

  constructor(location: string, options: RiologLevelOptions<K, V> = {}) {
    const { sync = true, ...forward } = options
    super(
      {
        createIfMissing: true,
        errorIfExists: true,
        encodings: { buffer: true },
        explicitSnapshots: true,
        has: true,
        // No getSync: a long value is read from the disk, which takes its time.
        additionalMethods: { checkpoint: true },
      },
      forward,
    )
    this.location = location
    this.#sync = sync
  }

  /** Writes a checkpoint now; it happens by itself, too. Resolves to the LSN that it covers. */
  async checkpoint(): Promise<number> {
    if (this.status === 'opening') return this.deferAsync(() => this.checkpoint())
    return this.#open.checkpoint()
  }

  /** What comes through the public methods of Level comes while there is one. */
  get #open(): Store {
    if (this.#store !== undefined) return this.#store
    throw Object.assign(new Error('the store was never open'), { code: 'LEVEL_DATABASE_NOT_OPEN' })
  }

  async _open(options: StoreOptions): Promise<void> {
    this.#store = await Store.open(this.location, options)
  }

  async _close(): Promise<void> {
    await this.#store?.close()
  }

  /** What is in memory has no promise of its own: Level awaits whatever comes. */
  _get(key: Buffer, options: ReadOptions): Promise<Buffer | undefined> {
    return this.#load(this.#map(options).get(keyOf(key))) as Promise<Buffer | undefined>
  }

  async _getMany(keys: Buffer[], options: ReadOptions): Promise<(Buffer | undefined)[]> {
    const map = this.#map(options)
    return together(keys.map(key => this.#load(map.get(keyOf(key)))))
  }

  async _has(key: Buffer, options: ReadOptions): Promise<boolean> {
    return this.#map(options).has(keyOf(key))
  }

  async _hasMany(keys: Buffer[], options: ReadOptions): Promise<boolean[]> {
    const map = this.#map(options)
    return keys.map(key => map.has(keyOf(key)))
  }

  _put(key: Buffer, value: Buffer, options: WriteOptions): Promise<void> {
    return this.#write([{ type: 'put', key: keyOf(key), value }], options)
  }

  _del(key: Buffer, options: WriteOptions): Promise<void> {
    return this.#write([{ type: 'del', key: keyOf(key) }], options)
  }

  _batch(operations: LevelOperation[], options: WriteOptions): Promise<void> {
    const ours = operations.map(operation => ({ ...operation, key: keyOf(operation.key) }))
    return this.#write(ours, options)
  }

  async _clear(options: RangeOptions): Promise<void> {
    // What it deletes may be gone from the map before it has come to the end.
    const reading = this.#reading(options)
    const writes: Promise<void>[] = []
    let left = options.limit < 0 ? Number.POSITIVE_INFINITY : options.limit
    for (let isDone = false; !isDone; ) {
      const operations: Operation[] = []
      for (; operations.length < CLEAR_KEYS && left > 0; left--) {
        const entry = reading.next()
        if (entry === undefined) break
        operations.push({ type: 'del', key: entry[0] })
      }
      isDone = operations.length < CLEAR_KEYS
      if (operations.length > 0) writes.push(this.#write(operations, options as WriteOptions))
    }
    reading.close()
    await Promise.all(writes)
  }

  _snapshot(options: object): AbstractSnapshot {
    return new Snapshot(this.#open.view(), options)
  }

  _iterator(options: RangeOptions): AbstractIterator<this, K, V> {
    return new EntryIterator<this, K, V>(this, this.#reading(options), options)
  }

  _keys(options: RangeOptions): AbstractKeyIterator<this, K> {
    return new KeyIterator<this, K>(this, this.#reading(options), options)
  }

  _values(options: RangeOptions): AbstractValueIterator<this, K, V> {
    return new ValueIterator<this, K, V>(this, this.#reading(options), options)
  }

  #map({ snapshot }: ReadOptions) {
    return snapshot?.view.map ?? this.#open.map
  }

  #load(value: Value | undefined): Buffer | undefined | Promise<Buffer> {
    return value && this.#open.load(value)
  }

  #write(operations: Operation[], { sync = this.#sync }: WriteOptions): Promise<void> {
    return this.#open.write(operations, sync)
  }

  #reading(options: RangeOptions): Reading {
    return new Reading(this.#open, options)
  }
}

/** Level's constructor takes its options, which its types do not say. */
const SnapshotBase = AbstractSnapshot as unknown as new (options: object) => AbstractSnapshot

class Snapshot extends SnapshotBase {
  readonly view: View

  constructor(view: View, options: object) {
    super(options)
    this.view = view
  }

  async _close(): Promise<void> {
    this.view.close()
  }
}

/** What the three iterators have in common: a walk through one state, and the values that it meets. */
class Reading {
  readonly #store: Store
  readonly #walk: RangeWalk<Value>
  /** Of its own, where it is not a snapshot's. */
  readonly #view: View | undefined

  constructor(store: Store, options: RangeOptions) {
    this.#store = store
    this.#view = options.snapshot === undefined ? store.view() : undefined
    this.#walk = new RangeWalk((options.snapshot?.view ?? this.#view!).map, options)
  }

  next() {
    return this.#walk.next()
  }

  many(size: number) {
    const entries = []
    while (entries.length < size) {
      const entry = this.#walk.next()
      if (entry === undefined) break
      entries.push(entry)
    }
    return entries
  }

  seek(key: Buffer): void {
    this.#walk.seek(keyOf(key))
  }

  load(value: Value): Buffer | Promise<Buffer> {
    return this.#store.load(value)
  }

  close(): void {
    this.#view?.close()
  }
}

type Loaded = [key: Buffer, value: Buffer | undefined]

/** What is in memory is not made to wait: a promise for each entry costs more than the entry. */
function together<T>(all: (T | Promise<T>)[]): T[] | Promise<T[]> {
  return all.some(one => one instanceof Promise) ? Promise.all(all) : (all as T[])
}

class EntryIterator<D, K, V> extends AbstractIterator<D, K, V> {
  readonly #reading: Reading
  readonly #hasValues: boolean

  constructor(db: D, reading: Reading, options: RangeOptions) {
    super(db, options as object)
    this.#reading = reading
    this.#hasValues = options.values !== false
  }

  async _next() {
    const entry = this.#reading.next()
    return entry && this.#loaded(entry)
  }

  async _nextv(size: number) {
    return together(this.#reading.many(size).map(entry => this.#loaded(entry)))
  }

  #loaded([key, value]: Entry<Value>): Loaded | Promise<Loaded> {
    const bytes = this.#hasValues ? this.#reading.load(value) : undefined
    if (bytes instanceof Promise) return bytes.then(loaded => [keyBytes(key), loaded])
    return [keyBytes(key), bytes]
  }

  _seek(key: Buffer): void {
    this.#reading.seek(key)
  }

  async _close(): Promise<void> {
    this.#reading.close()
  }
}

class KeyIterator<D, K> extends AbstractKeyIterator<D, K> {
  readonly #reading: Reading

  constructor(db: D, reading: Reading, options: RangeOptions) {
    super(db, options as object)
    this.#reading = reading
  }

  async _next() {
    const entry = this.#reading.next()
    return entry && keyBytes(entry[0])
  }

  async _nextv(size: number) {
    return this.#reading.many(size).map(([key]) => keyBytes(key))
  }

  _seek(key: Buffer): void {
    this.#reading.seek(key)
  }

  async _close(): Promise<void> {
    this.#reading.close()
  }
}

class ValueIterator<D, K, V> extends AbstractValueIterator<D, K, V> {
  readonly #reading: Reading

  constructor(db: D, reading: Reading, options: RangeOptions) {
    super(db, options as object)
    this.#reading = reading
  }

  async _next() {
    const entry = this.#reading.next()
    return entry && this.#reading.load(entry[1])
  }

  async _nextv(size: number) {
    return together(this.#reading.many(size).map(([, value]) => this.#reading.load(value)))
  }

  _seek(key: Buffer): void {
    this.#reading.seek(key)
  }

  async _close(): Promise<void> {
    this.#reading.close()
  }
}

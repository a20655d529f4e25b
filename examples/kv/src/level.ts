/** The store as an `abstract-level` database. What is public checks its arguments there, and calls this. */
import {
  type AbstractDatabaseOptions,
  AbstractIterator,
  AbstractKeyIterator,
  AbstractLevel,
  AbstractSnapshot,
  AbstractValueIterator,
} from 'abstract-level'
import { type Key, keyBytes, keyOf, keyText } from './bytes.ts'
import type { Entry } from './ordered-map.ts'
import { type Range, RangeWalk } from './range.ts'
import type { Operation } from './record.ts'
import { Store, type StoreOptions, type View } from './store.ts'
import { isStored, type Value } from './value.ts'

export interface RiologLevelOptions<K, V>
  extends AbstractDatabaseOptions<K, V>,
    Omit<StoreOptions, keyof AbstractDatabaseOptions<K, V>> {
  /** Writes resolve when they are durable, unless their own option `sync` says otherwise; true. */
  readonly sync?: boolean
}

export interface WriteOptions {
  readonly sync?: boolean
}

/** How Level hands over keys and values, and wants them: bytes, or strings that stand for their bytes in UTF-8. */
type Format = 'buffer' | 'utf8'
type Data = Buffer | string

interface ReadOptions {
  readonly snapshot?: Snapshot
  readonly keyEncoding: Format
  readonly valueEncoding: Format
}

type LevelOperation =
  | { readonly type: 'del'; readonly key: Data }
  | { readonly type: 'put'; readonly key: Data; readonly value: Data }

type RangeOptions = Range & ReadOptions & { readonly limit: number; readonly values?: boolean }

/** Keys that `clear` deletes with one record. */
const CLEAR_KEYS = 1000

export class RiologLevel<K = string, V = string> extends AbstractLevel<Data, K, V> {
  readonly location: string
  readonly #sync: boolean
  #store: Store | undefined

  constructor(location: string, options: RiologLevelOptions<K, V> = {}) {
    const { sync = true, ...forward } = options
    super(
      {
        createIfMissing: true,
        errorIfExists: true,
        encodings: { buffer: true, utf8: true },
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
  _get(key: Data, options: ReadOptions): Promise<Data | undefined> {
    const value = this.#map(options).get(keyOf(key))
    return loaded(this.#open, value, options.valueEncoding) as Promise<Data | undefined>
  }

  async _getMany(keys: Data[], options: ReadOptions): Promise<(Data | undefined)[]> {
    const map = this.#map(options)
    const values = keys.map(key => map.get(keyOf(key)))
    return together(values.map(value => loaded(this.#open, value, options.valueEncoding)))
  }

  async _has(key: Data, options: ReadOptions): Promise<boolean> {
    return this.#map(options).has(keyOf(key))
  }

  async _hasMany(keys: Data[], options: ReadOptions): Promise<boolean[]> {
    const map = this.#map(options)
    return keys.map(key => map.has(keyOf(key)))
  }

  _put(key: Data, value: Data, options: WriteOptions): Promise<void> {
    return this.#write([{ type: 'put', key: keyOf(key), value: bytesOf(value) }], options)
  }

  _del(key: Data, options: WriteOptions): Promise<void> {
    return this.#write([{ type: 'del', key: keyOf(key) }], options)
  }

  _batch(operations: LevelOperation[], options: WriteOptions): Promise<void> {
    return this.#write(operations.map(operationOf), options)
  }

  async _clear(options: RangeOptions): Promise<void> {
    // What it deletes may be gone from the map before it has come to the end.
    const reading = this.#reading(options)
    const writes: Promise<void>[] = []
    let left = options.limit < 0 ? Number.POSITIVE_INFINITY : options.limit
    try {
      for (let isDone = false; !isDone; ) {
        const entries = reading.many(Math.min(CLEAR_KEYS, left))
        isDone = entries.length < CLEAR_KEYS
        left -= entries.length
        const operations = entries.map(([key]) => ({ type: 'del', key }) as const)
        if (operations.length > 0) writes.push(this.#write(operations, options as WriteOptions))
      }
    } finally {
      reading.close()
    }
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
  readonly #keys: Format
  readonly #values: Format

  constructor(store: Store, options: RangeOptions) {
    this.#store = store
    this.#keys = options.keyEncoding
    this.#values = options.valueEncoding
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

  seek(key: Data): void {
    this.#walk.seek(keyOf(key))
  }

  key(key: Key): Data {
    return this.#keys === 'utf8' ? keyText(key) : keyBytes(key)
  }

  value(value: Value): Data | Promise<Data> {
    return loaded(this.#store, value, this.#values)!
  }

  close(): void {
    this.#view?.close()
  }
}

type Loaded = [key: Data, value: Data | undefined]

function bytesOf(value: Data): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : value
}

function operationOf(operation: LevelOperation): Operation {
  const key = keyOf(operation.key)
  if (operation.type === 'del') return { type: 'del', key }
  return { type: 'put', key, value: bytesOf(operation.value) }
}

/** A string needs no copy of the bytes that it is made from. */
function loaded(
  store: Store,
  value: Value | undefined,
  format: Format,
): Data | undefined | Promise<Data> {
  if (value === undefined) return undefined
  if (format === 'buffer') return store.load(value)
  return isStored(value) ? Promise.resolve(store.load(value)).then(String) : value.toString()
}

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
    const data = this.#hasValues ? this.#reading.value(value) : undefined
    if (data instanceof Promise) return data.then(loaded => [this.#reading.key(key), loaded])
    return [this.#reading.key(key), data]
  }

  _seek(key: Data): void {
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
    return entry && this.#reading.key(entry[0])
  }

  async _nextv(size: number) {
    return this.#reading.many(size).map(([key]) => this.#reading.key(key))
  }

  _seek(key: Data): void {
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
    return entry && this.#reading.value(entry[1])
  }

  async _nextv(size: number) {
    return together(this.#reading.many(size).map(([, value]) => this.#reading.value(value)))
  }

  _seek(key: Data): void {
    this.#reading.seek(key)
  }

  async _close(): Promise<void> {
    this.#reading.close()
  }
}

/** What keeps records durably: riolog, and what else a Node program could take. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
// The compiled package, as users have it.
import { Log, type LogOptions } from 'riolog'
import type { Tell } from '../closed-loop.ts'
import { openNodeFs } from '../peer-node-fs.ts'
import { Grouped } from '../peers/grouped.ts'
import type { Peers } from '../peers/load.ts'
import { openDurableSqlite } from '../peers/sqlite.ts'

export interface Store {
  /** Resolves when the record is durable. */
  append(record: Uint8Array): Promise<unknown>
  /** Calls when the record is durable: a closed loop takes this where it is there. */
  tell?: Tell
  /** So many records, none of them awaited; resolves when all are durable. */
  ingest(record: Uint8Array, count: number): Promise<void>
  /** What is done between rounds and not measured. */
  settle?(): Promise<unknown>
  close(): Promise<unknown>
}

export type StoreName =
  | 'riolog'
  | 'riolog, trimmed'
  | 'riolog, busy poll'
  | 'riolog, thread pool'
  | 'riolog, appendBatch'
  | 'riolog, subarrays'
  | 'riolog, appendSlices'
  | 'riolog, callbacks'
  | 'node:fs'
  | 'better-sqlite3'
  | 'lmdb'
  | 'classic-level'
  | 'rocksdb'

/** Records that are handed over together where there is a call for that. */
const BATCH = 1000
/** A log's first file is small, and the next one is written full of zeros: both are over by then. */
const WARM_UP_BYTES = 24 << 20

export function openStore(name: StoreName, directory: string, peers: Peers): Promise<Store> {
  return STORES[name](directory, peers)
}

const STORES: Record<StoreName, (directory: string, peers: Peers) => Promise<Store>> = {
  riolog: directory => openRiolog(directory, { recycledSegments: 0 }),
  'riolog, trimmed': openTrimmed,
  'riolog, busy poll': directory =>
    openRiolog(directory, { recycledSegments: 0, busyPoll: 'always' }),
  'riolog, thread pool': directory =>
    openRiolog(directory, { recycledSegments: 0, engine: 'threadpool' }),
  'riolog, appendBatch': directory => openIngesting(directory, 'ingestBatches'),
  'riolog, subarrays': directory => openIngesting(directory, 'ingestSubarrays'),
  'riolog, appendSlices': directory => openIngesting(directory, 'ingestSlices'),
  'riolog, callbacks': openCallbacks,
  'node:fs': async directory => {
    mkdirSync(directory, { recursive: true })
    return openNodeFs(join(directory, 'log.bin'))
  },
  'better-sqlite3': openSqlite,
  lmdb: openLmdb,
  'classic-level': openClassicLevel,
  rocksdb: openRocksdb,
}

class Riolog implements Store {
  readonly log: Log

  constructor(log: Log) {
    this.log = log
  }

  append(record: Uint8Array): Promise<unknown> {
    return this.log.appendDurable(record)
  }

  async ingest(record: Uint8Array, count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      try {
        for (; left > 0; left--) this.log.append(record)
      } catch (error) {
        await this.#drained(error)
      }
    }
    await this.log.flush()
  }

  async ingestBatches(record: Uint8Array, count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      const records = new Array<Uint8Array>(Math.min(BATCH, left)).fill(record)
      try {
        for (; left >= records.length; left -= records.length) this.log.appendBatch(records)
      } catch (error) {
        await this.#drained(error)
      }
    }
    await this.log.flush()
  }

  /** Out of one piece of memory, as a chunk of a file would have them. */
  async ingestSlices(record: Uint8Array, count: number): Promise<void> {
    const { memory, bounds } = chunkOf(record, Math.min(BATCH, count))
    for (let left = count; left > 0; ) {
      const some = bounds.subarray(0, 2 * left)
      try {
        for (; left >= some.length / 2; left -= some.length / 2) this.log.appendSlices(memory, some)
      } catch (error) {
        await this.#drained(error)
      }
    }
    await this.log.flush()
  }

  /** The same one by one, without `appendSlices`. */
  async ingestSubarrays(record: Uint8Array, count: number): Promise<void> {
    const { memory, bounds } = chunkOf(record, Math.min(BATCH, count))
    for (let at = 0, left = count; left > 0; ) {
      try {
        for (; left > 0; left--, at = (at + 2) % bounds.length) {
          this.log.append(memory.subarray(bounds[at], bounds[at + 1]))
        }
      } catch (error) {
        await this.#drained(error)
      }
    }
    await this.log.flush()
  }

  async #drained(error: unknown): Promise<void> {
    if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
    await this.log.drain()
  }

  /** So that the disk is not filled; a growing log does not take the files again. */
  settle(): Promise<number> {
    return this.log.trim(this.log.durableLsn)
  }

  close(): Promise<void> {
    return this.log.close()
  }
}

/** So many of a record, one behind the other. */
function chunkOf(record: Uint8Array, count: number): { memory: Buffer; bounds: Uint32Array } {
  const memory = Buffer.concat(new Array<Uint8Array>(count).fill(record))
  const bound = (_: unknown, i: number) => ((i + 1) >> 1) * record.length
  return { memory, bounds: Uint32Array.from({ length: 2 * count }, bound) }
}

/** By groups that are no stream: who commits little by little behind them finds files of zeros. */
async function grow(log: Log, bytes: number): Promise<void> {
  for (let at = 0; at < bytes; at += 1 << 16) await log.appendDurable(Buffer.alloc(1 << 16))
}

async function openRiolog(directory: string, options: LogOptions): Promise<Riolog> {
  const log = await Log.open(directory, options)
  await grow(log, WARM_UP_BYTES)
  return new Riolog(log)
}

/** As the log in front of a database: what is behind is given up, and its files are taken again. */
async function openTrimmed(directory: string): Promise<Riolog> {
  const store = await openRiolog(directory, { recycledSegments: 2 })
  const { log } = store
  const { segmentSize } = log.info()
  log.onSealed(() => {
    log.trim(log.durableLsn).catch(error => {
      // A round may end, and the log with it, in the middle of a trim.
      if (error.code !== 'ERR_RIOLOG_CLOSED') throw error
    })
  })
  // Until the pool is full, or the first rounds would be those of a growing log.
  await grow(log, 3 * segmentSize)
  return store
}

type Ingest = 'ingestBatches' | 'ingestSlices' | 'ingestSubarrays'

async function openIngesting(directory: string, way: Ingest): Promise<Store> {
  const store = await openRiolog(directory, { recycledSegments: 0 })
  store.ingest = store[way]
  return store
}

async function openCallbacks(directory: string): Promise<Store> {
  const store: Riolog & Store = await openRiolog(directory, { recycledSegments: 0 })
  const tell: Tell = (record, done) => {
    try {
      store.log.append(record, done)
    } catch (error) {
      // Where appendDurable waits: the next segment may not be ready.
      if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') return done(error)
      store.log.drain().then(() => tell(record, done), done)
    }
  }
  store.tell = tell
  return store
}

async function openSqlite(directory: string, peers: Peers): Promise<Store> {
  const db = openDurableSqlite(directory, peers)
  db.exec('CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB)')
  const insert = db.prepare('INSERT INTO log (data) VALUES (?)')
  const write = db.transaction((records: readonly Uint8Array[]) => {
    for (const record of records) insert.run(record)
  })
  const queue = new Grouped<Uint8Array>(write)
  return {
    append: record => queue.put(record),
    ingest: async (record, count) => forEachBatch(record, count, write),
    close: async () => db.close(),
  }
}

async function openLmdb(directory: string, peers: Peers): Promise<Store> {
  const { open } = peers.load('lmdb')
  const db = open({ path: directory, encoding: 'binary' })
  let key = 0
  return {
    append: async record => {
      await db.put(key++, record)
      // The put alone is committed, and may not be on the disk yet.
      await db.flushed
    },
    ingest: async (record, count) => {
      forEachBatch(record, count, records =>
        db.transactionSync(() => {
          for (const each of records) db.putSync(key++, each)
        }, COMMIT_ONLY),
      )
      // What is put now is behind all that came before.
      await db.put(key++, record)
      await db.flushed
    },
    close: () => db.close(),
  }
}

/** SYNCHRONOUS_COMMIT | NO_SYNC_FLUSH: the end of an ingest waits for the disk, not each transaction. */
const COMMIT_ONLY = 0x10002

interface PutOperation {
  readonly type: 'put'
  readonly key: Buffer
  readonly value: Uint8Array
}

/** What both Level stores can. Keys ascend, as they do in a log. */
function levelStore(
  batch: (operations: readonly PutOperation[], sync: boolean) => Promise<unknown>,
  close: () => Promise<unknown>,
): Store {
  let number = 0
  const put = (value: Uint8Array): PutOperation => {
    const key = Buffer.allocUnsafe(8)
    key.writeBigUInt64BE(BigInt(number++))
    return { type: 'put', key, value }
  }
  const queue = new Grouped<Uint8Array>(records => batch(records.map(put), true))
  return {
    append: record => queue.put(record),
    ingest: async (record, count) => {
      for (let left = count; left > 0; left -= BATCH) {
        const records = new Array<Uint8Array>(Math.min(BATCH, left)).fill(record)
        await batch(records.map(put), left <= BATCH)
      }
    },
    close,
  }
}

async function openClassicLevel(directory: string, peers: Peers): Promise<Store> {
  const { ClassicLevel } = peers.load('classic-level')
  const db = new ClassicLevel(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  await db.open()
  return levelStore(
    (operations, sync) => db.batch(operations, { sync }),
    () => db.close(),
  )
}

async function openRocksdb(directory: string, peers: Peers): Promise<Store> {
  const open = peers.load('rocksdb')
  mkdirSync(directory, { recursive: true })
  const db = open(directory)
  await promisify(db.open).call(db, {})
  const batch = promisify(db.batch).bind(db)
  return levelStore((operations, sync) => batch(operations, { sync }), promisify(db.close).bind(db))
}

function forEachBatch(
  record: Uint8Array,
  count: number,
  write: (records: readonly Uint8Array[]) => unknown,
): void {
  for (let left = count; left > 0; left -= BATCH) {
    write(new Array<Uint8Array>(Math.min(BATCH, left)).fill(record))
  }
}

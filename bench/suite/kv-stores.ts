/**
 * Key-value stores that a Node program can embed, each so that a put resolves when it is durable, and callers who
 * write at the same time share what that costs as well as the store can.
 */
import { RiologLevel } from '../../examples/kv/src/index.ts'
import { Grouped } from '../peers/grouped.ts'
import type { Peers } from '../peers/load.ts'
import { openDurableSqlite } from '../peers/sqlite.ts'

export interface KvStore {
  get(key: string): Promise<unknown>
  put(key: string, value: Buffer): Promise<unknown>
  /** Reads so many entries from a key on. */
  scan(from: string, count: number): Promise<number>
  close(): Promise<unknown>
}

export const KV_STORES = ['riolog-kv', 'classic-level', 'lmdb', 'better-sqlite3'] as const
export type KvStoreName = (typeof KV_STORES)[number]

export function openKvStore(name: KvStoreName, path: string, peers: Peers): Promise<KvStore> {
  return OPEN[name](path, peers)
}

const OPEN: Record<KvStoreName, (directory: string, peers: Peers) => Promise<KvStore>> = {
  'riolog-kv': async directory => {
    const db = new RiologLevel<string, Buffer>(directory, { valueEncoding: 'buffer' })
    await db.open()
    return new LevelStore(db)
  },
  'classic-level': async (directory, peers) => {
    const { ClassicLevel } = peers.load('classic-level')
    const db = new ClassicLevel(directory, { valueEncoding: 'buffer' })
    await db.open()
    return new LevelStore(db, { sync: true })
  },
  lmdb: openLmdb,
  'better-sqlite3': openSqlite,
}

/** What both Level stores are measured by. */
interface Level {
  get(key: string): Promise<unknown>
  put(key: string, value: Buffer, options?: object): Promise<void>
  iterator(range: object): { all(): Promise<unknown[]> }
  close(): Promise<void>
}

class LevelStore implements KvStore {
  readonly #db: Level
  readonly #options: object | undefined

  constructor(db: Level, options?: object) {
    this.#db = db
    this.#options = options
  }

  get(key: string): Promise<unknown> {
    return this.#db.get(key)
  }

  put(key: string, value: Buffer): Promise<void> {
    return this.#db.put(key, value, this.#options)
  }

  async scan(from: string, count: number): Promise<number> {
    return (await this.#db.iterator({ gte: from, limit: count }).all()).length
  }

  close(): Promise<void> {
    return this.#db.close()
  }
}

async function openLmdb(directory: string, peers: Peers): Promise<KvStore> {
  const { open } = peers.load('lmdb')
  const db = open({ path: directory, encoding: 'binary' })
  return {
    get: async key => db.get(key),
    put: async (key, value) => {
      await db.put(key, value)
      // The put alone is committed, and may not be on the disk yet.
      await db.flushed
    },
    scan: async (from, count) => [...db.getRange({ start: from, limit: count })].length,
    close: () => db.close(),
  }
}

async function openSqlite(directory: string, peers: Peers): Promise<KvStore> {
  const db = openDurableSqlite(directory, peers)
  db.exec('CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID')
  const select = db.prepare('SELECT value FROM kv WHERE key = ?')
  const insert = db.prepare('INSERT OR REPLACE INTO kv VALUES (?, ?)')
  const range = db.prepare('SELECT key, value FROM kv WHERE key >= ? ORDER BY key LIMIT ?')
  const write = db.transaction((puts: Put[]) => {
    for (const { key, value } of puts) insert.run(key, value)
  })
  const queue = new Grouped<Put>(write)
  return {
    get: async key => select.get(key)?.value,
    put: (key, value) => queue.put({ key, value }),
    scan: async (from, count) => range.all(from, count).length,
    close: async () => db.close(),
  }
}

interface Put {
  readonly key: string
  readonly value: Buffer
}

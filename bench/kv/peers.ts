/**
 * The stores, each so that a put resolves when it is durable, and callers who write at the same time share
 * what that costs as well as the store can.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { RiologLevel } from '../../examples/kv/src/index.ts'

export interface Peer {
  get(key: string): Promise<unknown>
  put(key: string, value: Buffer): Promise<unknown>
  /** Reads so many entries from a key on. */
  scan(from: string, count: number): Promise<number>
  close(): Promise<void>
}

export type PeerName = 'riolog-kv' | 'classic-level' | 'lmdb' | 'better-sqlite3'

export const PEERS: Record<PeerName, (directory: string) => Promise<Peer>> = {
  'riolog-kv': async directory => {
    const db = new RiologLevel<string, Buffer>(directory, { valueEncoding: 'buffer' })
    await db.open()
    return new LevelPeer(db, {})
  },
  'classic-level': async directory => {
    const { ClassicLevel } = await load('classic-level')
    const db = new ClassicLevel(directory, { valueEncoding: 'buffer' })
    await db.open()
    return new LevelPeer(db, { sync: true })
  },
  lmdb: openLmdb,
  'better-sqlite3': openSqlite,
}

/** Not installed with riolog, so the compiler does not know them. */
async function load(name: string) {
  try {
    return await import(name)
  } catch (error) {
    const message = `${name} is missing: npm install --prefix bench/kv`
    throw new Error(message, { cause: error })
  }
}

/** What both Level stores are measured by. */
interface Level {
  get(key: string): Promise<unknown>
  put(key: string, value: Buffer, options: object): Promise<void>
  iterator(range: object): { all(): Promise<unknown[]> }
  close(): Promise<void>
}

class LevelPeer implements Peer {
  readonly #db: Level
  readonly #options: object

  constructor(db: Level, options: object) {
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

async function openLmdb(directory: string): Promise<Peer> {
  const { open } = await load('lmdb')
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

async function openSqlite(directory: string): Promise<Peer> {
  const { default: Database } = await load('better-sqlite3')
  mkdirSync(directory, { recursive: true })
  const db = new Database(join(directory, 'db.sqlite'))
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  db.exec('CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID')
  const select = db.prepare('SELECT value FROM kv WHERE key = ?')
  const insert = db.prepare('INSERT OR REPLACE INTO kv VALUES (?, ?)')
  const range = db.prepare('SELECT key, value FROM kv WHERE key >= ? ORDER BY key LIMIT ?')
  const write = db.transaction((puts: Put[]) => {
    for (const { key, value } of puts) insert.run(key, value)
  })
  const queue = new Grouped(write)
  return {
    get: async key => select.get(key)?.value,
    put: (key, value) => queue.put(key, value),
    scan: async (from, count) => range.all(from, count).length,
    close: async () => db.close(),
  }
}

interface Put {
  readonly key: string
  readonly value: Buffer
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Puts of one turn of the event loop, written in one transaction: one sync for all. */
class Grouped {
  readonly #write: (puts: Put[]) => void
  #puts: Put[] = []

  constructor(write: (puts: Put[]) => void) {
    this.#write = write
  }

  put(key: string, value: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      // Behind the microtasks, in which the other callers put.
      if (this.#puts.push({ key, value, resolve, reject }) === 1) setImmediate(() => this.#flush())
    })
  }

  #flush(): void {
    const puts = this.#puts
    this.#puts = []
    try {
      this.#write(puts)
      for (const { resolve } of puts) resolve()
    } catch (error) {
      for (const { reject } of puts) reject(error)
    }
  }
}

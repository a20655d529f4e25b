import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Peers } from './load.ts'

/** A new database in a folder, whose transactions are durable when they have returned. */
export function openDurableSqlite(directory: string, peers: Peers) {
  const Database = peers.load('better-sqlite3')
  mkdirSync(directory, { recursive: true })
  const db = new Database(join(directory, 'db.sqlite'))
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  return db
}

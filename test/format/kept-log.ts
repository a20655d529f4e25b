/**
 * A log of format version 1, kept as bytes, so that every later riolog can be held to reading it. Made once, by
 *
 *   node --import=tsx test/format/kept-log.ts
 *
 * and not to be made again while the version is 1: what it is for is that it is old.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { Log, type LogOptions } from '../../src/index.ts'

export const KEPT = fileURLToPath(new URL('version-1.json', import.meta.url))
const KEY = Buffer.alloc(32, 'key')

/** Of the openings: every one can read all records. */
export const OPTIONS: LogOptions = {
  encryption: { keyId: 5, key: id => (id === 5 ? KEY : undefined), acceptPlain: true },
}

export interface Kept {
  /** What is in the log. */
  readonly records: readonly { readonly lsn: number; readonly text: string }[]
  readonly trimLsn: number
  /** By name, raw deflate, base64. */
  readonly files: Readonly<Record<string, string>>
}

/** A record as text; a long one by its digest. */
export function told(data: Buffer): string {
  if (data.length < 100) return String(data)
  return `${data.length} bytes, ${createHash('sha256').update(data).digest('hex')}`
}

/** Puts the kept log into a directory. */
export function restore({ files }: Kept, directory: string): void {
  for (const [name, packed] of Object.entries(files)) {
    writeFileSync(join(directory, name), inflateRawSync(Buffer.from(packed, 'base64')))
  }
}

async function make(directory: string): Promise<Kept> {
  const plain = { segmentSize: 64 << 10, engine: 'threadpool', recycledSegments: 0 } as const
  let log = await Log.open(directory, plain)
  await log.appendDurable(Buffer.from('trimmed'))
  const first = await log.appendDurable(Buffer.from('plain'))
  await log.appendBatchDurable(['one', 'batch', ''].map(text => Buffer.from(text)))
  await log.appendDurable(Buffer.from('fragments '.repeat(6000)))
  await log.close()
  log = await Log.open(directory, { ...plain, ...OPTIONS, compression: 'deflate' })
  await log.appendDurable(Buffer.from('encrypted'))
  await log.appendDurable(Buffer.from('compressed '.repeat(100)))
  const dropped = await log.appendDurable(Buffer.from('rewound'))
  await log.rewind(dropped)
  await log.appendDurable(Buffer.from('after a rewind'))
  await log.trim(first)
  const records = []
  for await (const { lsn, data } of log.scan()) records.push({ lsn, text: told(data) })
  const { trimLsn } = log
  await log.close()
  const pack = (name: string) =>
    deflateRawSync(readFileSync(join(directory, name))).toString('base64')
  const names = readdirSync(directory).sort()
  return { records, trimLsn, files: Object.fromEntries(names.map(name => [name, pack(name)])) }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const directory = mkdtempSync(join(tmpdir(), 'riolog-kept-'))
  writeFileSync(KEPT, `${JSON.stringify(await make(directory), undefined, 2)}\n`)
  rmSync(directory, { recursive: true })
}

/**
 * A large text through the log and back: `npm start -- [file] [directory]`. Every line becomes a
 * record; the log is closed and opened again, and what it gives back must have the same SHA-256.
 *
 * Without a file this takes the declarations of the DOM, 2.2 MiB in 45,000 lines, which TypeScript's
 * compiler reads: it is there wherever this project can be type-checked. Without a directory the log
 * is a temporary one.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Log, RiologError } from '../src/index.ts'

const NEWLINE = 0x0a

interface Written {
  readonly engine: string
  readonly records: number
  /** The LSN of the first record; a directory that was named may hold a log with others. */
  readonly from: number
  readonly durableLsn: number
  readonly seconds: number
}

interface ReadBack {
  readonly records: number
  readonly bytes: number
  readonly sha256: string
  readonly seconds: number
}

/** The compiler is a package of its own for each platform, which only `typescript` can resolve. */
function findLargeText(): string {
  const typescript = createRequire(import.meta.url).resolve('typescript/package.json')
  const compiler = `@typescript/typescript-${process.platform}-${process.arch}/package.json`
  return join(dirname(createRequire(typescript).resolve(compiler)), 'lib', 'lib.dom.d.ts')
}

/** Lines with their newlines, so that the records put together are the text again. */
function* linesOf(text: Buffer): Generator<Buffer> {
  for (let from = 0, to = 0; from < text.length; from = to) {
    to = text.indexOf(NEWLINE, from) + 1 || text.length
    yield text.subarray(from, to)
  }
}

/** Appends as fast as the disk takes records: memory for those on their way is bounded. */
async function append(log: Log, record: Buffer): Promise<number> {
  for (;;) {
    try {
      return log.append(record)
    } catch (error) {
      if (!(error instanceof RiologError && error.code === 'ERR_RIOLOG_BACKPRESSURE')) throw error
      await log.drain()
    }
  }
}

async function write(directory: string, text: Buffer): Promise<Written> {
  await using log = await Log.open(directory)
  const startedAt = performance.now()
  let records = 0
  let from: number | undefined
  for (const line of linesOf(text)) {
    const lsn = await append(log, line)
    from ??= lsn
    records++
  }
  const durableLsn = await log.flush()
  const seconds = (performance.now() - startedAt) / 1000
  return { engine: log.info().engine, records, from: from ?? durableLsn, durableLsn, seconds }
}

async function readBack(directory: string, from: number): Promise<ReadBack> {
  await using log = await Log.open(directory)
  const startedAt = performance.now()
  const hash = createHash('sha256')
  let records = 0
  let bytes = 0
  for await (const { data } of log.scan({ from })) {
    hash.update(data)
    records++
    bytes += data.length
  }
  const seconds = (performance.now() - startedAt) / 1000
  return { records, bytes, sha256: hash.digest('hex'), seconds }
}

function rate(records: number, seconds: number): string {
  return `${Math.round(records / seconds)} records/s (${seconds.toFixed(3)} s)`
}

async function main(file: string, directory: string): Promise<boolean> {
  const text = readFileSync(file)
  const sha256 = createHash('sha256').update(text).digest('hex')
  const written = await write(directory, text)
  const back = await readBack(directory, written.from)
  const same =
    back.sha256 === sha256 && back.bytes === text.length && back.records === written.records
  console.log(`input        ${file}
log          ${directory}
engine       ${written.engine}
records      ${written.records} written, ${back.records} read back
bytes        ${text.length} written, ${back.bytes} read back
durable      ${rate(written.records, written.seconds)}, one flush at the end
read back    ${rate(back.records, back.seconds)}
durable LSN  ${written.durableLsn}
SHA-256 in   ${sha256}
SHA-256 out  ${back.sha256}
${same ? 'Every byte came back.' : 'THE LOG GAVE BACK SOMETHING ELSE.'}`)
  return same
}

const [file = findLargeText(), named] = process.argv.slice(2)
const directory = named ?? mkdtempSync(join(tmpdir(), 'riolog-word-list-'))
try {
  if (!(await main(file, directory))) process.exitCode = 1
} finally {
  if (named === undefined) rmSync(directory, { recursive: true })
}

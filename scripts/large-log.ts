/**
 * Opens a large log, closed and killed, and shows how much of it an opening reads.
 *
 *   npm run test:large -- [--gigabytes 10] [--dir DIR]
 *
 * Exit code 1 when a closed log's opening reads any group, or a killed one's more than its last segments.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Log } from '../src/index.ts'

const { values } = parseArgs({
  options: {
    gigabytes: { type: 'string', default: '10' },
    dir: { type: 'string', default: tmpdir() },
    child: { type: 'string' },
  },
})
const bytes = Number(values.gigabytes) * 1e9
if (!(bytes > 0)) throw new Error('--gigabytes must be more than 0')
const RECORD = Buffer.alloc(1_000_000, 'riolog')
const IN_FLIGHT = 8
/** The header and the first group's header of a segment: two blocks. */
const WALK_BYTES = 8192

async function fill(log: Log, until: number): Promise<void> {
  let written = 0
  const caller = async () => {
    for (; written < until; written += RECORD.length) await log.appendDurable(RECORD)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
}

if (values.child !== undefined) {
  const log = await Log.open(values.child, { idleStampMs: 0 })
  await fill(log, bytes)
  console.log('full')
  await fill(log, Number.POSITIVE_INFINITY)
}

/** Bytes that this process has had read from devices (proc(5), /proc/pid/io). */
function readBytes(): number {
  return Number(/^read_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
}

async function opening(directory: string) {
  const before = readBytes()
  const started = performance.now()
  const log = await Log.open(directory, { idleStampMs: 0 })
  const milliseconds = performance.now() - started
  const read = readBytes() - before
  return { log, read, milliseconds, segments: log.info().segments.length }
}

const directory = mkdtempSync(join(values.dir, 'riolog-large-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const script = fileURLToPath(import.meta.url)
const args = ['--import=tsx', script, '--child', directory, '--gigabytes', values.gigabytes]
const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
await new Promise<void>((resolve, reject) => {
  child.stdout.once('data', () => resolve())
  child.once('exit', code => reject(new Error(`the writer ended with ${code}`)))
})
await new Promise<void>(resolve => {
  child.removeAllListeners('exit').once('exit', () => resolve())
  child.kill('SIGKILL')
})

const killed = await opening(directory)
const { segmentSize, recovery } = killed.log.info()
console.log(
  `killed: ${recovery.verdict}, ${killed.segments} segments, ${killed.read} bytes read, ` +
    `${killed.milliseconds.toFixed(0)} ms`,
)
await killed.log.appendDurable(RECORD)
await killed.log.close()
const closed = await opening(directory)
console.log(
  `closed: ${closed.log.recovery.verdict}, ${closed.segments} segments, ${closed.read} bytes read, ` +
    `${closed.milliseconds.toFixed(0)} ms`,
)
await closed.log.close()
// The manifest's two copies, and what reading ahead or a file system's own metadata comes to.
const rest = 1 << 20
const walk = (segments: number) => segments * WALK_BYTES + rest
if (closed.read > walk(closed.segments)) process.exitCode = 1
if (killed.read > walk(killed.segments) + 3 * segmentSize) process.exitCode = 1

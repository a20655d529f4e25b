/**
 * `npm run bench:garbage`: what the log allocates on V8's heap while it appends, record by record and
 * commit by commit, by a sampled heap profile that counts what was collected, too; and how the process
 * grows. 64 callers in a closed loop, by promise and by callback.
 *
 * With a promise the garbage is the caller's own: the promise, its two settling functions and what `await`
 * makes. With a callback what is left is a few objects a commit.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
// The compiled package, as users have it.
import { Log } from 'riolog'

const CALLERS = Number(process.env.RIOLOG_CALLERS ?? 64)
const RECORDS = Number(process.env.RIOLOG_RECORDS ?? 1_000_000)
const RECORD = Buffer.alloc(128, 7)
const SAMPLING_BYTES = 8192
const SHOWN = 8

interface Node {
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly selfSize: number
  readonly children: readonly Node[]
}

/** Bytes by the function that allocated them. */
function sizes(node: Node, into = new Map<string, number>()): Map<string, number> {
  const { functionName, url } = node.callFrame
  const name = `${functionName || '(anonymous)'} ${url.split('/').slice(-2).join('/')}`
  into.set(name, (into.get(name) ?? 0) + node.selfSize)
  for (const child of node.children) sizes(child, into)
  return into
}

function byPromise(log: Log, records: number): Promise<unknown> {
  let left = records
  const caller = async () => {
    while (left-- > 0) await log.appendDurable(RECORD)
  }
  return Promise.all(Array.from({ length: CALLERS }, caller))
}

function byCallback(log: Log, records: number): Promise<unknown> {
  return new Promise<void>((resolve, reject) => {
    let left = records
    let waiting = CALLERS
    const again = (error: Error | undefined) => {
      if (error !== undefined) return reject(error)
      if (left <= 0) return --waiting === 0 ? resolve() : undefined
      try {
        log.append(RECORD, again)
        left--
      } catch {
        log.drain().then(() => again(undefined), reject) // the next segment is not there yet
      }
    }
    for (let i = 0; i < CALLERS; i++) again(undefined)
  })
}

async function report(name: string, run: (log: Log, records: number) => Promise<unknown>) {
  const root = mkdtempSync(join(process.env.RIOLOG_BENCH_DIR ?? tmpdir(), 'riolog-garbage-'))
  const log = await Log.open(join(root, 'log'))
  await run(log, RECORDS / 4) // so that all is compiled
  const commits = log.metrics().groups
  const before = process.memoryUsage.rss()
  const session = new Session()
  session.connect()
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: SAMPLING_BYTES,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  })
  await run(log, RECORDS)
  const { profile } = (await session.post('HeapProfiler.stopSampling')) as {
    profile: { head: Node }
  }
  session.disconnect()
  const grown = process.memoryUsage.rss() - before
  const groups = log.metrics().groups - commits
  const found = [...sizes(profile.head)].filter(([, bytes]) => bytes > 0)
  const total = found.reduce((sum, [, bytes]) => sum + bytes, 0)
  console.log(
    `\n${name}: ${(total / RECORDS).toFixed(1)} bytes a record, ${Math.round(total / groups)} a commit ` +
      `(${Math.round(RECORDS / groups)} records); the process grew by ${(grown / (1 << 20)).toFixed(1)} MiB`,
  )
  for (const [where, bytes] of found.sort((a, b) => b[1] - a[1]).slice(0, SHOWN)) {
    console.log(`${(bytes / RECORDS).toFixed(2).padStart(8)} bytes a record  ${where}`)
  }
  await log.close()
  rmSync(root, { recursive: true })
}

console.log(`Node ${process.version}, ${CALLERS} callers, ${RECORDS} records of ${RECORD.length} B`)
await report('promises', byPromise)
await report('callbacks', byCallback)

/**
 * `npm run bench:quick`: durable appends of 128 B by 1 and by 64 callers, of riolog on both engines,
 * of node:fs with its own group commit, and of a C program on raw io_uring, side by side in
 * interleaved rounds. What counts are the ratios: the machine's speed changes from round to round.
 * With `--modes` (`npm run bench:modes`) also of the ways to commit that are not the default.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import { join } from 'node:path'
// The compiled package, as users have it.
import { Log, type LogOptions } from 'riolog'
import { type Appender, runClosedLoop } from './closed-loop.ts'
import { openNodeFs } from './peer-node-fs.ts'
import { buildC, numbers, type Program } from './ring/children.ts'
import { median, ratios, spread } from './statistics.ts'

interface Result {
  readonly recordsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
}

const RECORD_BYTES = 128
const ROUNDS = Number(process.env.RIOLOG_ROUNDS ?? 7)
const MILLISECONDS = Number(process.env.RIOLOG_ROUND_MS ?? 1000)
/** Appended before the clock starts, so that the segments have grown to their full size. */
const WARM_UP_BYTES = 24 << 20

const root = mkdtempSync(join(process.env.RIOLOG_BENCH_DIR ?? tmpdir(), 'riolog-bench-'))

const DEFAULTS: readonly LogOptions[] = [{ engine: 'uring' }, { engine: 'threadpool' }]
const MODES: readonly LogOptions[] = [
  { engine: 'uring', sync: 'fdatasync' },
  { engine: 'uring', sync: 'dsync' },
  { engine: 'uring', commitsInFlight: 2 },
  { engine: 'uring', commitsInFlight: 4 },
  { engine: 'threadpool', sync: 'dsync' },
]
const WAYS = process.argv.includes('--modes') ? [...DEFAULTS, ...MODES] : DEFAULTS

const nameOf = ({ engine, sync, commitsInFlight }: LogOptions) =>
  ['riolog,', engine, sync, commitsInFlight && `${commitsInFlight} in flight`]
    .filter(Boolean)
    .join(' ')

async function openLog(options: LogOptions): Promise<Appender> {
  const path = join(root, 'log')
  const log = await Log.open(path, options)
  for (let at = 0; at < WARM_UP_BYTES; at += 1 << 16) await log.appendDurable(Buffer.alloc(1 << 16))
  return {
    name: nameOf(options),
    append: record => log.appendDurable(record),
    close: async () => {
      await log.close()
      rmSync(path, { recursive: true })
    },
  }
}

function runC(program: Program, callers: number): Result {
  const args = ['closed', join(root, 'c.bin'), callers, RECORD_BYTES, MILLISECONDS].map(String)
  const output = execFileSync(program.path, args, { encoding: 'utf8' })
  const { operations, seconds, p50Us, p99Us } = numbers(
    output,
    'operations',
    'seconds',
    'p50Us',
    'p99Us',
  )
  return { recordsPerSecond: operations / seconds, p50Us, p99Us }
}

async function measure(open: () => Promise<Appender>, callers: number): Promise<Result> {
  const appender = await open()
  const result = await runClosedLoop(appender, callers, RECORD_BYTES, MILLISECONDS)
  await appender.close()
  return result
}

function report(callers: number, results: ReadonlyMap<string, Result[]>): void {
  const yardstick = results.get(C) ?? results.get(NODE_FS)!
  console.log(`\n${callers} x ${RECORD_BYTES} B, each awaited durable; ${ROUNDS} rounds, medians`)
  console.log(
    `${'way'.padEnd(30)} records/s   p50 us   p99 us   of ${results.has(C) ? C : NODE_FS}`,
  )
  for (const [name, runs] of results) {
    const rate = Math.round(median(runs.map(run => run.recordsPerSecond)))
    const rates = (of: readonly Result[]) => of.map(run => run.recordsPerSecond)
    const parts = ratios(rates(runs), rates(yardstick))
    const columns = [
      name.padEnd(30),
      String(rate).padStart(9),
      median(runs.map(run => run.p50Us))
        .toFixed(0)
        .padStart(8),
      median(runs.map(run => run.p99Us))
        .toFixed(0)
        .padStart(8),
      `  ${median(parts).toFixed(2)} (${spread(parts)})`,
    ]
    console.log(columns.join(' '))
  }
}

const C = 'C, linked chains'
const NODE_FS = 'node:fs, group commit'

console.log(`Node ${process.version}, Linux ${release()}, ${root}`)
try {
  const program = buildC('commit', root)
  if (program.absent !== undefined) console.log(`no C program to compare with: ${program.absent}`)
  for (const callers of [1, 64]) {
    const results = new Map<string, Result[]>()
    for (let round = 0; round < ROUNDS; round++) {
      const add = (name: string, result: Result) =>
        results.set(name, [...(results.get(name) ?? []), result])
      if (program.absent === undefined) add(C, runC(program, callers))
      for (const way of WAYS) add(nameOf(way), await measure(() => openLog(way), callers))
      add(NODE_FS, await measure(() => openNodeFs(join(root, 'node-fs.bin')), callers))
    }
    report(callers, results)
  }
} finally {
  rmSync(root, { recursive: true })
}

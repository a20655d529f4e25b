/**
 * `npm run bench:pages`: what it costs here that memory is touched, and what a young generation of so many MiB makes
 * of it. First a C program, in small and in huge pages; then riolog in a closed loop, a process for each size, by
 * turns, beginning on each CPU.
 *
 *   npm run bench:pages -- [--rounds 6] [--directory .]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { place } from './placement.ts'
import { buildC, numbers, PACKAGE, run } from './ring/children.ts'
import { median, ratios, spread } from './statistics.ts'
import { startTask } from './suite/tasks/index.ts'

const BYTES = 128
const MILLISECONDS = 1000
const CALLERS = [1, 64, 512]
/** Of each half of V8's young generation; 16 is what Node begins with on 64-bit machines. */
const SEMI_SPACES = [16, 4, 2, 1]
const TOUCHED_MIB = [1, 16, 64]

const { values: given } = parseArgs({
  options: {
    rounds: { type: 'string', default: '6' },
    directory: { type: 'string', default: tmpdir() },
    child: { type: 'string' },
  },
})

/** Prints records a second of so many callers. */
async function beChild(callers: number): Promise<void> {
  const load = { kind: 'closed', callers, milliseconds: MILLISECONDS } as const
  const own = { store: 'riolog, trimmed', bytes: BYTES, load, stat: undefined } as const
  const task = await startTask('appends', { ...own, directory: given.directory, root: PACKAGE })
  const { operations, seconds } = (await task.measure(1)) as Record<string, number>
  console.log(JSON.stringify({ rate: operations / seconds }))
  await task.close()
}

async function touch(folder: string): Promise<void> {
  const { path, absent } = buildC('pages', folder)
  if (absent !== undefined) return console.log(absent)
  for (const mib of TOUCHED_MIB) {
    for (const kind of ['small', 'huge']) {
      const line = await run([path, String(mib), kind, String(MILLISECONDS)], 10)
      const { pauses, pausedUs, seconds } = numbers(line, 'pauses', 'pausedUs', 'seconds')
      const mean = pauses === 0 ? '' : `, ${(pausedUs / pauses).toFixed(0)} us each`
      console.log(
        `${String(mib).padStart(4)} MiB in ${kind} pages: ${(pauses / seconds).toFixed(0)} pauses a second${mean}`,
      )
    }
  }
}

async function rateOf(semiSpace: number, callers: number, round: number, folder: string) {
  const directory = join(folder, `log-${semiSpace}-${callers}-${round}`)
  const script = fileURLToPath(import.meta.url)
  const flags = [`--max-semi-space-size=${semiSpace}`, '--import=tsx']
  const args = ['--child', String(callers), '--directory', directory]
  const command = [process.execPath, ...flags, script, ...args] as const
  const line = await run(command, 20, process.env, pid => place(pid, round))
  rmSync(directory, { recursive: true, force: true })
  return numbers(line, 'rate').rate
}

async function compare(folder: string): Promise<void> {
  for (const callers of CALLERS) {
    const rates = new Map<number, number[]>(SEMI_SPACES.map(size => [size, []]))
    for (let round = 0; round < Number(given.rounds); round++) {
      for (const [size, found] of rates) found.push(await rateOf(size, callers, round, folder))
    }
    const usual = rates.get(SEMI_SPACES[0])!
    for (const [size, found] of rates) {
      const of = ratios(found, usual)
      console.log(
        `${String(callers).padStart(4)} callers, ${size} MiB: ${median(found).toFixed(0)} records/s, ` +
          `${median(of).toFixed(2)} (${spread(of)})`,
      )
    }
  }
}

if (given.child !== undefined) await beChild(Number(given.child))
else {
  const folder = mkdtempSync(join(given.directory, 'riolog-pages-'))
  try {
    await touch(folder)
    await compare(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

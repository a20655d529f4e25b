/**
 * Where the time of a NOP and of a random read goes, by perf(1).
 *
 *   node --import=tsx bench/ring/profile.ts [--seconds 3]
 *
 * Shares are of the samples of the whole process, its start included, which a longer run makes small.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Command, lastLine, node, numbers, PACKAGE, run } from './children.ts'
import { writeReadFile } from './read.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' } } })
const seconds = Number(values.seconds)
if (!Number.isFinite(seconds) || seconds <= 0) throw new Error('--seconds must be more than 0')

/** Samples a second: no divisor of the timer's rate, so that the two do not keep step. */
const FREQUENCY = 1999

/** The owner of a sample, by the name of the file that its code was mapped from. */
function ownerOf(mapped: string): string {
  if (mapped.startsWith('[kernel') || mapped === '[vdso]') return 'kernel'
  if (mapped.endsWith('riolog.node')) return 'addon'
  if (mapped.startsWith('[JIT]') || /^perf-\d+\.map$/.test(mapped)) return 'JavaScript'
  if (mapped === 'node') return 'Node and V8'
  return 'libraries and the rest'
}

function sharesOf(report: string): Map<string, number> {
  const shares = new Map<string, number>()
  for (const line of report.split('\n')) {
    const found = /^\s*([\d.]+)%\s+(.+?)\s*$/.exec(line)
    if (found === null) continue
    const owner = ownerOf(found[2])
    shares.set(owner, (shares.get(owner) ?? 0) + Number(found[1]))
  }
  if (shares.size === 0) throw new Error('perf report shows no sample')
  return shares
}

async function profile(title: string, folder: string, command: Command): Promise<void> {
  const data = join(folder, 'perf.data')
  const record = ['record', '--quiet', '--event=cpu-clock', `--freq=${FREQUENCY}`, '-o', data, '--']
  const [program, ...args] = command
  // Without the first, code of JavaScript has no file to be told by; the others keep V8's log out of here.
  const v8 = [
    '--perf-basic-prof',
    '--no-logfile-per-isolate',
    `--logfile=${join(folder, 'v8.log')}`,
  ]
  const output = await run(['perf', ...record, program, ...v8, ...args], seconds)
  const line = numbers(lastLine(output), 'operations', 'seconds', 'cpuSeconds')
  const report = execFileSync('perf', ['report', '--stdio', '--sort=dso', '-i', data], {
    cwd: PACKAGE,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const shares = [...sharesOf(report)].sort((a, b) => b[1] - a[1])
  console.log(`\n${title}`)
  for (const [owner, percent] of shares)
    console.log(`  ${percent.toFixed(1).padStart(5)} %  ${owner}`)
  const busy = (line.cpuSeconds / line.seconds) * 100
  const each = (line.cpuSeconds / line.operations) * 1e9
  console.log(`  CPU busy ${busy.toFixed(0)} % of the time, ${each.toFixed(0)} ns an operation`)
}

const folder = mkdtempSync(join(process.env.RIOLOG_BENCH_DIR ?? tmpdir(), 'riolog-profile-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

try {
  execFileSync('perf', ['--version'], { stdio: 'ignore' })
} catch {
  console.error('there is no perf; apt-get install linux-perf')
  process.exit(1)
}
for (const mode of ['promises', 'batch', 'waitSync']) {
  const command = node('nop-riolog.ts', mode, '32', `${seconds}`)
  await profile(`NOPs, 32 at a time, ${mode}`, folder, command)
}
const file = writeReadFile(folder)
const command = node('read-riolog.ts', file, '32', `${seconds}`)
await profile('O_DIRECT random reads of 4 KiB, 32 in flight', folder, command)

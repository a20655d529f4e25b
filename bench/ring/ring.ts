/**
 * The ring without the log: NOPs against C, random reads against fio and node:fs, and TCP echo
 * against node:net, in interleaved rounds. What counts are the ratios: the machine's speed changes
 * from round to round.
 *
 *   node --import=tsx bench/ring/ring.ts [--rounds 7] [--seconds 2] [--only nop|read|echo] [--pin]
 *
 * The file that is read lies in $RIOLOG_BENCH_DIR, or else in the directory for temporary files.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { machineOf } from '../machine.ts'
import { echoContenders, nopContenders, readContenders } from './contenders-riolog.ts'
import { echoBenchmark } from './echo.ts'
import { nopBenchmark } from './nop.ts'
import { readBenchmark } from './read.ts'
import { runBenchmark } from './rounds.ts'

const BENCHMARKS = ['nop', 'read', 'echo'] as const

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string' },
    pin: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
const wanted = BENCHMARKS.filter(name => values.only === undefined || values.only === name)
if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Error('--rounds must be 1 or more')
if (!Number.isFinite(seconds) || seconds <= 0) throw new Error('--seconds must be more than 0')
if (wanted.length === 0) throw new Error(`--only must be one of ${BENCHMARKS.join(', ')}`)

const folder = mkdtempSync(join(process.env.RIOLOG_BENCH_DIR ?? tmpdir(), 'riolog-bench-'))
// The file to read is large, so that it must not stay behind when somebody stops a run.
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

function printHeader(): void {
  const { kernel, node, compiler, cpus, cpu, fileSystem, device } = machineOf(folder)
  console.log(`Linux ${kernel}, Node ${node}, ${compiler}`)
  console.log(`${cpus} CPUs, ${cpu}`)
  console.log(`${folder} on ${fileSystem}, ${device}`)
}

printHeader()
let complete = true
for (const name of wanted) {
  if (name === 'nop') {
    const benchmark = nopBenchmark(folder, seconds, nopContenders())
    complete = (await runBenchmark(benchmark, rounds)) && complete
  } else if (name === 'read') {
    const benchmark = readBenchmark(folder, seconds, readContenders())
    complete = (await runBenchmark(benchmark, rounds)) && complete
  } else {
    const benchmark = echoBenchmark(folder, seconds, values.pin, echoContenders)
    complete = (await runBenchmark(benchmark, rounds)) && complete
  }
}
// What could run and failed has no row: then the tables are not what was asked for.
if (!complete) process.exitCode = 1

/**
 * `npm run bench`: riolog beside a C program, fio, node:fs and embedded databases, in interleaved rounds,
 * each contender in a process of its own. Writes all figures as JSON, and docs/BENCHMARKS.md and its
 * plots from them; a run that measures only a part puts those beside its JSON.
 *
 *   npm install --prefix bench/peers          the databases; what is missing is left out by name
 *   npm run bench -- [--quick] [--only durable,ingest] [--rounds 8] [--milliseconds 400] [--seed 1]
 *     [--directory DIR] [--json FILE] [--docs DIR]
 *   npm run bench:report -- FILE [--docs DIR]        the report again, from the JSON
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { machineOf, statOf } from '../machine.ts'
import { Peers } from '../peers/load.ts'
import { PACKAGE } from '../ring/children.ts'
import { Children } from './children.ts'
import type { CaseResult, SectionResult } from './contender.ts'
import { writeReport } from './report.ts'
import type { Results } from './results.ts'
import { runCase } from './rounds.ts'
import { SECTIONS, type SectionName } from './sections/index.ts'
import { PEERS, Setup } from './setup.ts'
import { printCase } from './tables.ts'

const { values: given } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    milliseconds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    directory: { type: 'string', default: process.env.RIOLOG_BENCH_DIR ?? tmpdir() },
    json: { type: 'string' },
    docs: { type: 'string' },
  },
})

function wholeNumber(name: string, text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`--${name} must be 1 or more`)
  return number
}

const { quick } = given
const options = {
  quick,
  rounds: wholeNumber('rounds', given.rounds ?? (quick ? '3' : '8')),
  milliseconds: wholeNumber('milliseconds', given.milliseconds ?? (quick ? '200' : '400')),
  seed: wholeNumber('seed', given.seed),
}
const known = Object.keys(SECTIONS) as SectionName[]
const wanted = given.only?.split(',') ?? known
for (const name of wanted) {
  if (!(known as string[]).includes(name)) throw new Error(`--only takes ${known.join(', ')}`)
}
const started = new Date()
const stamp = started.toISOString().replace(/[:.]/g, '-')
const json = given.json ?? join(PACKAGE, 'bench/results', stamp, 'results.json')
mkdirSync(dirname(json), { recursive: true })

const folder = mkdtempSync(join(given.directory, 'riolog-bench-'))
const children = await Children.build()
// What is written is large, so that it must not stay behind when somebody stops a run.
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true })
  children.remove()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const machine = machineOf(folder)
const setup = new Setup(options, folder, children, statOf(machine.device))
const peers = new Peers(PACKAGE)
const versions = Object.fromEntries(PEERS.map(name => [name, peers.version(name)]))
console.log(
  `Linux ${machine.kernel}, Node ${machine.node}, ${machine.fileSystem} on ${machine.device}`,
)

const sections: SectionResult[] = []
function save(): Results {
  const minutes = (Date.now() - started.getTime()) / 60_000
  const results = { started: started.toISOString(), minutes, options, machine, versions, sections }
  writeFileSync(json, JSON.stringify(results, undefined, 1))
  return results
}

for (const name of known.filter(each => wanted.includes(each))) {
  const cases: CaseResult[] = []
  sections.push({ name, cases })
  for (const each of SECTIONS[name](setup)()) {
    console.log(`\n${name}: ${each.title}`)
    const result = await runCase(each, options.rounds, console.log)
    cases.push(result)
    console.log(printCase(name, result))
    // Whoever stops a run keeps what it has measured.
    save()
  }
}
const isWhole = !quick && wanted.length === known.length
const docs = given.docs ?? (isWhole ? join(PACKAGE, 'docs') : dirname(json))
await writeReport(save(), docs)
console.log(`\n${json}\n${join(docs, 'BENCHMARKS.md')}`)

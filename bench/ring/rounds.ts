import { median, ratios, spread } from '../statistics.ts'
import { reason } from './children.ts'
import type { Benchmark, Contender, Figures } from './contender.ts'

type Results = ReadonlyMap<Contender<never>, readonly Figures[]>

/** Measures and prints all the cases. Returns whether every contender that could run did. */
export async function runBenchmark<Case>(
  benchmark: Benchmark<Case>,
  rounds: number,
): Promise<boolean> {
  console.log(`\n${benchmark.title}`)
  for (const { name, absent } of benchmark.contenders) {
    if (absent !== undefined) console.log(`  left out: ${name} (${absent})`)
  }
  const present = benchmark.contenders.filter(contender => contender.absent === undefined)
  let complete = true
  for (const what of benchmark.cases) {
    const results = await runCase(present, what, rounds)
    complete &&= results.size === present.length
    report(benchmark.nameOf(what), results)
  }
  return complete
}

/** A contender that fails once has no row: medians of the rounds that it survived mean little. */
async function runCase<Case>(
  contenders: readonly Contender<Case>[],
  what: Case,
  rounds: number,
): Promise<Results> {
  const results = new Map<Contender<Case>, Figures[]>(contenders.map(each => [each, []]))
  for (let round = 0; round < rounds; round++) {
    // Rotated, so that nobody always runs behind the same other one.
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(round + i) % contenders.length]
      const runs = results.get(contender)
      if (runs === undefined) continue
      try {
        runs.push(await contender.run(what))
      } catch (error) {
        results.delete(contender)
        console.log(`\n  left out: ${contender.name} failed (${reason(error)})`)
      }
    }
  }
  return results
}

function report(title: string, results: Results): void {
  const [first] = results
  if (first === undefined) return
  const [yardstick, base] = first
  console.log(`\n${title}; ${base.length} rounds, medians (quartiles)`)
  console.log(`${HEADINGS.map(pad).join('')}   ratios to ${yardstick.name}`)
  for (const [{ name }, runs] of results) {
    const rates = runs.map(run => run.perSecond)
    // Of the same round each, because the machine's speed changes from round to round.
    const ofBase = (pick: (run: Figures) => number) => ratios(runs.map(pick), base.map(pick))
    const ratio = ofBase(run => run.perSecond)
    const cpuRatio = ofBase(run => run.cpuUs)
    const over = (pick: (run: Figures) => number | undefined, digits: number) =>
      optional(runs.map(pick), digits)
    const columns = [
      name,
      count(median(rates)),
      `(${spread(rates, count)})`,
      over(run => run.p50Us, 1),
      over(run => run.p99Us, 1),
      median(runs.map(run => run.cpuUs)).toFixed(3),
      over(run => run.loadBusy, 2),
    ]
    const parts = `rate ${show(ratio)}, CPU ${show(cpuRatio)}`
    console.log(`${columns.map(pad).join('')}   ${parts}`)
  }
}

const HEADINGS = [
  'contender',
  'per second',
  '(quartiles)',
  'p50 us',
  'p99 us',
  'CPU us/op',
  'load busy',
]
const WIDTHS = [28, 12, 28, 9, 9, 11, 11]

function pad(column: string, i: number): string {
  return i === 0 ? column.padEnd(WIDTHS[i]) : column.padStart(WIDTHS[i])
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}

function optional(values: readonly (number | undefined)[], digits: number): string {
  const known = values.filter(value => value !== undefined)
  return known.length === 0 ? '-' : median(known).toFixed(digits)
}

function show(parts: readonly number[]): string {
  return `${median(parts).toFixed(2)} (${spread(parts)})`
}

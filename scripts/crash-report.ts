/**
 * Puts the figures of a long crash run into docs/CRASH.md, and a plot of them beside it.
 *
 *   riolog crash --runs 100000 --report crash-report.json
 *   node --import=tsx scripts/crash-report.ts crash-report.json
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { TopLevelSpec } from 'vega-lite'
import { type CrashTestSummary, FAULT_KINDS } from '../src/crash/index.ts'
import { svgOf } from './svg.ts'

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url))
const PLOT = 'crash-states.svg'

const [file] = process.argv.slice(2)
if (file === undefined) throw new Error('the report of `riolog crash --report` is missing')
const summary = JSON.parse(readFileSync(file, 'utf8')) as CrashTestSummary
const rows = Object.entries(summary.byKind)
  .map(([kind, states]) => ({ kind, states, group: groupOf(kind) }))
  .sort((a, b) => b.states - a.states)

function groupOf(kind: string): string {
  return (FAULT_KINDS as readonly string[]).includes(kind) ? 'fault besides' : 'crash'
}

const spec: TopLevelSpec = {
  $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
  title: 'States that were recovered and verified, by kind of crash and of fault',
  width: 480,
  data: { values: rows },
  mark: 'bar',
  encoding: {
    y: { field: 'kind', type: 'nominal', sort: '-x', title: null },
    x: { field: 'states', type: 'quantitative', title: 'states' },
    row: { field: 'group', type: 'nominal', title: null, header: { labelAngle: 0 } },
    color: { field: 'group', type: 'nominal', legend: null },
  },
  resolve: { scale: { y: 'independent' } },
}
writeFileSync(`${DOCS}${PLOT}`, await svgOf(spec))

const { runs, seed, cpuMilliseconds, points, pointsComplete } = summary
const rate = Math.round(runs / (cpuMilliseconds / 1000))
const text = [
  `${runs} crashes from seed ${seed}, ${rate} a second of CPU time; every subset of what was unsynced at ${pointsComplete} of ${points} moments. Nothing was wrong.`,
  '',
  `![States by kind](${PLOT})`,
  '',
  '| crash or fault | states |',
  '|---|---|',
  ...rows.map(({ kind, states }) => `| ${kind} | ${states} |`),
]
const path = `${DOCS}CRASH.md`
const [before, rest] = readFileSync(path, 'utf8').split('<!-- figures -->\n')
const after = rest.split('<!-- /figures -->')[1]
writeFileSync(path, `${before}<!-- figures -->\n${text.join('\n')}\n<!-- /figures -->${after}`)
console.log(text[0])

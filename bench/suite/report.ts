/**
 * Makes BENCHMARKS.md and its plots of the JSON of a run, without measuring anything:
 *
 *   npm run bench:report -- FILE [FILE of a later run, whose cases take the place of the same ones] [--docs DIR]
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { svgOf } from '../../scripts/svg.ts'
import { PACKAGE } from '../ring/children.ts'
import type { CaseResult } from './contender.ts'
import { type Plot, plotsOf } from './plots.ts'
import { type Results, withCasesOf } from './results.ts'
import type { SectionName } from './sections/index.ts'
import { markdown, tableOf } from './tables.ts'
import { verdicts } from './targets.ts'
import { ROUND_WARM_UP_MS, warmUpMs } from './usage.ts'
import { VIEWS } from './views.ts'

export async function writeReport(results: Results, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const plots = plotsOf(results)
  for (const { file, spec } of plots) writeFileSync(join(folder, file), await svgOf(spec))
  writeFileSync(join(folder, 'BENCHMARKS.md'), reportOf(results, plots))
}

export function reportOf(results: Results, plots: readonly Plot[]): string {
  const sections = results.sections.map(({ name, cases }) => {
    const { title, text, main, isLess } = VIEWS[name as SectionName]
    const pictures = plots.filter(plot => plot.section === name)
    const parts = [
      `## ${title}`,
      isLess ? `${text} Ratios are of ${main.heading}: less is better.` : text,
      ...pictures.map(plot => `![${plot.title}](${plot.file})`),
      ...cases.map(each => caseOf(name as SectionName, each)),
    ]
    return parts.join('\n\n')
  })
  return `${[headerOf(results), targetsOf(results), ...sections].join('\n\n')}\n`
}

function headerOf({ started, minutes, again, options, machine, versions }: Results): string {
  const { rounds, milliseconds, seed, quick } = options
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  const rows = [
    ['', ''],
    ['kernel', `Linux ${machine.kernel}`],
    ['Node', machine.node],
    [
      'CPU',
      `${machine.cpus} of ${machine.cpu}, ${machine.memoryGiB} GiB of memory, huge pages: ${machine.hugePages}`,
    ],
    [
      'disk',
      `${machine.fileSystem} on ${machine.device}, model ${machine.deviceModel}, write cache: ${machine.writeCache}`,
    ],
    ['C, fio', `${machine.compiler}; ${machine.fio}`],
    ['databases', peers.join(', ')],
    [
      'run',
      `${minuteOf(started)}, ${minutes.toFixed(0)} minutes, seed ${seed}` +
        (again ?? []).map(later => `; a part of its cases again at ${minuteOf(later)}`).join(''),
    ],
  ]
  const size = quick ? 'a quick run, which tells roughly: ' : ''
  return [
    '# Benchmarks',
    `Written by \`npm run bench\` (${size}${rounds} rounds of ${milliseconds} ms); do not edit. The databases are installed by \`npm install --prefix bench/peers\`.`,
    `Each contender runs in a process of its own, is warmed up for ${warmUpMs(milliseconds) / 1000} s, since V8 optimizes for so long, and is measured in turns with the others; each round ` +
      `begins with ${ROUND_WARM_UP_MS} ms of the same work that do not count, since a process that has waited is slow at first. ` +
      'In each round all begin on the same CPU, in the next round on the next one, and are free to go from there (fio is held): ' +
      'a commit is a chain of wake-ups, and takes up to twice as long where they cross CPUs. Figures are medians of the rounds, and ratios are medians of the ratios of each round, with quartiles in brackets: the ' +
      'speed of a machine changes from round to round. Callers who go on together read the clock once, in C and in JavaScript. What is lost is left in.',
    markdown(rows, 2),
    [
      '`C on raw io_uring` writes the same groups (headers and padding, too) by one linked chain of write and fdatasync, over a file full of zeros; no checksums. `C, RWF_DSYNC` does so by one write that is durable by itself, which `riolog` finds out to be the faster way on this disk, too; targets are judged by the better of both.',
      '`riolog` is a log that grows, and so writes the zeros of its next segments, meanwhile and in the pause behind a round: up to three files are full of them when the next one begins, 192 MiB. `riolog, trimmed` gives up what it has sealed, and takes its files again.',
      '`riolog, callbacks` gives `append` a callback instead of awaiting `appendDurable`; `riolog, thread pool` does without io_uring; `riolog, busy poll` and `C, RWF_DSYNC, busy poll` do not sleep while they wait for a commit. Targets are judged by `riolog` alone, or for ingest and scans by the better of `append` and `appendBatch`, `scan` and `scanBatches`.',
      '`riolog, subarrays` and `riolog, appendSlices` import records that stand one behind the other in one piece of memory, as in a chunk of a file: `append` of a view of each, and one call for a thousand. They count for no target.',
      '`node:fs` is group commit in JavaScript over a FileHandle: O_DIRECT, over a file full of zeros, no checksums.',
      '`fio` with one caller writes 4 KiB and calls fdatasync, by system calls that wait; its p50 is the sum of the medians of both.',
      '`better-sqlite3`: WAL, synchronous=FULL, a transaction for what comes in one turn; `lmdb`: put and flushed; `classic-level` and `rocksdb`: batches with sync of what comes meanwhile.',
    ]
      .map(line => `- ${line}`)
      .join('\n'),
  ].join('\n\n')
}

/** @param time ISO 8601 */
function minuteOf(time: string): string {
  return time.slice(0, 16).replace('T', ' ')
}

function targetsOf(results: Results): string {
  const verdict = (isMet: boolean | undefined) =>
    isMet === undefined ? 'not measured' : isMet ? 'met' : '**missed**'
  const rows = verdicts(results).map(({ what, target, reached, also, isMet }) => {
    return [what, target, reached, also, verdict(isMet)]
  })
  const headings = ['', 'target', 'reached', 'beside it', 'verdict']
  const why = 'Why, and what it would take: [PROFILE.md](PROFILE.md).'
  return ['## Targets', markdown([headings, ...rows], headings.length), why].join('\n\n')
}

function caseOf(name: SectionName, result: CaseResult): string {
  const leftOut = result.leftOut.map(each => `${each.name} (${each.reason.split('\n')[0]})`)
  const parts = [`### ${result.title}`, markdown(tableOf(VIEWS[name], result))]
  if (leftOut.length > 0) parts.push(`Left out: ${leftOut.join('; ')}.`)
  return parts.join('\n\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { docs: { type: 'string', default: join(PACKAGE, 'docs') } },
  })
  if (positionals.length === 0) throw new Error('the JSON of a run is missing')
  const runs = positionals.map(file => JSON.parse(readFileSync(file, 'utf8')) as Results)
  const results = runs.reduce(withCasesOf)
  await writeReport(results, values.docs)
}

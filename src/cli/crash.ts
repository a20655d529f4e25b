/** `riolog crash`: cuts the power under the log itself, and verifies what is left. */
import { writeFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import {
  CrashTestError,
  type CrashTestSummary,
  crashTest,
  FAULT_KINDS,
  type FaultKind,
  LOG_SCENARIO,
  pastedTest,
} from '../crash/index.ts'
import { FailedWith } from './failure.ts'
import { printFields, printJson, printLine } from './output.ts'
import { showCount } from './progress.ts'
import { parseCount, parseSeed } from './values.ts'

interface CrashOptions {
  readonly runs: number
  readonly seed: number
  readonly faults: readonly FaultKind[]
  readonly report?: string
  readonly shrink: boolean
  readonly json?: true
}

export function addCrash(program: Command): void {
  program
    .command('crash')
    .description('cut the power under the log, on a simulated disk, and verify what is left')
    .option('--runs <count>', 'crashes to recover from, at least', parseCount, 10_000)
    .option('--seed <number>', 'the same one comes to the same runs', parseSeed, 1)
    .option(
      '--faults <kinds>',
      `besides crashes: all, none, or some of ${FAULT_KINDS.join(',')}`,
      parseFaults,
      FAULT_KINDS,
    )
    .option('--report <file>', 'write what was looked at as JSON')
    .option('--no-shrink', 'tell a failing run as it was found')
    .option('--json', 'print one line of JSON')
    .action(crash)
}

async function crash({ runs, seed, faults, report, shrink, json }: CrashOptions): Promise<void> {
  const bar = showCount('crashes', runs)
  const hooks = { onRun: bar.add }
  const options = { ...LOG_SCENARIO, seed, runs, faults, ...(!shrink && { shrinkAttempts: 0 }) }
  let summary: CrashTestSummary
  try {
    summary = await crashTest(options, hooks)
  } catch (error) {
    if (!(error instanceof CrashTestError)) throw error
    if (!json) await printLine(pastedTest(error.plan, LOG_IN_TEST))
    throw new FailedWith(error, { seed: error.seed, runs: error.runs, plan: error.plan })
  } finally {
    bar.stop()
  }
  if (report !== undefined) writeFileSync(report, `${JSON.stringify(summary, null, 2)}\n`)
  await (json ? printJson({ ok: true, ...summary }) : printSummary(summary))
}

/** Where a test of ours finds the log's own scenario. */
const LOG_IN_TEST = { name: 'LOG_SCENARIO', from: 'riolog/crash' }

function printSummary(summary: CrashTestSummary): Promise<void> {
  const { seed, runs, milliseconds, cpuMilliseconds, points, pointsComplete, byKind } = summary
  return printFields({
    verdict: 'good',
    seed,
    crashes: runs,
    'crashes a second': Math.round(runs / (milliseconds / 1000)),
    'crashes a CPU second': Math.round(runs / (cpuMilliseconds / 1000)),
    moments: points,
    'with every subset': pointsComplete,
    ...byKind,
  })
}

function parseFaults(text: string): readonly FaultKind[] {
  if (text === 'all') return FAULT_KINDS
  if (text === 'none') return []
  const kinds = text.split(',') as FaultKind[]
  if (kinds.every(kind => FAULT_KINDS.includes(kind))) return kinds
  throw new InvalidArgumentError(`Kinds are all, none, or some of ${FAULT_KINDS.join(',')}.`)
}

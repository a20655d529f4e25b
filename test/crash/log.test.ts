/**
 * A short run of the campaign, by the command: the power is cut under the log, with faults of every kind, and
 * what is left is recovered. RIOLOG_SEED reproduces a run, RIOLOG_RUNS makes it longer; `npm run test:crash`
 * is the long one. In a process of its own, since tap's async hooks make each promise several times as slow.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { FAULT_KINDS } from '../../src/crash/index.ts'
import { bundle, environment } from '../support/bundled.ts'
import { chooseSeed } from '../support/random.ts'

const COMMAND = bundle('src/cli/main.ts')
const RUNS = Number(process.env.RIOLOG_RUNS ?? 2000)

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function crash(...args: string[]): Promise<Ran> {
  const command = [COMMAND, 'crash', ...args]
  return new Promise(resolve => {
    execFile(
      process.execPath,
      command,
      { env: environment(), maxBuffer: 1 << 28 },
      (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    )
  })
}

for (const faults of ['none', 'all']) {
  t.test(`nothing acknowledged is lost by crashes, with faults: ${faults}`, async t => {
    const seed = chooseSeed() % 0x40000000
    const args = ['--seed', String(seed), '--runs', String(RUNS), '--faults', faults, '--json']
    const { code, stdout } = await crash(...args)
    const told = JSON.parse(stdout)
    if (code !== 0) return void t.fail(`seed ${told.seed}`, { wrong: told })
    t.comment(`${told.runs} crashes from seed ${seed} in ${Math.round(told.milliseconds)} ms`)
    t.ok(told.runs >= RUNS)
    t.ok(told.pointsComplete > told.points / 2, 'of most moments every subset')
    if (faults === 'none') t.same(metBy(told), [])
  })
}

const metBy = ({ byKind }: { byKind: Record<string, number> }) =>
  FAULT_KINDS.filter(kind => byKind[kind] > 0)

// Of a seed by chance one in a hundred meets few: a moment with many subsets can take up most of the runs.
t.test('every kind of fault and of crash is met', async t => {
  const { code, stdout } = await crash('--seed', '1', '--runs', '3000', '--json')
  t.equal(code, 0)
  const told = JSON.parse(stdout)
  t.same(metBy(told), FAULT_KINDS)
  t.ok(told.byKind['power cut in the recovery of that'] > 0, 'also in recovery, and again')
  t.ok(told.byKind.kill > 0)
})

t.test('the command prints a summary, and writes a report', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'riolog-crash-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'report.json')
  const { code, stdout, stderr } = await crash('--runs', '50', '--seed', '5', '--report', file)
  t.equal(code, 0)
  t.match(stdout, /^verdict: +good$/m)
  t.match(stdout, /^power cut: +\d+$/m)
  t.equal(stderr, '', 'no bar where nobody sees it')
  const { seed, runs } = JSON.parse(readFileSync(file, 'utf8'))
  t.equal(seed, 5)
  t.ok(runs >= 50)
})

t.test('bad usage is told', async t => {
  for (const args of [
    ['--runs', '0'],
    ['--seed', 'x'],
    ['--faults', 'fire'],
  ]) {
    const { code, stderr } = await crash(...args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, /^riolog: .*ERR_RIOLOG_INVALID_ARGUMENT/)
  }
})

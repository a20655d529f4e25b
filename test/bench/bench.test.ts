/**
 * What the benchmarks compute, and one very short round of them: no figure of it is looked at, since
 * whatever else runs on the machine would decide it.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runCallbackLoop, runClosedLoop } from '../../bench/closed-loop.ts'
import { machineOf } from '../../bench/machine.ts'
import { arrivals, runOpenLoop } from '../../bench/open-loop.ts'
import { cpuOf, cpusOf, place } from '../../bench/placement.ts'
import { buildC, numbers, run } from '../../bench/ring/children.ts'
import { median, percentile, quantile, ratios, spread } from '../../bench/statistics.ts'
import { Children } from '../../bench/suite/children.ts'
import type { CaseResult, Contender, Figures } from '../../bench/suite/contender.ts'
import { writeReport } from '../../bench/suite/report.ts'
import { type Results, withCasesOf } from '../../bench/suite/results.ts'
import { runCase } from '../../bench/suite/rounds.ts'
import { C, C_DSYNC, C_POLLED, Setup } from '../../bench/suite/setup.ts'
import { printCase } from '../../bench/suite/tables.ts'
import { verdicts } from '../../bench/suite/targets.ts'
import {
  Chooser,
  type Distribution,
  kindOf,
  WORKLOADS,
  Zipfian,
} from '../../bench/suite/workloads.ts'
import { temporaryDirectory } from '../support/engines.ts'

const PAGE_FIGURES = ['touches', 'pauses', 'pausedUs', 'seconds'] as const
const OPTIONS = { quick: true, rounds: 1, milliseconds: 30, seed: 1 }

t.test('medians, quartiles and percentiles', async t => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 2, 3]), 2.5, 'of an even number it is between the two in the middle')
  t.equal(quantile([10, 20, 30, 40, 50], 0.25), 20)
  t.equal(spread([1, 2, 3, 4, 5]), '2.00 to 4.00')
  const sorted = Float64Array.from({ length: 1000 }, (_, i) => i)
  t.equal(percentile(sorted, 0.5), 500)
  t.equal(percentile(sorted, 0.99), 990)
  t.equal(percentile(sorted, 1), 999, 'the last is the highest')
  t.equal(percentile([7], 0.99), 7)
})

t.test('ratios are of the same round each', async t => {
  // A machine that is ten times as slow in one round: the medians alone say 0.1.
  t.same(ratios([50, 5, 5], [100, 10, 10]), [0.5, 0.5, 0.5])
  t.equal(median(ratios([5, 50, 5], [10, 100, 10])), 0.5)
  t.throws(() => ratios([1], [1, 2]), /rounds/)
})

t.test('arrivals come at their rate, the same for the same seed', async t => {
  const first = [...arrivals(10_000, 1000, 7)]
  t.same([...arrivals(10_000, 1000, 7)], first)
  t.not([...arrivals(10_000, 1000, 8)][0], first[0])
  t.ok(Math.abs(first.length - 10_000) < 500, `${first.length} in a second`)
  t.ok(first.every((due, i) => due < 1000 && due >= (first[i - 1] ?? 0)))
})

t.test('what a stall holds up is counted from when it was due', async t => {
  // One record each millisecond, done at once, and the tenth holds up everything for 100 ms: of a
  // closed loop one in 200 was late.
  let now = 0
  let appended = 0
  const clock = {
    now: () => now,
    turn: async () => {
      now += 0.5
    },
  }
  const append = async () => {
    if (++appended === 10) now += 100
  }
  const dues = Array.from({ length: 200 }, (_, i) => i)
  const result = await runOpenLoop({ append }, 8, dues, clock)
  t.equal(result.records, 200)
  t.equal(result.seconds, 0.1995, 'it caught up')
  t.ok(result.p99Us > 95_000, `p99 ${result.p99Us}`)
  t.ok(result.p50Us > 1000 && result.p50Us < 30_000, `p50 ${result.p50Us}: half of them waited`)
})

t.test("a closed loop counts each caller's time, though they share a clock", async t => {
  // All who wait go on together, 5 ms later.
  let waiting: (() => void)[] = []
  const wait = (go: () => void) => {
    if (waiting.push(go) > 1) return
    setTimeout(() => {
      const all = waiting
      waiting = []
      for (const each of all) each()
    }, 5)
  }
  const append = () => new Promise<void>(resolve => wait(resolve))
  const ways = {
    promises: () => runClosedLoop({ append }, 4, 8, 30),
    callbacks: () => runCallbackLoop((_, done) => wait(() => done(undefined)), 4, 8, 30),
  }
  for (const [name, run] of Object.entries(ways)) {
    const { records, seconds, p50Us, p999Us } = await run()
    t.ok(records >= 4 && records % 4 === 0, `${name}: ${records} of 4 callers`)
    t.ok(p50Us >= 4000 && p999Us >= p50Us && p999Us <= seconds * 1e6, `${p50Us} to ${p999Us} us`)
    // What one caller waited, all in all, is the time that the loop took.
    const least = (records / 4) * 4000
    t.ok(seconds * 1e6 >= least, `${seconds} s`)
  }
})

t.test('an append that fails ends an open loop', async t => {
  const append = () => Promise.reject(new Error('full'))
  await t.rejects(runOpenLoop({ append }, 8, [0]), /full/)
})

/** Says its name when it is measured. */
function contender(name: string, said: string[], run: (round: number) => Figures): Contender {
  const measure = async (round: number) => {
    said.push(name)
    return run(round)
  }
  return { name, start: async () => ({ measure, close: async () => said.push(`${name} closed`) }) }
}

t.test('a process is placed for a round, and is free to go', async t => {
  t.same(cpusOf('0-3,5'), [0, 1, 2, 3, 5])
  t.same(cpusOf('2'), [2])
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  t.teardown(() => child.kill())
  const line = (name: string) =>
    new RegExp(`^${name}:\\s*(\\S+)$`, 'm').exec(
      readFileSync(`/proc/${child.pid}/status`, 'utf8'),
    )?.[1]
  const before = existsSync('/proc') ? line('Cpus_allowed_list') : undefined
  for (let round = 0; round < 4; round++) {
    place(child.pid, round)
    t.equal(before && line('Cpus_allowed_list'), before)
  }
  const cpus = [0, 1, 2, 3].map(cpuOf)
  if (before === undefined || cpusOf(before).length < 2)
    return t.same(new Set(cpus), new Set([undefined]))
  t.ok(cpus[0] !== cpus[1], 'one after the other')
  t.ok(cpus.every(cpu => cpusOf(before).includes(cpu!)))
})

t.test('the time of touches is told of small pages and of huge ones', async t => {
  if (spawnSync('cc', ['--version']).error)
    return void t.pass('pages.c', { skip: 'there is no cc' })
  const { path, absent } = buildC('pages', temporaryDirectory(t))
  t.equal(absent, undefined)
  for (const kind of ['small', 'huge']) {
    const line = await run([path, '4', kind, '20'], 10)
    const { touches, pauses, pausedUs, seconds } = numbers(line, ...PAGE_FIGURES)
    t.ok(touches >= 8 && touches % 8 === 0, `${touches} touches`)
    t.ok(seconds >= 0.02 && pausedUs / 1e6 <= seconds)
    t.ok(pauses === 0 ? pausedUs === 0 : pausedUs > 20 * pauses)
  }
  await t.rejects(run([path, '0', 'small', '20'], 10))
})

t.test('contenders take turns, and one that fails has no row', async t => {
  const said: string[] = []
  const one = contender('one', said, () => ({ perSecond: 1 }))
  const two = contender('two', said, () => ({ perSecond: 2 }))
  const failing = contender('failing', said, round => {
    if (round === 1) throw new Error('it broke')
    return { perSecond: 3 }
  })
  const absent = { ...contender('absent', said, () => ({})), absent: 'not installed' }
  const contenders = [one, failing, absent, two]
  const { rows, leftOut } = await runCase({ title: 'x', parameters: {}, contenders }, 3, () => {})
  t.same(said.slice(0, 3), ['one', 'failing', 'two'])
  t.same(said.slice(3, 7), ['failing', 'failing closed', 'two', 'one'])
  t.same(said.slice(7), ['two', 'one', 'one closed', 'two closed'])
  t.same(
    rows.map(({ name, rounds }) => [name, rounds.length]),
    [
      ['one', 3],
      ['two', 3],
    ],
  )
  t.same(leftOut, [
    { name: 'absent', reason: 'not installed' },
    { name: 'failing', reason: 'it broke' },
  ])
})

/** A run that measured one case. */
function resultsOf(cases: readonly CaseResult[]): Results {
  const machine = machineOf('.')
  const sections = [{ name: 'durable', cases }]
  return { started: '2026-01-01', minutes: 1, options: OPTIONS, machine, versions: {}, sections }
}

t.test('a target is met, missed or not measured', async t => {
  const row = (name: string, perSecond: number[], p99Us: number) => {
    return { name, rounds: perSecond.map(each => ({ perSecond: each, p99Us })) }
  }
  const rows = [
    row(C, [100, 10, 100], 10),
    row('riolog', [90, 9, 10], 12),
    row('lmdb', [30, 3, 30], 11),
    row('rocksdb', [50, 5, 50], 90),
  ]
  const parameters = { callers: 64, bytes: 128 }
  const all = verdicts(resultsOf([{ title: '', parameters, rows, leftOut: [] }]))
  const of64 = all.filter(({ what }) => what.startsWith('64 callers, 128 B'))
  t.same(
    of64.map(({ target, isMet }) => [target, isMet]),
    [
      [`≥ 0.85 of ${C}`, true],
      ['≥ 2.5 of rocksdb', false],
      [`≤ 1.5 of ${C}`, true],
      ['< 1 of lmdb', false],
    ],
  )
  t.equal(of64[0].reached, '0.90 (0.50 to 0.90)')
  const withIt = (name: string) => {
    const all = [...rows, row(name, [200, 20, 200], 5)]
    return verdicts(resultsOf([{ title: '', parameters, rows: all, leftOut: [] }]))[0]
  }
  const stricter = withIt(C_DSYNC)
  t.same([stricter.target, stricter.isMet], [`≥ 0.85 of ${C_DSYNC}`, false], 'the better C counts')
  t.equal(withIt(C_POLLED).target, `≥ 0.85 of ${C}`, 'among those who sleep')
  t.ok(all.filter(each => !of64.includes(each)).every(each => each.isMet === undefined))
})

t.test('what is reached without a pause stands beside what is reached with one', async t => {
  const caseOf = (perSecond: number): CaseResult => {
    const rows = [C, 'riolog'].map((name, i) => ({
      name,
      rounds: [{ perSecond: i === 0 ? 100 : perSecond }],
    }))
    return { title: '', parameters: { callers: 64, bytes: 1024 }, rows, leftOut: [] }
  }
  const with90 = resultsOf([caseOf(90)])
  const sections = [...with90.sections, { name: 'sustained', cases: [caseOf(40)] }]
  const verdictOf = (results: Results) =>
    verdicts(results).find(({ what }) => what.startsWith('64 callers, 1024 B, records/s'))!
  t.match(verdictOf({ ...with90, sections }), {
    reached: /^0.90/,
    also: /^without a pause 0.40/,
    isMet: true,
  })
  t.notMatch(verdictOf(with90).also, /pause/)
})

t.test('cases that were measured again take the place of the same ones', async t => {
  const named = (title: string, value: number): CaseResult => {
    const rows = [{ name: C, rounds: [{ perSecond: value }] }]
    return { title, parameters: {}, rows, leftOut: [] }
  }
  const first = resultsOf([named('a', 1), named('b', 2)])
  const later = { ...resultsOf([named('b', 3), named('c', 4)]), started: '2026-01-02' }
  const both = withCasesOf(first, later)
  t.same(both.sections[0].cases, [named('a', 1), named('b', 3)])
  t.same(both.again, ['2026-01-02'])
})

t.test('workloads choose what they say, and popular records more often', async t => {
  const kinds = new Map<string, number>()
  const a = WORKLOADS[0]
  for (let i = 0; i < 10_000; i++) {
    const kind = kindOf(a)
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  t.same([...kinds.keys()].sort(), ['read', 'update'])
  t.ok(Math.abs(kinds.get('read')! - 5000) < 500, `${kinds.get('read')} reads`)
  const popularOf = (distribution: Distribution) => {
    const chooser = new Chooser(new Zipfian(1000), distribution, false)
    const counts = new Float64Array(1000)
    for (let i = 0; i < 20_000; i++) counts[chooser.next(1000)]++
    return Math.max(...counts)
  }
  // By chance 20 of each; the most popular one of 1000 comes once in 7.5.
  t.ok(popularOf('uniform') < 100)
  t.ok(popularOf('zipfian') > 2000)
  const latest = new Chooser(new Zipfian(1000), 'zipfian', true)
  const chosen = Array.from({ length: 1000 }, () => latest.next(2000))
  t.ok(chosen.filter(each => each === 1999).length > 50, 'the newest most often')
})

t.test('a short round of YCSB on riolog-kv, and its verdict', async t => {
  const folder = temporaryDirectory(t)
  const children = await Children.build()
  t.teardown(() => children.remove())
  const setup = new Setup(OPTIONS, folder, children, undefined)
  const settings = { callers: 8, records: 500, valueBytes: 100, milliseconds: 30 }
  const cases: CaseResult[] = []
  for (const workload of WORKLOADS) {
    const distribution = 'uniform'
    const contenders = [setup.kvStore('riolog-kv', { ...settings, workload, distribution })]
    const parameters = { workload: workload.name, distribution }
    const result = await runCase({ title: workload.name, parameters, contenders }, 1, t.comment)
    t.same(result.leftOut, [])
    const [figures] = result.rows[0].rounds
    t.ok(figures.operations >= 8 && figures.p50Us <= figures.p99Us, JSON.stringify(figures))
    const quarter = figures.perSecond / 4
    cases.push({
      ...result,
      rows: [...result.rows, { name: 'lmdb', rounds: [{ perSecond: quarter }] }],
    })
  }
  const results = { ...resultsOf([]), sections: [{ name: 'ycsb', cases }] }
  const told = verdicts(results).filter(({ what }) => what.startsWith('YCSB A'))
  t.same(
    told.map(({ target, isMet }) => [target, isMet]),
    [
      ['≥ 2 of lmdb', true],
      ['≥ 2 of the best database', undefined],
    ],
  )
  t.match(printCase('ycsb', cases[0]), /operations\/s.*\n.*riolog-kv/)
})

t.test('a short round of riolog and of node:fs, and the report on it', async t => {
  const folder = temporaryDirectory(t)
  const children = await Children.build()
  t.teardown(() => children.remove())
  const setup = new Setup(OPTIONS, folder, children, undefined)
  const load = { kind: 'closed', callers: 4, milliseconds: OPTIONS.milliseconds } as const
  const stores = ['node:fs', 'riolog', 'riolog, callbacks'] as const
  const contenders = stores.map(name => setup.store(name, 128, load))
  const parameters = { callers: 4, bytes: 128 }
  const result = await runCase({ title: '4 x 128 B', parameters, contenders }, 1, t.comment)
  // Not every file system takes O_DIRECT, without which node:fs is no contender.
  const left = result.leftOut.filter(({ reason }) => !/EINVAL/.test(reason))
  t.same(left, [])
  for (const { name, rounds } of result.rows) {
    const [figures] = rounds
    t.ok(figures.operations >= 4 && figures.seconds > 0, `${name}: ${JSON.stringify(figures)}`)
    t.ok(figures.p50Us > 0 && figures.p50Us <= figures.p99Us && figures.p99Us <= figures.p999Us)
    t.ok(figures.cpuUs > 0 && figures.peakRssMiB > 10)
  }
  t.match(printCase('durable', result), /records\/s.*\n(.*\n)?.*riolog/)

  const docs = join(folder, 'docs')
  await writeReport(resultsOf([result]), docs)
  const report = readFileSync(join(docs, 'BENCHMARKS.md'), 'utf8')
  t.match(report, /^# Benchmarks\n/)
  t.match(report, /\n## Targets\n[\s\S]*not measured/)
  t.match(report, /\n### 4 x 128 B\n\n\| {2}\| records\/s/)
  t.match(report, /\n\| riolog \| [\d,]+ \|/)
})

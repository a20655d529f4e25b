/** What riolog set out to reach, and what it reached: medians of the ratios of each round. */
import { median, ratios, spread } from '../statistics.ts'
import type { CaseResult, Row } from './contender.ts'
import { figuresOf, type Results, rowOf } from './results.ts'
import type { SectionName } from './sections/index.ts'
import { C, C_DSYNC, C_POLLED, FIO, PEERS } from './setup.ts'
import { DISTRIBUTIONS, type Distribution } from './workloads.ts'

export interface Verdict {
  readonly what: string
  readonly target: string
  /** Empty where it was not measured. */
  readonly reached: string
  /** The same of other ways to use riolog, which do not count, and of C, which tells what the disk allows. */
  readonly also: string
  readonly isMet: boolean | undefined
}

interface Bound {
  readonly least?: number
  readonly most?: number
  readonly below?: number
}

const RIOLOG = 'riolog'
const ALSO = ['trimmed', 'callbacks', 'busy poll', 'thread pool']
/** What an opening reads beside groups: two blocks a segment, and the manifest. */
const WALK_MIB = 2 * (4096 / 2 ** 20)
const REST_MIB = 1

export function verdicts(results: Results): Verdict[] {
  const find = (name: SectionName, parameters: Record<string, number | string>) =>
    results.sections
      .find(section => section.name === name)
      ?.cases.find(each => {
        return Object.entries(parameters).every(([key, value]) => each.parameters[key] === value)
      })
  return [
    ...[64, 512].flatMap(callers =>
      [128, 1024].flatMap(bytes =>
        durable(
          find('durable', { callers, bytes }),
          callers,
          bytes,
          find('sustained', { callers, bytes }),
        ),
      ),
    ),
    ...[128, 1024].flatMap(bytes => oneCaller(find('durable', { callers: 1, bytes }), bytes)),
    ...[128, 1024].flatMap(bytes => tail(find('durable', { callers: 64, bytes }), bytes)),
    ...ingest(find('ingest', { bytes: 128 }), find('ingest', { bytes: 1024 })),
    compare(find('bandwidth', {}), '1 MiB appends, MB/s', 'bytesPerSecond', FIO, { least: 0.9 }),
    scan(find('scan', { bytes: 1024 })),
    compare(find('random-reads', {}), 'random reads of 4 KiB at 32', 'perSecond', FIO, {
      least: 0.85,
    }),
    recovery(find('recovery', {})),
    ...DISTRIBUTIONS.map(distribution =>
      ycsb(find('ycsb', { workload: 'A', distribution }), distribution),
    ),
  ]
}

/** @param without the same without a pause between rounds */
function durable(
  result: CaseResult | undefined,
  callers: number,
  bytes: number,
  without: CaseResult | undefined,
): Verdict[] {
  const what = `${callers} callers, ${bytes} B, records/s`
  const toC = (of: CaseResult | undefined) =>
    compare(of, what, 'perSecond', bestC(of, 'perSecond', 'most'), { least: 0.85 })
  const sustained = toC(without).reached
  const verdict = toC(result)
  const also = sustained === '' ? verdict.also : `without a pause ${sustained}; ${verdict.also}`
  return [
    { ...verdict, also },
    compare(result, what, 'perSecond', bestPeer(result, 'perSecond', 'most'), { least: 2.5 }),
  ]
}

function oneCaller(result: CaseResult | undefined, bytes: number): Verdict[] {
  return [
    compare(
      result,
      `1 caller, ${bytes} B, records/s`,
      'perSecond',
      bestC(result, 'perSecond', 'most'),
      { least: 0.85 },
    ),
    compare(result, `1 caller, ${bytes} B, p50`, 'p50Us', FIO, { most: 1.2 }),
  ]
}

function tail(result: CaseResult | undefined, bytes: number): Verdict[] {
  const what = `64 callers, ${bytes} B, p99`
  return [
    compare(result, what, 'p99Us', bestC(result, 'p99Us', 'least'), { most: 1.5 }),
    compare(result, what, 'p99Us', bestPeer(result, 'p99Us', 'least'), { below: 1 }),
  ]
}

function ingest(small: CaseResult | undefined, large: CaseResult | undefined): Verdict[] {
  const best = (result: CaseResult | undefined) =>
    bestOf(result, 'perSecond', 'most', [RIOLOG, 'riolog, appendBatch']) ?? RIOLOG
  const what = 'ingest of 128 B, records/s'
  return [
    compare(small, what, 'perSecond', C, { least: 1 / 3 }, best(small)),
    compare(small, what, 'perSecond', 'node:fs', { least: 2 }, best(small)),
    compare(large, 'ingest of 1 KiB, records/s', 'perSecond', C, { least: 0.7 }, best(large)),
  ]
}

function scan(result: CaseResult | undefined): Verdict {
  const what = 'scan, 1 KiB records, MB/s'
  const best = bestOf(result, 'bytesPerSecond', 'most', [RIOLOG, 'riolog, scanBatches']) ?? RIOLOG
  return compare(result, what, 'bytesPerSecond', FIO, { least: 0.85 }, best)
}

function recovery(result: CaseResult | undefined): Verdict {
  const row = rowOf(result, 'riolog, killed')
  const read = figuresOf(row, 'readMiB')
  const shell = { what: 'recovery of a killed log, MiB read', also: '' }
  if (row === undefined || read === undefined) {
    return { ...shell, target: 'at most a segment', reached: '', isMet: undefined }
  }
  const [{ segments, segmentMiB }] = row.rounds
  const bound = segmentMiB + segments * WALK_MIB + REST_MIB
  const target = `at most a segment (${bound.toFixed(0)}, with the headers of all)`
  const most = Math.max(...read)
  return { ...shell, target, reached: `${most.toFixed(1)} at most`, isMet: most <= bound }
}

function ycsb(result: CaseResult | undefined, distribution: Distribution): Verdict {
  const peer = bestPeer(result, 'perSecond', 'most')
  const what = `YCSB A, ${distribution}, operations/s`
  return compare(result, what, 'perSecond', peer, { least: 2 }, 'riolog-kv')
}

/** Of both ways to become durable, since riolog takes the better one, too. Neither polls. */
function bestC(result: CaseResult | undefined, figure: string, best: 'most' | 'least'): string {
  return bestOf(result, figure, best, [C, C_DSYNC]) ?? C
}

function bestPeer(result: CaseResult | undefined, figure: string, best: 'most' | 'least') {
  return bestOf(result, figure, best, PEERS)
}

function bestOf(
  result: CaseResult | undefined,
  figure: string,
  best: 'most' | 'least',
  names: readonly string[],
): string | undefined {
  const sign = best === 'most' ? 1 : -1
  const medians = names.flatMap(name => {
    const values = figuresOf(rowOf(result, name), figure)
    return values === undefined ? [] : [{ name, value: sign * median(values) }]
  })
  return medians.sort((one, other) => other.value - one.value)[0]?.name
}

function compare(
  result: CaseResult | undefined,
  what: string,
  figure: string,
  base: string | undefined,
  bound: Bound,
  name = RIOLOG,
): Verdict {
  const to = figuresOf(base === undefined ? undefined : rowOf(result, base), figure)
  const partsOf = (row: Row | undefined) => {
    const values = figuresOf(row, figure)
    return values && to && ratios(values, to)
  }
  const show = (parts: number[] | undefined) =>
    parts === undefined ? '' : `${median(parts).toFixed(2)} (${spread(parts)})`
  const parts = partsOf(rowOf(result, name))
  const also = [
    ...ALSO.map(way => [way, `${RIOLOG}, ${way}`]),
    ['C itself', C],
    ['C, busy poll', C_POLLED],
  ].flatMap(([way, of]) => {
    const others = of === base ? undefined : partsOf(rowOf(result, of))
    return others === undefined ? [] : [`${way} ${median(others).toFixed(2)}`]
  })
  const reached = show(parts) + (parts !== undefined && name !== RIOLOG ? `, ${name}` : '')
  return {
    what,
    target: `${describe(bound)} of ${base ?? 'the best database'}`,
    reached,
    also: also.join('; '),
    isMet: parts && isWithin(median(parts), bound),
  }
}

function describe({ least, most, below }: Bound): string {
  if (least !== undefined) return `≥ ${Number(least.toFixed(2))}`
  return most === undefined ? `< ${below}` : `≤ ${most}`
}

function isWithin(value: number, { least = 0, most = Infinity, below = Infinity }: Bound) {
  return value >= least && value <= most && value < below
}

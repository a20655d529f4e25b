import type { TopLevelSpec } from 'vega-lite'
import { median, ratios } from '../statistics.ts'
import type { CaseResult } from './contender.ts'
import { figuresOf, type Results, rowOf } from './results.ts'
import type { SectionName } from './sections/index.ts'
import { C } from './setup.ts'

export interface Plot {
  readonly file: string
  readonly section: SectionName
  readonly title: string
  readonly spec: TopLevelSpec
}

const $schema = 'https://vega.github.io/schema/vega-lite/v6.json'
const LINES = { type: 'line', point: true } as const

type Point = Record<string, number | string>

/** Those of which there is something to show. */
export function plotsOf(results: Results): Plot[] {
  const cases = (name: SectionName) =>
    results.sections.find(section => section.name === name)?.cases ?? []
  return [
    durable(cases('durable')),
    openLoop(cases('open-loop')),
    ycsb(cases('ycsb')),
    rates('scale-records', 'bytes', 'bytes a record', cases('scale-records')),
    rates('scale-callers', 'callers', 'callers', cases('scale-callers')),
    openings(cases('scale-segments')),
  ].filter(plot => plot !== undefined)
}

/** A point for each row: its contender, its case's parameters, and the median of a figure. */
function pointsOf(cases: readonly CaseResult[], figure: string): Point[] {
  return cases.flatMap(({ rows, parameters }) =>
    rows.flatMap(row => {
      const values = figuresOf(row, figure)
      if (values === undefined) return []
      return [{ ...parameters, contender: row.name, value: median(values) }]
    }),
  )
}

function durable(cases: readonly CaseResult[]): Plot | undefined {
  const values = cases.flatMap(result => {
    const base = figuresOf(rowOf(result, C), 'perSecond')
    if (base === undefined) return []
    const { callers, bytes } = result.parameters
    return result.rows.flatMap(row => {
      const rate = figuresOf(row, 'perSecond')
      if (rate === undefined || row.name === C) return []
      const ratio = median(ratios(rate, base))
      const group = row.name.startsWith('riolog') ? 'riolog' : 'others'
      return [{ contender: row.name, callers, bytes, ratio, group }]
    })
  })
  if (values.length === 0) return undefined
  const title = `Durable appends: records/s, of ${C}`
  return {
    file: 'bench-durable.svg',
    section: 'durable',
    title,
    spec: {
      $schema,
      title,
      width: 130,
      data: { values },
      mark: 'bar',
      encoding: {
        y: { field: 'contender', type: 'nominal', sort: null, title: null },
        x: { field: 'ratio', type: 'quantitative', title: null },
        row: { field: 'bytes', type: 'ordinal', title: 'bytes' },
        column: { field: 'callers', type: 'ordinal', title: 'callers' },
        color: { field: 'group', type: 'nominal', legend: null },
      },
    },
  }
}

function openLoop(cases: readonly CaseResult[]): Plot | undefined {
  const values = pointsOf(cases, 'p99Us')
  if (values.length === 0) return undefined
  const title = 'p99 from when a record was due until it is durable'
  return {
    file: 'bench-open-loop.svg',
    section: 'open-loop',
    title,
    spec: {
      $schema,
      title,
      width: 480,
      height: 300,
      data: { values },
      mark: LINES,
      encoding: {
        x: { field: 'rate', type: 'quantitative', scale: { type: 'log' }, title: 'records/s' },
        y: { field: 'value', type: 'quantitative', scale: { type: 'log' }, title: 'us' },
        color: { field: 'contender', type: 'nominal', title: null, sort: null },
      },
    },
  }
}

function ycsb(cases: readonly CaseResult[]): Plot | undefined {
  const values = pointsOf(cases, 'perSecond')
  if (values.length === 0) return undefined
  const title = 'YCSB, each write awaited durable: operations/s'
  return {
    file: 'bench-ycsb.svg',
    section: 'ycsb',
    title,
    spec: {
      $schema,
      title,
      width: 320,
      height: 60,
      data: { values },
      mark: 'bar',
      encoding: {
        y: { field: 'contender', type: 'nominal', sort: null, title: null },
        x: { field: 'value', type: 'quantitative', title: null },
        row: { field: 'workload', type: 'nominal', title: null },
        column: { field: 'distribution', type: 'nominal', title: null },
        color: { field: 'contender', type: 'nominal', sort: null, legend: null },
      },
      resolve: { scale: { x: 'independent' } },
    },
  }
}

function rates(
  section: 'scale-records' | 'scale-callers',
  field: string,
  name: string,
  cases: readonly CaseResult[],
): Plot | undefined {
  const values = pointsOf(cases, 'perSecond')
  if (values.length === 0) return undefined
  const title = `Durable records/s by ${name}`
  return {
    file: `bench-${section}.svg`,
    section,
    title,
    spec: {
      $schema,
      title,
      width: 420,
      height: 260,
      data: { values },
      mark: LINES,
      encoding: {
        x: { field, type: 'quantitative', scale: { type: 'log' }, title: name },
        y: { field: 'value', type: 'quantitative', scale: { type: 'log' }, title: 'records/s' },
        color: { field: 'contender', type: 'nominal', title: null, sort: null },
      },
    },
  }
}

function openings(cases: readonly CaseResult[]): Plot | undefined {
  const points = pointsOf(cases, 'milliseconds')
  const values = points.map(point => {
    const kind = 'mib' in point ? 'MiB, in segments of 64 MiB' : 'segments of 64 KiB'
    return { ...point, size: point.mib ?? point.segments, kind }
  })
  if (values.length === 0) return undefined
  const title = 'An opening, in milliseconds'
  return {
    file: 'bench-opening.svg',
    section: 'scale-segments',
    title,
    spec: {
      $schema,
      title,
      width: 260,
      height: 220,
      data: { values },
      mark: LINES,
      encoding: {
        x: { field: 'size', type: 'quantitative', scale: { type: 'log' }, title: null },
        y: { field: 'value', type: 'quantitative', title: 'ms' },
        column: { field: 'kind', type: 'nominal', title: null },
        color: { field: 'contender', type: 'nominal', title: null },
      },
      resolve: { scale: { x: 'independent', y: 'independent' } },
    },
  }
}

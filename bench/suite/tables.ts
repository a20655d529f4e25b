import { median, ratios, spread } from '../statistics.ts'
import type { CaseResult, Row } from './contender.ts'
import { figuresOf, rowOf } from './results.ts'
import type { SectionName } from './sections/index.ts'
import { type Column, VIEWS, type View } from './views.ts'

const NOTHING = '-'

function format(value: number, digits: number): string {
  const most = { minimumFractionDigits: digits, maximumFractionDigits: digits }
  return value.toLocaleString('en', most)
}

function cell(row: Row, { figure, digits }: Column, per = 1): string {
  const values = figuresOf(row, figure)
  return values === undefined ? NOTHING : format(median(values) / per, digits)
}

/** Headings first. */
export function tableOf(view: View, result: CaseResult): string[][] {
  const { main, yardstick, columns } = view
  // A column that nobody fills tells nothing.
  const told = columns.filter(({ figure }) => result.rows.some(row => figuresOf(row, figure)))
  const base = yardstick && figuresOf(rowOf(result, yardstick), main.figure)
  const ratioHeading = base === undefined ? [] : [`of ${yardstick}`]
  const headings = ['', main.heading, 'quartiles', ...ratioHeading, ...told.map(c => c.heading)]
  const rows = result.rows.map(row => {
    const values = figuresOf(row, main.figure)
    const per = main.per ?? 1
    const show = (value: number) => format(value / per, main.digits)
    const parts = values && base && ratios(values, base)
    return [
      row.name,
      cell(row, main, per),
      values === undefined ? NOTHING : spread(values, show),
      ...ratioHeading.map(() =>
        parts ? `${median(parts).toFixed(2)} (${spread(parts)})` : NOTHING,
      ),
      ...told.map(column => cell(row, column)),
    ]
  })
  return [headings, ...rows]
}

/** For a terminal. */
export function printCase(name: SectionName, result: CaseResult): string {
  const table = tableOf(VIEWS[name], result)
  const widths = table[0].map((_, i) => Math.max(...table.map(row => row[i].length)))
  const pad = (text: string, i: number) =>
    i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i])
  return table.map(row => `  ${row.map(pad).join('  ')}`).join('\n')
}

/** @param left how many columns are text, from the left */
export function markdown(table: readonly (readonly string[])[], left = 1): string {
  const [headings, ...rows] = table
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const rule = headings.map((_, i) => (i < left ? '---' : '---:'))
  return [line(headings), line(rule), ...rows.map(line)].join('\n')
}

import type { Machine } from '../machine.ts'
import type { CaseResult, Figures, Row, SectionResult } from './contender.ts'

/** A run as it stands in its JSON. */
export interface Results {
  readonly started: string
  readonly minutes: number
  /** When cases in it were measured again, which are of that run. */
  readonly again?: readonly string[]
  readonly options: {
    readonly quick: boolean
    readonly rounds: number
    readonly milliseconds: number
    readonly seed: number
  }
  readonly machine: Machine
  /** Of the databases. */
  readonly versions: Readonly<Record<string, string>>
  readonly sections: readonly SectionResult[]
}

/** Of each round; undefined where a contender does not tell. */
export function figuresOf(row: Row | undefined, name: string): number[] | undefined {
  const values = row?.rounds.map((figures: Figures) => figures[name])
  return values?.every(value => value !== undefined) && values.length > 0 ? values : undefined
}

export function rowOf(result: CaseResult | undefined, name: string): Row | undefined {
  return result?.rows.find(row => row.name === name)
}

/** A run, and in place of its cases those of the same title that a later one has measured again. */
export function withCasesOf(results: Results, later: Results): Results {
  const sections = results.sections.map(section => {
    const found = later.sections.find(({ name }) => name === section.name)?.cases ?? []
    const cases = section.cases.map(old => found.find(({ title }) => title === old.title) ?? old)
    return { ...section, cases }
  })
  return { ...results, sections, again: [...(results.again ?? []), later.started] }
}

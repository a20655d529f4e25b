/** What the suite measures, and what comes of it. */

/** What one round of one contender came to: numbers by name. */
export type Figures = Readonly<Record<string, number>>

/** A contender that is ready: its process runs, its files are there, its code is warm. */
export interface Session {
  /** @param round for a seed: each round has random choices of its own */
  measure(round: number): Promise<Figures>
  close(): Promise<unknown>
}

export interface Contender {
  readonly name: string
  /** Why it cannot run here: its row is left out, by name. */
  readonly absent?: string | undefined
  start(): Promise<Session>
}

/** What is compared in one table. */
export interface Case {
  readonly title: string
  readonly parameters: Readonly<Record<string, number | string>>
  readonly contenders: readonly Contender[]
}

export interface Section {
  readonly name: string
  cases(): Iterable<Case>
}

export interface Row {
  readonly name: string
  readonly rounds: readonly Figures[]
}

export interface CaseResult {
  readonly title: string
  readonly parameters: Readonly<Record<string, number | string>>
  readonly rows: readonly Row[]
  readonly leftOut: readonly { readonly name: string; readonly reason: string }[]
}

export interface SectionResult {
  readonly name: string
  readonly cases: readonly CaseResult[]
}

/** What one run of one contender came to. */
export interface Figures {
  /** Operations, or messages. */
  readonly perSecond: number
  /** CPU time of one operation, of all the threads of the process that is measured. */
  readonly cpuUs: number
  readonly p50Us?: number
  readonly p99Us?: number
  /** The part of its time that a load generator of one thread was busy; near 1 it is the limit. */
  readonly loadBusy?: number
}

/** One way to do what a benchmark asks, in a process of its own for each run. */
export interface Contender<Case> {
  readonly name: string
  /** Why it cannot run here: its row is left out, and the reason is printed. */
  readonly absent?: string | undefined
  run(what: Case): Promise<Figures>
}

/** Cases are measured one after the other; each has a table of its own. */
export interface Benchmark<Case> {
  readonly title: string
  readonly cases: readonly Case[]
  nameOf(what: Case): string
  /** The first that can run is what the others are compared with. */
  readonly contenders: readonly Contender<Case>[]
}

/** What a victim is told to do, as one line of JSON on its standard input. */
export const KINDS = ['SIGKILL', 'SIGTERM', 'exit', 'abort', 'worker', 'OOM kill'] as const

/** How a life ends: `worker` is worker.terminate() of a worker that writes. */
export type Kind = (typeof KINDS)[number]

export interface Order {
  readonly directory: string
  readonly engine: 'uring' | 'threadpool'
  readonly seed: number
  /** Of the log: goes into the ids. */
  readonly life: number
  readonly kind: Kind
  /** From when `afterMs` counts: `go` is before the log is opened, `open` is when it is open. */
  readonly from: 'go' | 'open'
  /** When the victim ends itself, in milliseconds; who kills it uses the same. */
  readonly afterMs: number
  readonly segmentSize: number
  readonly largestBytes: number
  readonly callers: number
  /** `flush`: append and then flush, which gives LSNs in the order of the ids; else appendDurable. */
  readonly style: 'flush' | 'durable'
  readonly commitsInFlight: number
  readonly overlap: 'auto' | 'always'
  readonly busyPoll: 'auto' | 'always' | 'never'
  readonly compression: 'none' | 'deflate'
}

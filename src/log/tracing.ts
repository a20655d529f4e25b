/** What a log does that takes its time, on tracing channels of node:diagnostics_channel. */
import { tracingChannel } from 'node:diagnostics_channel'

/** What is published; `result` or `error` is added when it is done. */
export interface TraceContext {
  /** The log's directory. */
  readonly path: string
  /** Where to; of trims and rewinds. */
  readonly lsn?: number
  /** What was resolved to. */
  result?: unknown
  /** What it failed with. */
  error?: unknown
}

const channelOf = (name: string) => tracingChannel<object, TraceContext>(`riolog:${name}`)

type Tracing = ReturnType<typeof channelOf>

export const TRACED: Record<'open' | 'flush' | 'trim' | 'rewind' | 'close', Tracing> = {
  open: channelOf('open'),
  flush: channelOf('flush'),
  trim: channelOf('trim'),
  rewind: channelOf('rewind'),
  close: channelOf('close'),
}

/** Runs as it is when nobody listens: then it costs five looks at a flag. */
export function traced<T>(
  name: keyof typeof TRACED,
  path: string,
  run: () => Promise<T>,
  lsn?: number,
): Promise<T> {
  const { start, end, asyncStart, asyncEnd, error } = TRACED[name]
  const isHeard =
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  if (!isHeard) return run()
  const context: TraceContext = lsn === undefined ? { path } : { path, lsn }
  return TRACED[name].tracePromise(run, context)
}

/** Appends to one store: in a closed loop, at a fixed rate, or as fast as it takes them. */
import { runCallbackLoop, runClosedLoop } from '../../closed-loop.ts'
import { Latencies } from '../../latencies.ts'
import { arrivals, runOpenLoop } from '../../open-loop.ts'
import { Peers } from '../../peers/load.ts'
import type { Session } from '../contender.ts'
import { openStore, type Store, type StoreName } from '../stores.ts'
import { measured, type Outcome, quiet, ROUND_WARM_UP_MS, warmUpMs } from '../usage.ts'

export type Load =
  | { kind: 'closed'; callers: number; milliseconds: number }
  | { kind: 'open'; rate: number; milliseconds: number; seed: number }
  | { kind: 'ingest'; records: number }

export interface AppendSettings {
  readonly store: StoreName
  readonly directory: string
  /** riolog's own folder. */
  readonly root: string
  readonly bytes: number
  readonly load: Load
  readonly stat: string | undefined
}

const WARM_UP_CALLERS = 64
/** Of them together, at a time. */
const WARM_UP_BYTES = 2 << 20
const INGEST_WARM_UP_MS = 500

export async function startAppends(settings: AppendSettings): Promise<Session> {
  const { directory, root, bytes, load, stat } = settings
  const store = await openStore(settings.store, directory, new Peers(root))
  const latencies = new Latencies()
  await warmUp(store, bytes, load, latencies)
  const settle = async () => {
    await store.settle?.()
    await quiet()
  }
  await settle()
  return {
    measure: round => {
      const run = (some: Load, seed: number) => runOnce(store, bytes, some, seed, latencies)
      const before = () => run(shortened(load), -1 - round)
      return measured(() => run(load, round), stat, { before, after: settle })
    },
    close: () => store.close(),
  }
}

/** As long as a round's warm-up; an ingest is done whole, since each of its parts costs something else. */
function shortened(load: Load): Load {
  return load.kind === 'ingest' ? load : { ...load, milliseconds: ROUND_WARM_UP_MS }
}

async function warmUp(store: Store, bytes: number, load: Load, latencies: Latencies) {
  if (load.kind === 'ingest') {
    const record = Buffer.alloc(bytes, 7)
    const until = performance.now() + INGEST_WARM_UP_MS
    // Whole ones: of the first ones, each is faster than the one before.
    do await store.ingest(record, load.records)
    while (performance.now() < until)
    return
  }
  // Many of them even where one is measured: code is compiled by calls, not by time.
  const many = Math.min(WARM_UP_CALLERS, Math.ceil(WARM_UP_BYTES / bytes))
  const callers = Math.max(load.kind === 'closed' ? load.callers : 0, many)
  await closedLoop(store, bytes, callers, warmUpMs(load.milliseconds), latencies)
}

function closedLoop(
  store: Store,
  bytes: number,
  callers: number,
  ms: number,
  latencies: Latencies,
) {
  return store.tell === undefined
    ? runClosedLoop(store, callers, bytes, ms, latencies)
    : runCallbackLoop(store.tell, callers, bytes, ms, latencies)
}

async function runOnce(
  store: Store,
  bytes: number,
  load: Load,
  round: number,
  latencies: Latencies,
): Promise<Outcome> {
  if (load.kind === 'ingest') {
    const started = performance.now()
    await store.ingest(Buffer.alloc(bytes, 7), load.records)
    const seconds = (performance.now() - started) / 1000
    return { operations: load.records, seconds, bytes: load.records * bytes }
  }
  const result =
    load.kind === 'closed'
      ? await closedLoop(store, bytes, load.callers, load.milliseconds, latencies)
      : await runOpenLoop(
          store,
          bytes,
          arrivals(load.rate, load.milliseconds, load.seed + round),
          undefined,
          latencies,
        )
  const { records, seconds, p50Us, p99Us, p999Us } = result
  return { operations: records, seconds, bytes: records * bytes, p50Us, p99Us, p999Us }
}

/** YCSB on riolog-kv and on other stores that a Node program can embed. */
import type { Case } from '../contender.ts'
import { KV_STORES } from '../kv-stores.ts'
import type { Setup } from '../setup.ts'
import { DISTRIBUTIONS, WORKLOADS } from '../workloads.ts'

const CALLERS = 64
const VALUE_BYTES = 1024
const RECORDS = 10_000
/** As long as other rounds: a store tidies up about once a second, which must not fall between them. */
const ROUNDS_LONG = 2

export const ycsb = (setup: Setup) =>
  function* (): Iterable<Case> {
    const { quick, milliseconds } = setup.options
    for (const workload of quick ? WORKLOADS.slice(0, 1) : WORKLOADS) {
      for (const distribution of DISTRIBUTIONS) {
        const settings = {
          workload,
          distribution,
          callers: CALLERS,
          records: RECORDS,
          valueBytes: VALUE_BYTES,
          milliseconds: ROUNDS_LONG * milliseconds,
        }
        const contenders = KV_STORES.map(store => setup.kvStore(store, settings))
        const parameters = { workload: workload.name, distribution }
        yield { title: `${workload.name}, ${distribution}`, parameters, contenders }
      }
    }
  }

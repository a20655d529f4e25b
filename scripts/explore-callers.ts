/**
 * Random programs of a log's callers (test/callers), one after the other.
 *
 *   npm run test:callers -- [--seconds 60] [--seed N] [--runs N]
 *
 * The first failure of each kind is told with the fewest actions that come to it; `--seed N --runs 1` does one
 * program again. Exit code 1 when there was one.
 */
import { parseArgs } from 'node:util'
import { kindOf, runProgram, shrink, takeUncaught } from '../test/callers/program.ts'
import { chooseSeed } from '../test/support/random.ts'
import { Watchdog } from '../test/support/watchdog.ts'

const HANG_MS = 120_000

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(chooseSeed()) },
    runs: { type: 'string', default: 'Infinity' },
  },
})
const first = Number(values.seed)
const runs = Number(values.runs)
const seconds = Number(values.seconds)
if (!(first >= 0 && runs >= 1 && seconds > 0)) throw new Error('--seed, --runs, --seconds')

takeUncaught()
const watchdog = new Watchdog(HANG_MS)
const kinds = new Map<string, number>()
const deadline = performance.now() + seconds * 1000
let actions = 0
let seed = first
for (; seed < first + runs && performance.now() < deadline; seed++) {
  watchdog.begin(seed)
  const { failure, actions: done } = await runProgram(seed)
  actions += done
  if (failure === undefined) continue
  const kind = kindOf(failure)
  kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  console.error(`WRONG: seed ${seed}: ${failure}`)
  if (kinds.get(kind)! > 1) continue
  const smallest = await shrink(seed, failure)
  console.error(smallest.trace.join('\n'))
  console.error(smallest.failure)
}
await watchdog.end()
for (const [kind, times] of kinds) console.log(`${times} times: ${kind}`)
const failures = [...kinds.values()].reduce((sum, times) => sum + times, 0)
console.log(`${seed - first} programs from seed ${first}, ${actions} actions, ${failures} failures`)
if (failures > 0) process.exitCode = 1

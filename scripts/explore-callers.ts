/**
 * Random programs of a log's callers (test/callers), one after the other.
 *
 *   npm run test:callers -- [--seconds 60] [--seed N] [--runs N]
 *
 * The first failure of each kind is told with the fewest actions that come to it; `--seed N --runs 1` does one
 * program again. Exit code 1 when there was one.
 */
import { kindOf, runProgram, shrink, takeUncaught } from '../test/callers/program.ts'
import { runSeeds } from '../test/support/campaign.ts'

takeUncaught()
const kinds = new Map<string, number>()
let actions = 0
const { first, count } = await runSeeds(async seed => {
  const { failure, actions: done } = await runProgram(seed)
  actions += done
  if (failure === undefined) return true
  const kind = kindOf(failure)
  const times = (kinds.get(kind) ?? 0) + 1
  kinds.set(kind, times)
  console.error(`WRONG: seed ${seed}: ${failure}`)
  if (times > 1) return true
  const smallest = await shrink(seed, failure)
  console.error(smallest.trace.join('\n'))
  console.error(smallest.failure)
  return true
})
for (const [kind, times] of kinds) console.log(`${times} times: ${kind}`)
const failures = [...kinds.values()].reduce((sum, times) => sum + times, 0)
console.log(`${count} programs from seed ${first}, ${actions} actions, ${failures} failures`)
if (failures > 0) process.exitCode = 1

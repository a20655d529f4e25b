/**
 * Random programs of callers (program.ts). RIOLOG_SEED makes a failure come again, RIOLOG_RUNS is the number of programs;
 * `npm run test:callers` runs for as long as it is told to.
 */
import t from 'tap'
import { chooseSeed } from '../support/random.ts'
import { runProgram, shrink, takeUncaught } from './program.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 300)

takeUncaught()

t.test(`${RUNS} programs of callers are told what is true`, async t => {
  const first = chooseSeed()
  t.comment(`RIOLOG_SEED=${first} RIOLOG_RUNS=${RUNS}`)
  let actions = 0
  for (let seed = first; seed < first + RUNS; seed++) {
    const { failure, actions: done } = await runProgram(seed)
    actions += done
    if (failure === undefined) continue
    const smallest = await shrink(seed, failure)
    t.comment(smallest.trace.join('\n'))
    t.fail(`RIOLOG_SEED=${seed} RIOLOG_RUNS=1: ${failure}`)
  }
  t.ok(actions > 10 * RUNS, `${actions} actions`)
})

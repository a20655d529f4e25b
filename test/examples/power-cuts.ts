/** Power cuts under an example: at every moment of a life, and beside operations that fail. */
import t from 'tap'
import { type CrashTestOptions, crashTest, type FaultKind } from '../../src/crash/index.ts'
import type { Log } from '../../src/log/log.ts'
import { chooseSeed } from '../support/random.ts'

/** What a disk may do besides, and tell. */
const FAULTS: readonly FaultKind[] = [
  'eio',
  'eio-late',
  'eio-directory',
  'enospc',
  'canceled',
  'short',
  'again',
]

/** @param faultyRuns few runs are few lives, and none of those need meet a fault */
export function testPowerCuts<Step>(
  scenario: () => CrashTestOptions<Step>,
  runs: number,
  faultyRuns: number,
): void {
  t.test('the same, at every moment of a life', async t => {
    const options = { ...scenario(), seed: chooseSeed(), everyPoint: true }
    const found = await crashTest(options)
    t.comment(`${found.runs} crashes at ${found.points} moments from seed ${found.seed}`)
    t.ok(found.runs >= runs)
    t.ok(found.points > 10)
  })

  t.test('the same, beside operations that fail', async t => {
    const few = { exhaustiveUnits: 2, runs: faultyRuns }
    const { byKind, seed } = await crashTest({
      ...scenario(),
      ...few,
      seed: chooseSeed(),
      faults: FAULTS,
    })
    t.comment(`from seed ${seed}: ${JSON.stringify(byKind)}`)
    t.ok(
      FAULTS.some(kind => (byKind[kind] ?? 0) > 0),
      'some of them have happened',
    )
  })
}

/** A trim beyond what is durable is refused, which would be found at once: here it waits. */
export function trimLater(log: Log): Pick<Log, 'trim'> {
  return {
    trim: async (lsn: number) => {
      await log.flush()
      return log.trim(lsn)
    },
  }
}

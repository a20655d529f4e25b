/** What scripts have in common that try one seed after the other for a time. */
import { parseArgs } from 'node:util'
import { chooseSeed } from './random.ts'
import { Watchdog } from './watchdog.ts'

const HANG_MS = 120_000

/**
 * Runs seeds one after the other, by `--seconds 60`, `--seed N` (the first one) and `--runs N`. One that takes longer than two minutes ends the
 * process.
 * @param run resolves to false when it is enough
 */
export async function runSeeds(
  run: (seed: number) => Promise<boolean>,
): Promise<{ readonly first: number; readonly count: number }> {
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
  const watchdog = new Watchdog(HANG_MS)
  const deadline = performance.now() + seconds * 1000
  let count = 0
  while (count < runs && performance.now() < deadline) {
    const seed = first + count++
    watchdog.begin(seed)
    if (!(await run(seed))) break
  }
  await watchdog.end()
  return { first, count }
}

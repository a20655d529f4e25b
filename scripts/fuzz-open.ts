/**
 * Opens directories that somebody has damaged or forged: for writing, to read, as a replica, and as the
 * commands look at files (test/fuzz). What comes out is a record of the original log or an error with a
 * code; no hang, no memory without bound.
 *
 *   npm run fuzz:open -- [--seconds 60] [--seed N] [--runs N]
 *
 * A failure names its seed: `--seed N --runs 1` does it again. Exit code 1 then.
 */
import { parseArgs } from 'node:util'
import { makeOriginals } from '../test/fuzz/originals.ts'
import { runSeed } from '../test/fuzz/simulated-run.ts'
import { chooseSeed } from '../test/support/random.ts'
import { Watchdog } from '../test/support/watchdog.ts'

const MIB = 1024 * 1024
const HANG_MS = 120_000
const MOST_FAILURES = 20
/** Of the whole process, the originals and what is not collected yet included. */
const MOST_RESIDENT_MIB = 1500

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

const originals = await makeOriginals()
const watchdog = new Watchdog(HANG_MS)
const outcomes = new Map<string, number>()
const deadline = performance.now() + seconds * 1000
let failures = 0
let seed = first
for (; seed < first + runs && performance.now() < deadline; seed++) {
  watchdog.begin(seed)
  const failure = await runSeed(seed, originals, ({ way, what }) => {
    const key = `${way}: ${what}`
    outcomes.set(key, (outcomes.get(key) ?? 0) + 1)
  })
  if (failure === undefined) continue
  const { way, original, done, error } = failure
  console.error(`WRONG: seed ${seed}, ${way}, ${original} log, ${done.join(' + ')}`)
  console.error(error)
  if (++failures >= MOST_FAILURES) break
}
await watchdog.end()
const residentMib = Math.round(process.resourceUsage().maxRSS / 1024)
for (const [what, count] of [...outcomes].sort()) console.log(`${what}: ${count}`)
console.log(
  `${seed - first} directories from seed ${first}, ${failures} failures, at most ${residentMib} MiB`,
)
if (failures > 0 || residentMib * MIB > MOST_RESIDENT_MIB * MIB) process.exitCode = 1

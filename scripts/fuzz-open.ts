/**
 * Opens directories that somebody has damaged or forged: for writing, to read, as a replica, and as the
 * commands look at files (test/fuzz). What comes out is a record of the original log or an error with a
 * code; no hang, no memory without bound.
 *
 *   npm run fuzz:open -- [--seconds 60] [--seed N] [--runs N]
 *
 * A failure names its seed: `--seed N --runs 1` does it again. Exit code 1 then.
 */
import { makeOriginals } from '../test/fuzz/originals.ts'
import { runSeed } from '../test/fuzz/simulated-run.ts'
import { runSeeds } from '../test/support/campaign.ts'

const MIB = 1024 * 1024
const MOST_FAILURES = 20
/** Of the whole process, the originals and what is not collected yet included. */
const MOST_RESIDENT_MIB = 1500

const originals = await makeOriginals()
const outcomes = new Map<string, number>()
let failures = 0
const { first, count } = await runSeeds(async seed => {
  const failure = await runSeed(seed, originals, ({ way, what }) => {
    const key = `${way}: ${what}`
    outcomes.set(key, (outcomes.get(key) ?? 0) + 1)
  })
  if (failure === undefined) return true
  const { way, original, done, error } = failure
  console.error(`WRONG: seed ${seed}, ${way}, ${original} log, ${done.join(' + ')}`)
  console.error(error)
  return ++failures < MOST_FAILURES
})
const residentMib = Math.round(process.resourceUsage().maxRSS / 1024)
for (const [what, count] of [...outcomes].sort()) console.log(`${what}: ${count}`)
console.log(
  `${count} directories from seed ${first}, ${failures} failures, at most ${residentMib} MiB`,
)
if (failures > 0 || residentMib * MIB > MOST_RESIDENT_MIB * MIB) process.exitCode = 1

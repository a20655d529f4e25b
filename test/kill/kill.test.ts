/**
 * A process that appends from 16 callers is killed at a random time; everything it had acknowledged
 * must be there, twice. RIOLOG_RUNS=200 is the campaign (npm run test:kill), RIOLOG_SEED reproduces.
 */
import t from 'tap'
import { onEachEngine, type RealEngine, type Test, temporaryDirectory } from '../support/engines.ts'
import { KillLoop } from '../support/kill-loop.ts'
import { chooseSeed, Random } from '../support/random.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 8)
/** A log is given up after some lives, so that reading it does not come to be all that is done. */
const LIVES = 8

async function campaign(t: Test, engine: RealEngine) {
  const first = chooseSeed() % 1_000_000
  let acknowledged = 0
  const verdicts = new Map<string, number>()
  for (let seed = first; seed < first + RUNS; seed += LIVES) {
    const options = { callers: 16, largest: 1 << 20, lifeMs: 400 }
    const directory = temporaryDirectory(t)
    const loop = new KillLoop(directory, engine, new Random(seed), options)
    for (let life = 0; life < Math.min(LIVES, first + RUNS - seed); life++) {
      const run = await loop.run(seed + life)
      if (run.wrong.length > 0) {
        t.fail(`RIOLOG_SEED=${seed}, life ${life}`, { wrong: run.wrong })
        return
      }
      acknowledged += run.acknowledged
      verdicts.set(run.verdict, (verdicts.get(run.verdict) ?? 0) + 1)
    }
  }
  t.comment(`${RUNS} kills from seed ${first}: ${acknowledged} acknowledged`, [...verdicts])
  t.ok(acknowledged > 0, 'the killed processes had acknowledged something')
}

onEachEngine(t, 'nothing acknowledged is lost by SIGKILL', campaign)

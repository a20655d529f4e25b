/**
 * Processes that append, trim and rewind are killed at random times; everything they had acknowledged must
 * be there, twice. RIOLOG_RUNS says how many kills in all, RIOLOG_SEED reproduces a failure's log.
 * `npm run test:kill` is the campaign: more kills, more file systems, more ways to end.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { onEachEngine, type RealEngine, type Test, temporaryDirectory } from '../support/engines.ts'
import { chooseSeed } from '../support/random.ts'
import { KilledLog } from './killed-log.ts'
import { Victims } from './victims.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 200)
/** A log is given up after some lives, so that reading it does not come to be all that is done. */
const LIVES = 5
const LIFE_MS = 50
const MEMORY = '/dev/shm'

/** On the disk that the tests run on, and on tmpfs, which has no power to lose but loses its writers. */
function placesFor(t: Test): (string | undefined)[] {
  const places: (string | undefined)[] = [temporaryDirectory(t), undefined]
  if (existsSync(MEMORY)) {
    places[1] = mkdtempSync(join(MEMORY, 'riolog-test-'))
    t.teardown(() => rmSync(places[1]!, { recursive: true, force: true }))
  }
  return places
}

async function campaign(t: Test, engine: RealEngine, kills: number) {
  const victims = new Victims(2)
  t.teardown(() => victims.close())
  const places = placesFor(t).filter(place => place !== undefined)
  if (places.length < 2) t.pass('tmpfs', { skip: `there is no ${MEMORY}` })
  let seed = chooseSeed() % 1_000_000_000
  const counts = { kills: 0, acknowledged: 0 }
  const lane = async (place: string) => {
    while (counts.kills < kills) {
      const mine = seed++
      const directory = join(place, String(mine))
      const log = new KilledLog(directory, engine, mine)
      for (let life = 0; life < LIVES && counts.kills < kills; life++) {
        counts.kills++
        const { wrong, acknowledged } = await log.live(victims, 'SIGKILL', LIFE_MS)
        counts.acknowledged += acknowledged
        if (wrong.length > 0) return t.fail(`RIOLOG_SEED=${mine}, life ${life}`, { wrong })
      }
      rmSync(directory, { recursive: true })
    }
  }
  await Promise.all(places.map(lane))
  t.equal(counts.kills, kills)
  t.ok(counts.acknowledged > 0, `${counts.acknowledged} records had been acknowledged`)
}

onEachEngine(t, 'nothing acknowledged is lost by SIGKILL', (t, engine) =>
  campaign(t, engine, Math.ceil(RUNS / 2)),
)

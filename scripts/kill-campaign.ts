/**
 * Kills real processes that append, trim and rewind, on file systems of its own and on both engines, and
 * holds what is found afterwards against what they had acknowledged.
 *
 *   npm run test:kill -- [--kills 1000] [--seed N] [--minutes M] [--json]
 *       [--file-system NAME] [--engine NAME] [--kind NAME] [--jobs 2]
 *
 * `--kills` counts SIGKILLs, spread over the file systems and engines; each of the other ways to end gets a
 * twentieth of them. Then come a full file system and one that turns read-only. A failure names its seed,
 * file system, engine and kind: with those, and `--kills 8`, its log is written and killed again.
 * What the machine has not (root, loop devices, a mkfs, io_uring, a memory controller) is skipped by name.
 * Exit code 1 when anything was wrong.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { KilledLog } from '../test/kill/killed-log.ts'
import { MemoryLimits } from '../test/kill/memory-limit.ts'
import { KINDS, type Kind } from '../test/kill/order.ts'
import { Tally } from '../test/kill/tally.ts'
import { fullDisk, readOnlyDisk } from '../test/kill/troubled-disk.ts'
import { Victims } from '../test/kill/victims.ts'
import { type RealEngine, whyNoRing } from '../test/support/engines.ts'
import { FILE_SYSTEMS, type FileSystem, mountFresh } from '../test/support/file-systems.ts'
import { chooseSeed } from '../test/support/random.ts'

const ENGINES = ['uring', 'threadpool'] as const
const LIVES = 8
const LIFE_MS = 60
const MOUNT_MIB = 600

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(chooseSeed() % 1_000_000_000) },
    minutes: { type: 'string', default: 'Infinity' },
    jobs: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
    'file-system': { type: 'string' },
    engine: { type: 'string' },
    kind: { type: 'string' },
  },
})

function chosen<T extends string>(what: string, all: readonly T[], one: string | undefined): T[] {
  const found = all.filter(each => one === undefined || each === one)
  if (found.length === 0) throw new Error(`--${what} is one of ${all.join(', ')}`)
  return found
}

function numberOf(what: 'kills' | 'seed' | 'minutes' | 'jobs'): number {
  const number = Number(values[what])
  if (!(number >= (what === 'seed' ? 0 : 1))) throw new Error(`--${what} must be a number`)
  return number
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
const kills = numberOf('kills')
const deadline = performance.now() + numberOf('minutes') * 60_000
const tally = new Tally(values.json)
let seed = numberOf('seed')
tally.say(`seed ${seed}`)

async function engines(): Promise<RealEngine[]> {
  const reason = await whyNoRing()
  const wanted = chosen('engine', ENGINES, values.engine)
  if (reason === undefined || !wanted.includes('uring')) return wanted
  tally.skip('io_uring', reason)
  return wanted.filter(engine => engine !== 'uring')
}

function kinds(limits: ReturnType<typeof MemoryLimits.find>): Kind[] {
  const wanted = chosen('kind', KINDS, values.kind)
  if (limits instanceof MemoryLimits || !wanted.includes('OOM kill')) return wanted
  tally.skip('OOM kill', limits.reason)
  return wanted.filter(kind => kind !== 'OOM kill')
}

/** A log after the other until there were so many lives; each lane takes the next seed. */
async function killOn(
  place: { fileSystem: FileSystem; at: string; engine: RealEngine; kind: Kind },
  lives: number,
  victims: Victims,
): Promise<void> {
  let begun = 0
  const lane = async () => {
    while (begun < lives && performance.now() < deadline) {
      const mine = seed++
      const directory = join(place.at, `log-${mine}`)
      const log = new KilledLog(directory, place.engine, mine)
      for (let life = 0; life < LIVES && begun < lives && performance.now() < deadline; life++) {
        begun++
        const lived = await log.live(victims, place.kind, LIFE_MS)
        tally.add({ ...place, seed: mine, life }, lived)
        if (lived.wrong.length > 0) break
      }
      rmSync(directory, { recursive: true, force: true })
    }
  }
  await Promise.all(Array.from({ length: numberOf('jobs') }, lane))
}

const limits = MemoryLimits.find()
const victims = new Victims(numberOf('jobs'), limits instanceof MemoryLimits ? limits : undefined)
const allKinds = kinds(limits)
const allEngines = await engines()
const started = performance.now()
const places = chosen('file-system', FILE_SYSTEMS, values['file-system']).flatMap(fileSystem => {
  const mounted = mountFresh(fileSystem, MOUNT_MIB)
  if ('at' in mounted) return [{ fileSystem, mounted }]
  tally.skip(fileSystem, mounted.reason)
  return []
})
// In rounds, so that a run that is out of time has seen all of them.
const rounds = Math.max(1, Math.ceil(kills / 1000))
const perRound = Math.ceil(kills / places.length / allEngines.length / rounds)
for (let round = 0; round < rounds; round++) {
  for (const { fileSystem, mounted } of places) {
    for (const engine of allEngines) {
      for (const kind of allKinds) {
        const lives = kind === 'SIGKILL' || values.kind !== undefined ? perRound : perRound / 20
        await killOn({ fileSystem, at: mounted.at, engine, kind }, Math.ceil(lives), victims)
      }
    }
  }
  if (performance.now() >= deadline) break
}
const minutes = (performance.now() - started) / 60_000
for (const { mounted } of places) mounted.unmount()
victims.close()

for (const engine of values.kind === undefined ? allEngines : []) {
  for (const trouble of [fullDisk, readOnlyDisk]) {
    const outcome = await trouble(engine)
    if ('reason' in outcome) tally.skip(`${trouble.name} (${engine})`, outcome.reason)
    else tally.addTrouble(trouble.name, engine, outcome)
  }
}
if (!tally.report(minutes)) process.exitCode = 1

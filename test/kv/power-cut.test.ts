/**
 * The power is cut at a random operation of log, checkpoint or recovery; any subset of what was not synced
 * survives. What is found must be what some prefix of the writes comes to, with all in it that was
 * acknowledged as durable. RIOLOG_SEED reproduces a run, RIOLOG_RUNS makes it longer.
 */
import t from 'tap'
import type { Operation } from '../../examples/kv/src/record.ts'
import { Store } from '../../examples/kv/src/store.ts'
import { type Outcome, SimulatedDevice } from '../../src/disk/simulated.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { KIB, openSimulated } from '../support/simulated.ts'
import { type Fault, SimulatedFiles } from './simulated-files.ts'
import { contentOf } from './support.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 60)
const LIVES = 4
const OPTIONS = { largeBytes: 200, checkpointBytes: 24 * KIB }
const turn = () => new Promise<void>(resolve => setImmediate(resolve))

type Content = Map<string, string>

/** What has to be there, and what may be. */
class Oracle {
  #base: Content = new Map()
  #writes: Operation[][] = []
  #acknowledged = 0
  count = 0

  wrote(operations: Operation[]): number {
    return this.#writes.push(operations)
  }

  /** The write of this number, and so all before it. */
  isDurable(number: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, number)
    this.count++
  }

  /** Goes on from what was found; undefined when it could be. */
  judge(found: Content): string | undefined {
    const state = new Map(this.#base)
    for (let number = 0; number <= this.#writes.length; number++) {
      if (number > 0) applyTo(state, this.#writes[number - 1])
      if (number < this.#acknowledged || !isSame(state, found)) continue
      this.#base = found
      this.#writes = []
      this.#acknowledged = 0
      return undefined
    }
    return `${this.#acknowledged} of ${this.#writes.length} acknowledged, found ${found.size} keys`
  }
}

function applyTo(state: Content, operations: Operation[]): void {
  for (const operation of operations) {
    if (operation.type === 'del') state.delete(String(operation.key))
    else state.set(String(operation.key), String(operation.value))
  }
}

function isSame(one: Content, other: Content): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value)
}

function operationOf(random: Random): Operation {
  const key = `key ${random.int(0, 12)}`
  if (random.chance(0.2)) return { type: 'del', key }
  const length = random.chance(0.3) ? random.int(200, 6000) : random.int(0, 199)
  return { type: 'put', key, value: Buffer.alloc(length, `${random.int(0, 1_000_000)} `) }
}

async function work(store: Store, random: Random, oracle: Oracle, run: Run) {
  for (let i = random.int(0, 60); i > 0 && !run.device.isOff; i--) {
    const operations = Array.from({ length: random.chance(0.3) ? 5 : 1 }, () => operationOf(random))
    const sync = random.chance(0.7)
    const number = oracle.wrote(operations)
    store.write(operations, sync && run.fault !== 'no sync').then(
      () => sync && oracle.isDurable(number),
      () => {},
    )
    if (random.chance(0.05)) store.checkpoint().catch(() => {})
    for (let turns = random.int(0, 3); turns > 0; turns--) await turn()
  }
  if (random.chance(0.3)) await settledOrOff(store.close(), run.device)
  else for (let i = random.int(0, 60); i > 0 && !run.device.isOff; i--) await turn()
}

/** A promise that waits for a device without power never settles. */
async function settledOrOff(promise: Promise<unknown>, device: SimulatedDevice): Promise<void> {
  let settled = false
  const settle = () => (settled = true)
  promise.then(settle, settle)
  while (!settled && !device.isOff) await turn()
}

function outcomeOf(random: Random): Outcome {
  const probability = random.int(0, 100) / 100
  const survives = () => random.chance(probability)
  const lost = ['old', 'zeros', 'garbage'] as const
  return {
    survives,
    fate: () => (survives() ? 'new' : lost[random.int(0, 2)]),
    garbage: () => random.int(0, 255),
    sectorBytes: random.chance(0.5) ? 512 : 4096,
  }
}

interface Run {
  device: SimulatedDevice
  readonly fault: Fault | 'no sync' | undefined
}

async function open({ device, fault }: Run): Promise<Store> {
  const files = new SimulatedFiles(device, fault === 'no sync' ? undefined : fault)
  return Store.open('simulated', { log: await openSimulated(device), files, ...OPTIONS })
}

async function life(random: Random, oracle: Oracle, run: Run): Promise<string | undefined> {
  const { device } = run
  const last = random.int(0, random.chance(0.2) ? 30 : 500)
  device.interference = ({ index }) => void (index >= last && device.cutPower())
  const opening = open(run)
  await settledOrOff(opening, device)
  if (!device.isOff) await work(await opening, random, oracle, run)
  else opening.catch(() => {})
  run.device = random.chance(0.2) ? device.afterKill() : device.afterPowerCut(outcomeOf(random))
  const store = await open(run)
  const wrong = oracle.judge(await contentOf(store))
  // What an opening has shown stays.
  run.device = run.device.afterPowerCut(outcomeOf(random))
  return wrong
}

/** What was wrong; undefined: nothing. */
async function oneRun(seed: number, oracle: Oracle, fault?: Run['fault']) {
  const random = new Random(seed)
  const run: Run = { device: new SimulatedDevice(), fault }
  try {
    for (let i = 0; i < LIVES; i++) {
      const wrong = await life(random, oracle, run)
      if (wrong !== undefined) return wrong
    }
  } catch (error) {
    return String((error as Error).stack)
  }
}

t.test(
  'what is found is what a prefix of the writes comes to, with all that was durable',
  async t => {
    const first = chooseSeed()
    let acknowledged = 0
    for (let seed = first; seed < first + RUNS; seed++) {
      const oracle = new Oracle()
      const wrong = await oneRun(seed, oracle)
      if (wrong !== undefined) {
        t.fail(`seed ${seed}: reproduce with RIOLOG_SEED=${seed} RIOLOG_RUNS=1`, { wrong })
        return
      }
      acknowledged += oracle.count
    }
    t.comment(`${RUNS} runs from seed ${first}, ${acknowledged} acknowledged writes`)
    t.ok(acknowledged > 0)
  },
)

for (const fault of ['no sync', 'no file sync', 'no directory sync'] as const) {
  t.test(`this test fails where the store has ${fault}`, async t => {
    for (let seed = 1; seed <= 200; seed++) {
      const wrong = await oneRun(seed, new Oracle(), fault)
      if (wrong !== undefined) return void t.pass(`seed ${seed}: ${wrong.split('\n')[0]}`)
    }
    t.fail('200 runs found nothing')
  })
}

/**
 * The process is killed or the power is cut at a random operation, of appending, of rotation, of recovery and of the recovery
 * after that; any subset of what was not synced survives. Nothing acknowledged may be lost, changed
 * or invented. RIOLOG_SEED reproduces a run, RIOLOG_RUNS makes it longer.
 */
import { createHash, type Hash } from 'node:crypto'
import t from 'tap'
import { type Outcome, SimulatedDevice } from '../../../src/disk/simulated.ts'
import { RiologError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log/log.ts'
import type { LogOptions } from '../../../src/log/options.ts'
import { Oracle, payloadOf } from '../../support/oracle.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 150)
const LIVES = 4
/** So that batches are longer than a group; now and then segments that hold records of 1.5 MiB. */
const SMALL = { maxGroupBytes: 8 * KIB }
const KEY = Buffer.alloc(32, 5)
const PACKED: LogOptions = { compression: 'deflate', encryption: { keyId: 1, key: () => KEY } }
const LARGE = { segmentSize: 2048 * KIB }
const turn = () => new Promise<void>(resolve => setImmediate(resolve))

/** Appends until the power goes, or the appends are done. */
async function work(log: Log, random: Random, oracle: Oracle, device: SimulatedDevice) {
  let id = random.int(1, 1_000_000)
  const appends = random.int(0, 40)
  for (let i = 0; i < appends && !device.isOff; i++) {
    const payload = () =>
      payloadOf(id++, random.chance(0.1) ? longLength(log, random) : random.int(0, 300))
    try {
      if (random.chance(0.2))
        appendBatch(log, random, oracle, () => payloadOf(id++, random.int(0, 3000)))
      else {
        const data = payload()
        oracle.appended(log.append(data), data)
      }
    } catch (error) {
      const full = error instanceof RiologError && error.code === 'ERR_RIOLOG_BACKPRESSURE'
      if (!full) return
      await turn()
      continue
    }
    if (random.chance(0.5)) acknowledgeWhenDurable(log, oracle)
    if (random.chance(0.1)) trim(log, random, oracle)
    if (random.chance(0.05)) await rewind(log, random, oracle, device)
    if (random.chance(0.5)) await turn()
  }
  if (random.chance(0.3)) await settledOrOff(log.close(), device)
  else for (let i = random.int(0, 30); i > 0 && !device.isOff; i--) await turn()
}

/** Around what one group holds, and up to the longest that there is: in fragments. */
function longLength(log: Log, random: Random): number {
  const most = log.maxRecordBytes
  return random.chance(0.5) ? random.int(0, most) : most - random.int(0, Math.floor(most / 10))
}

/** Longer than a group, as often as not. */
function appendBatch(log: Log, random: Random, oracle: Oracle, payload: () => Buffer): void {
  const batch = Array.from({ length: random.int(1, 12) }, payload)
  const lsns = log.appendBatch(batch)
  for (const [i, lsn] of lsns.entries()) oracle.appended(lsn, batch[i], lsns[0])
}

function trim(log: Log, random: Random, oracle: Oracle): void {
  const lsns = oracle.acknowledgedLsns()
  if (lsns.length === 0) return
  // The end, too: what follows links to it.
  const lsn = random.chance(0.3) ? log.durableLsn : lsns[random.int(0, lsns.length - 1)]
  oracle.trimAsked(lsn)
  log.trim(lsn).then(
    () => oracle.trimmed(lsn),
    () => {},
  )
}

async function rewind(log: Log, random: Random, oracle: Oracle, device: SimulatedDevice) {
  const lsns = oracle.firstLsns()
  if (lsns.length === 0) return
  const lsn = lsns[random.int(0, lsns.length - 1)]
  oracle.rewindAsked(lsn)
  const rewinding = log.rewind(lsn).then(
    () => oracle.rewound(lsn),
    error => {
      if (error.code !== 'ERR_RIOLOG_POISONED') oracle.rewound(undefined)
    },
  )
  await settledOrOff(rewinding, device)
}

function acknowledgeWhenDurable(log: Log, oracle: Oracle) {
  const lsns = oracle.pendingLsns()
  log.flush().then(
    () => {
      for (const lsn of lsns) oracle.acknowledged(lsn)
    },
    () => {},
  )
}

/** A promise that waits for a device without power never settles. */
async function settledOrOff(promise: Promise<unknown>, device: SimulatedDevice): Promise<void> {
  let settled = false
  promise.then(
    () => (settled = true),
    () => (settled = true),
  )
  while (!settled && !device.isOff) await turn()
}

function cutAt(device: SimulatedDevice, operation: number, trace: Hash): void {
  device.interference = ({ index, kind, name, position, length }) => {
    trace.update(`${index} ${kind} ${name} ${position} ${length}\n`)
    if (index === operation) device.cutPower()
    return undefined
  }
}

/** Sectors of 512 or 4096 bytes; in half of the cuts some that did not survive are zeros or garbage. */
function outcomeOf(random: Random, probability: number): Outcome {
  const survives = () => random.chance(probability)
  const lost = random.chance(0.5) ? (['old'] as const) : (['old', 'zeros', 'garbage'] as const)
  return {
    survives,
    fate: () => (survives() ? 'new' : lost[random.int(0, lost.length - 1)]),
    garbage: () => random.int(0, 255),
    sectorBytes: random.chance(0.5) ? 512 : 4096,
  }
}

interface Outcomes {
  readonly wrong: string[]
  readonly acknowledged: number
  /** Of every operation that was asked of the devices. */
  readonly trace: Hash
}

async function oneRun(seed: number): Promise<Outcomes> {
  const trace = createHash('sha256')
  const random = new Random(seed)
  const options = { ...(random.chance(0.1) ? LARGE : SMALL), ...(random.chance(0.3) ? PACKED : {}) }
  const oracle = new Oracle()
  let device = new SimulatedDevice()
  let acknowledged = 0
  for (let life = 0; life < LIVES; life++) {
    // Also in the middle of an opening, again and again.
    cutAt(device, random.int(0, random.chance(0.3) ? 25 : 250), trace)
    const opening = openSimulated(device, options)
    let log: Log | undefined
    opening.then(
      opened => (log = opened),
      () => {},
    )
    await settledOrOff(opening, device)
    if (log !== undefined) await work(log, random, oracle, device)
    else if (!device.isOff) await opening // an opening that fails for another reason is a finding
    acknowledged += oracle.acknowledgedCount
    const probability = random.int(0, 100) / 100
    const outcome = outcomeOf(random, probability)
    device = random.chance(0.3) ? device.afterKill() : device.afterPowerCut(outcome)
    const wrong = oracle.judge(await readAll(device, options))
    if (wrong.length > 0) return { wrong, acknowledged, trace }
    // What an opening has shown must not depend on what still was in a cache.
    device = device.afterPowerCut(outcome)
    const again = oracle.judge(await readAll(device, options))
    if (again.length > 0)
      return { wrong: again.map(what => `second opening: ${what}`), acknowledged, trace }
    device = device.afterKill()
  }
  return { wrong: [], acknowledged, trace }
}

async function readAll(device: SimulatedDevice, options: LogOptions) {
  const log = await openSimulated(device, options)
  const records = await recordsOf(log)
  return records
}

t.test('nothing acknowledged is lost by power cuts', async t => {
  const first = chooseSeed()
  let acknowledged = 0
  for (let seed = first; seed < first + RUNS; seed++) {
    let wrong: string[]
    try {
      const run = await oneRun(seed)
      wrong = run.wrong
      acknowledged += run.acknowledged
    } catch (error) {
      wrong = [String((error as Error).stack)]
    }
    if (wrong.length > 0) {
      t.fail(`seed ${seed}: reproduce with RIOLOG_SEED=${seed} RIOLOG_RUNS=1`, { wrong })
      return
    }
  }
  t.comment(`${RUNS} runs from seed ${first}, ${acknowledged} acknowledged records`)
  t.ok(acknowledged > 0, 'the runs acknowledged something')
})

t.test('the same seed comes to the same run, operation by operation', async t => {
  const first = chooseSeed()
  for (let seed = first; seed < first + 20; seed++) {
    const [one, other] = [await oneRun(seed), await oneRun(seed)]
    t.equal(one.trace.digest('hex'), other.trace.digest('hex'), `seed ${seed}`)
    t.equal(one.acknowledged, other.acknowledged)
  }
})

/**
 * The power of a copy is cut at any step while its source appends, batches, trims, rewinds and reopens.
 * RIOLOG_SEED reproduces a run, RIOLOG_RUNS makes it longer.
 */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import type { Log, Replica } from '../../../src/index.ts'
import type { LogOptions } from '../../../src/log/options.ts'
import { payloadOf } from '../../support/oracle.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { follow, linesOf, openReplica } from '../../support/replication.ts'
import { KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 12)
const LIVES = 4
const SMALL: LogOptions = { maxGroupBytes: 8 * KIB }
const KEY = Buffer.alloc(32, 9)
const SOURCES: [string, LogOptions][] = [
  ['as it is by default', SMALL],
  ['four commits in flight', { ...SMALL, commitsInFlight: 4 }],
  [
    'compressed, encrypted',
    { ...SMALL, compression: 'deflate', encryption: { keyId: 1, key: () => KEY } },
  ],
]

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

/** How a promise comes to its end: with an error's code, unless the power goes before. */
async function endOf(
  promise: Promise<unknown>,
  device: SimulatedDevice,
): Promise<string | undefined> {
  let end: string | undefined
  promise.then(
    () => (end = 'done'),
    error => (end = String(error.code ?? error.stack)),
  )
  while (end === undefined && !device.isOff) await turn()
  return end
}

/** A source, and a copy of it on a device that loses its power now and then. */
class Pair {
  readonly #random: Random
  readonly #options: LogOptions
  readonly #sourceDevice = new SimulatedDevice()
  #source!: Log
  #device = new SimulatedDevice()
  #nextId = 1
  /** Where the copy had been told that it ends; undefined: it may have gone back since. */
  #acknowledged: number | undefined = 0
  readonly counts = { cuts: 0, rewinds: 0, overtaken: 0, promotions: 0 }
  readonly wrong: string[] = []

  constructor(random: Random, options: LogOptions) {
    this.#random = random
    this.#options = options
  }

  async run(): Promise<void> {
    this.#source = await openSimulated(this.#sourceDevice, this.#options)
    for (let life = 0; life < LIVES; life++) {
      await this.#work()
      await this.#life()
    }
    await this.#judgeAtTheEnd()
    await this.#source.close()
  }

  /** Appends, batches, trims, rewinds, reopens; what is durable at the end is what counts. */
  async #work(): Promise<void> {
    const random = this.#random
    for (let i = random.int(1, 25); i > 0; i--) {
      const log = this.#source
      if (random.chance(0.2)) await log.appendBatchDurable([1, 2, 3].map(() => this.#payload()))
      else if (random.chance(0.4)) await log.appendDurable(this.#payload())
      else log.appendDurable(this.#payload()).catch(() => {})
      if (random.chance(0.08)) await this.#rewind()
      if (random.chance(0.015)) await log.trim((await this.#anyRecord()) ?? log.trimLsn)
    }
    await this.#source.flush()
    if (!random.chance(0.3)) return
    await this.#source.close()
    this.#source = await openSimulated(this.#sourceDevice, this.#options)
  }

  #payload(): Buffer {
    const bytes = this.#random.chance(0.1) ? 12_000 : this.#random.int(0, 900)
    return payloadOf(this.#nextId++, bytes)
  }

  async #anyRecord(): Promise<number | undefined> {
    await this.#source.flush()
    const records = await recordsOf(this.#source)
    if (records.length > 0) return records[this.#random.int(0, records.length - 1)].lsn
    return undefined
  }

  async #rewind(): Promise<void> {
    const lsn = (await this.#anyRecord()) ?? this.#source.durableLsn
    await this.#source.rewind(lsn).catch(error => {
      if (error.code !== 'ERR_RIOLOG_INVALID_ARGUMENT') throw error // inside a batch
    })
  }

  /** The copy is opened and follows, until it is there or its power goes. */
  async #life(): Promise<void> {
    const device = this.#device
    const cutAt = device.operations + this.#random.int(1, 80)
    device.interference = ({ index }) => {
      if (index >= cutAt) device.cutPower()
      return undefined
    }
    const following = this.#openAndFollow(device)
    const end = await endOf(following, device)
    device.interference = undefined
    if (end === 'ERR_RIOLOG_TRIMMED') {
      this.counts.overtaken++
      this.#device = new SimulatedDevice() // it begins anew
      this.#acknowledged = 0
    } else if (device.isOff) {
      await this.#afterCut()
    } else {
      if (end !== 'done') this.wrong.push(`the copy does not follow: ${end}`)
      this.#device = device.afterKill()
    }
  }

  async #openAndFollow(device: SimulatedDevice): Promise<void> {
    const replica = await openReplica(device)
    this.#judgeEnd(replica)
    for (;;) {
      const { end, hash } = replica
      const maxBytes = this.#random.int(1, 30 * KIB)
      const chunk = await this.#source.readRaw(end, { maxBytes, hash })
      if (chunk === undefined) break
      const goesBack = chunk.previousEnd < end
      if (goesBack) this.counts.rewinds++
      // While the copy goes back a cut leaves the one or the other.
      if (goesBack) this.#acknowledged = undefined
      this.#acknowledged = await replica.apply(chunk)
    }
    await replica.close()
  }

  #judgeEnd(replica: Replica): void {
    const { end, durableLsn } = replica
    const told = this.#acknowledged
    if (told !== undefined && end < told) this.wrong.push(`${told} was told, ${end} is left`)
    if (durableLsn > end) this.wrong.push(`durable to ${durableLsn}, behind the end ${end}`)
    this.#acknowledged ??= end
  }

  /** What a promotion at this moment finds is a past of the source: no damage, nothing invented. */
  async #afterCut(): Promise<void> {
    const random = this.#random
    this.counts.cuts++
    const fates = ['old', 'new', 'zeros', 'garbage'] as const
    const after = this.#device.afterPowerCut({
      survives: () => random.chance(0.5),
      fate: () => fates[random.int(0, 3)],
      garbage: () => random.int(0, 255),
    })
    const heir = await openSimulated(after.afterKill(), this.#options)
    const found = linesOf(await recordsOf(heir))
    await heir.close()
    this.counts.promotions++
    if (this.#acknowledged !== undefined) {
      const all = linesOf(await recordsOf(this.#source))
      const { trimLsn } = this.#source
      const own = found.filter(line => Number(line.split(' ', 1)) >= trimLsn)
      const known = new Set(all)
      // It may still have what the source has dropped since the copy was told.
      const strange = own.filter(line => !known.has(line)).length
      const isPrefix = own.every((line, i) => line === all[i])
      if (!isPrefix && strange === 0) this.wrong.push('a promoted copy has a hole')
    }
    this.#device = after.afterKill()
  }

  async #judgeAtTheEnd(): Promise<void> {
    const chunkBytes = () => this.#random.int(1, 40 * KIB)
    const replica = await openReplica(this.#device)
    this.#judgeEnd(replica)
    try {
      await follow(this.#source, replica, chunkBytes)
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ERR_RIOLOG_TRIMMED') throw error
      return
    }
    const { durableLsn } = this.#source
    if (replica.end !== durableLsn) this.wrong.push(`it ends at ${replica.end}, not ${durableLsn}`)
    await replica.close()
    const heir = await openSimulated(this.#device, this.#options)
    const [own, theirs] = [await recordsOf(heir), await recordsOf(this.#source)].map(linesOf)
    const differs = own.slice(-theirs.length).join() !== theirs.join()
    if (theirs.length > 0 && differs) this.wrong.push('the copy has other records')
    await heir.close()
  }
}

for (const [name, options] of SOURCES) {
  t.test(`the power is cut at any step of a copy (${name})`, async t => {
    const first = chooseSeed()
    const total = { cuts: 0, rewinds: 0, overtaken: 0, promotions: 0 }
    for (let seed = first; seed < first + RUNS; seed++) {
      const pair = new Pair(new Random(seed), options)
      await pair.run().catch(error => pair.wrong.push(String(error.stack)))
      const { wrong } = pair
      if (wrong.length > 0) return t.fail(`RIOLOG_SEED=${seed} RIOLOG_RUNS=1`, { wrong })
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += pair.counts[key]
    }
    t.comment(`${RUNS} runs from seed ${first}`, total)
    t.ok(total.cuts > RUNS / 2, `${total.cuts} power cuts`)
    t.ok(total.rewinds > 0, `${total.rewinds} rewinds were followed`)
  })
}

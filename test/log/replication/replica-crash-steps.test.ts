/**
 * The power is cut at each operation of a copy: its first chunk, groups, segments, what follows a rewind and a
 * trim of the source, closing and opening. What is left is promoted, and is opened again and goes on.
 */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { type Log, Replica } from '../../../src/index.ts'
import { checkReplicaOptions, type LogOptions } from '../../../src/log/options.ts'
import {
  cutEverywhere,
  type Judge,
  type Procedure,
  type Scenario,
} from '../../support/crash-steps.ts'
import { openSimulated, recordsOf } from '../../support/simulated.ts'

const LARGE = 13_000
const QUIET: LogOptions = { idleStampMs: 0, recycledSegments: 0 }

function openReplica(device: SimulatedDevice): Promise<Replica> {
  const options = checkReplicaOptions(QUIET)
  return Replica.openOn(new SimulatedDisk(device), 'simulated', options)
}

/** A source, and a copy of it that is behind. */
class Pair {
  readonly device = new SimulatedDevice()
  source!: Log
  replica!: Replica
  readonly lsns: number[] = []
  /** All that the source ever had, by LSN. */
  readonly #history = new Map<number, Buffer>()
  /** What the copy has acknowledged, and what it may have, once it is there. */
  #before: readonly number[] = []
  #after: readonly number[] = []
  #beginnings: readonly (number | undefined)[] = []
  #isAcknowledged = false

  static async make(records: number, bytes: number): Promise<Pair> {
    const pair = new Pair()
    pair.source = await openSimulated(new SimulatedDevice(), { ...QUIET, maxGroupBytes: 8192 })
    await pair.add(records, bytes)
    pair.replica = await openReplica(pair.device)
    return pair
  }

  async add(count: number, bytes: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const data = Buffer.alloc(bytes, this.#history.size + 1)
      const lsn = await this.source.appendDurable(data)
      this.#history.set(lsn, data)
      this.lsns.push(lsn)
    }
  }

  /** Chunk by chunk, up to the end of the source; of one group each unless told. */
  async follow(replica = this.replica, maxBytes = 1): Promise<void> {
    for (;;) {
      const { end, hash } = replica
      const chunk = await this.source.readRaw(end, { maxBytes, hash })
      if (chunk === undefined) return
      await replica.apply(chunk)
    }
  }

  /** A procedure of the copy, behind which it has all that the source has now. */
  async scenario(run: (pair: Pair) => Promise<unknown>, device = this.device): Promise<Scenario> {
    this.#before = await this.#promoted(this.device)
    const after = (await recordsOf(this.source)).map(({ lsn }) => lsn)
    // The copy may not have followed a trim of the source yet.
    this.#beginnings = [this.#before[0], after[0], undefined]
    this.#after = [...this.#before.filter(lsn => lsn < after[0]), ...after]
    const judge = { ...this.#judge(), open: openReplica } satisfies Judge
    const whole = async () => {
      await run(this)
      this.#isAcknowledged = true
    }
    return { device, judge, run: whole }
  }

  #judge(): Omit<Judge, 'open'> {
    return {
      whole: async image => {
        const wrong = this.#wrongOf(await this.#promoted(image))
        return [...wrong, ...(await this.#goesOn(image.afterKill()))]
      },
      again: image => this.#goesOn(image),
    }
  }

  /** LSNs of the records that somebody finds who promotes the copy; their bytes are the source's. */
  async #promoted(device: SimulatedDevice): Promise<number[]> {
    const heir = await openSimulated(copyOf(device), QUIET)
    const records = await recordsOf(heir)
    for (const { lsn, data } of records) {
      if (!this.#history.get(lsn)?.equals(data)) throw new Error(`LSN ${lsn} has other bytes`)
    }
    await heir.appendDurable(Buffer.from('goes on'))
    await heir.close()
    return records.map(({ lsn }) => lsn)
  }

  /** What it had, and then more and more of what the source has: nothing else, and nothing between. */
  #wrongOf(found: readonly number[]): string[] {
    const [from = 0] = found
    if (!this.#beginnings.includes(found[0])) return [`it begins at LSN ${from}`]
    const isPartOf = (all: readonly number[]) => {
      const part = all.filter(lsn => lsn >= from).slice(0, found.length)
      return String(part) === String(found)
    }
    if (!isPartOf(this.#after) && (this.#isAcknowledged || !isPartOf(this.#before))) {
      return [`it has ${found}`]
    }
    // A rewind of the source takes away what the copy had.
    const least = this.#isAcknowledged ? this.#after : this.#before
    const kept = least.filter(lsn => lsn >= from && this.#after.includes(lsn))
    const lost = kept.filter(lsn => !found.includes(lsn))
    return lost.length > 0 ? [`${lost} is lost`] : []
  }

  async #goesOn(device: SimulatedDevice): Promise<string[]> {
    const replica = await openReplica(device)
    await this.follow(replica, 1 << 20)
    const { end, hash } = replica
    await replica.close()
    const { durableLsn } = this.source
    if (end !== durableLsn) return [`the copy ends at ${end}, the source at ${durableLsn}`]
    return hash === (await this.source.hashAt(end)) ? [] : ['the copy has another hash']
  }
}

/** A device that goes on beside the one that it is made of. */
function copyOf(device: SimulatedDevice): SimulatedDevice {
  const copy = new SimulatedDevice()
  for (const name of device.names()) copy.putFile(name, device.bytesOf(name))
  return copy
}

const UPDATE = ['write second copy', 'sync MANIFEST', 'read MANIFEST', 'write first copy']
const COMMIT = ['write group of segment', 'sync segment']
/** What a chunk begins is made and filled, and counts when the manifest names it. */
const BEGIN = [
  ...['unlink new segment', 'open new segment', 'write zeros of new segment'],
  ...['write header of new segment', 'write group of new segment', 'sync new segment'],
]
/** No segment is made: whose it is, the source decides. What is not used gives way at the end. */
const OPENING = [
  ...['open MANIFEST', 'read MANIFEST', 'open segment', 'read segment', 'sync segment'],
  ...['syncDirectory', 'sync MANIFEST', 'write second copy', 'write first copy', 'list'],
]

const PROCEDURES: readonly Procedure[] = [
  {
    name: 'the first chunk',
    steps: [
      ...['write MANIFEST', 'sync MANIFEST', 'syncDirectory'],
      ...BEGIN,
      ...['write second copy', 'read MANIFEST', 'write first copy'],
    ],
    async make() {
      const pair = await Pair.make(2, 100)
      return pair.scenario(() => pair.follow())
    },
  },
  {
    name: 'groups of a segment, several at once',
    steps: COMMIT,
    async make() {
      const pair = await Pair.make(2, 100)
      await pair.follow()
      await pair.add(4, 6000)
      return pair.scenario(() => pair.follow(pair.replica, 1 << 20))
    },
  },
  {
    name: 'a new segment',
    steps: [...BEGIN, 'syncDirectory', ...UPDATE],
    async make() {
      const pair = await Pair.make(3, LARGE)
      await pair.follow()
      await pair.add(2, LARGE)
      return pair.scenario(() => pair.follow())
    },
  },
  {
    name: 'a rewind of the source',
    steps: [...BEGIN, 'syncDirectory', ...UPDATE, 'unlink segment'],
    async make() {
      const pair = await Pair.make(7, LARGE)
      await pair.follow()
      await pair.source.rewind(pair.lsns[2])
      await pair.add(1, 100)
      return pair.scenario(() => pair.follow())
    },
  },
  {
    name: 'a trim of the source',
    steps: [...COMMIT, ...UPDATE, 'unlink segment'],
    async make() {
      const pair = await Pair.make(7, LARGE)
      await pair.follow()
      await pair.source.trim(pair.lsns[6])
      await pair.add(1, 100)
      return pair.scenario(() => pair.follow())
    },
  },
  {
    name: 'closing',
    steps: UPDATE,
    async make() {
      const pair = await Pair.make(3, 100)
      await pair.follow()
      return pair.scenario(() => pair.replica.close())
    },
  },
  {
    name: 'opening after a kill',
    steps: OPENING,
    async make() {
      const pair = await Pair.make(3, LARGE)
      await pair.follow()
      const killed = pair.device.afterKill()
      return pair.scenario(() => openReplica(killed), killed)
    },
  },
  {
    name: 'opening what was a source and has something prepared',
    steps: OPENING,
    async make() {
      const pair = await Pair.make(3, LARGE)
      await pair.follow()
      await pair.replica.close()
      const heir = await openSimulated(pair.device, QUIET)
      await heir.close()
      return pair.scenario(() => openReplica(pair.device))
    },
  },
]

for (const procedure of PROCEDURES) {
  t.test(procedure.name, async t => {
    const { cuts, cutsOfOpenings, judged, steps, wrong } = await cutEverywhere(procedure)
    t.comment(`${cuts} cuts, ${cutsOfOpenings} of openings, ${judged} different openings judged`)
    t.same(wrong.slice(0, 5), [], `${cuts + cutsOfOpenings} cuts`)
    t.same(steps, procedure.steps, 'cut before each step')
  })
}

/**
 * The power is cut at each operation of each procedure that changes what files there are or what the manifest
 * says, and of the opening that follows; support/crash-steps.ts has what a cut leaves behind. Each row names
 * the steps that its cuts came before: one that is missing, or new, fails it.
 */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import type { Log } from '../../../src/log/log.ts'
import type { LogOptions } from '../../../src/log/options.ts'
import {
  COPY_AT,
  COPY_BYTES,
  decodeManifest,
  MANIFEST_NAME,
} from '../../../src/log/segments/manifest.ts'
import { judgeOfLog } from '../../support/crash-judges.ts'
import { cutEverywhere, type Procedure, type Scenario } from '../../support/crash-steps.ts'
import { Oracle, payloadOf } from '../../support/oracle.ts'
import { openSimulated } from '../../support/simulated.ts'

const LARGE = 13_000
/** Nothing but what a row does itself. */
const QUIET: LogOptions = { idleStampMs: 0, recycledSegments: 0, zeroedSegments: 0 }

/** A log that is open on a device of its own, and all that was appended to it. */
class Started {
  readonly device: SimulatedDevice
  readonly oracle: Oracle
  readonly options: LogOptions
  log!: Log
  readonly lsns: number[] = []
  #id = 1

  constructor(options: LogOptions, device = new SimulatedDevice(), oracle = new Oracle()) {
    this.options = { ...QUIET, ...options }
    this.device = device
    this.oracle = oracle
  }

  async open(): Promise<this> {
    this.log = await openSimulated(this.device, this.options)
    return this
  }

  /** Appends records one by one, each in a group of its own. */
  async add(count: number, bytes = 100): Promise<void> {
    for (let i = 0; i < count; ) {
      if (!this.#tryTake(bytes)) await this.log.drain()
      else {
        await this.flush()
        i++
      }
    }
  }

  /** The same as fast as they are taken, and one flush behind them. */
  async addTogether(count: number, bytes: number): Promise<void> {
    for (let i = 0; i < count; ) {
      if (this.#tryTake(bytes)) i++
      else await this.log.drain()
    }
    await this.flush()
  }

  #tryTake(bytes: number): boolean {
    try {
      this.take(bytes)
      return true
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ERR_RIOLOG_BACKPRESSURE') return false
      throw error
    }
  }

  take(bytes = 100): void {
    const data = payloadOf(this.#id++, bytes)
    const lsn = this.log.append(data)
    this.oracle.appended(lsn, data)
    this.lsns.push(lsn)
  }

  takeBatch(count: number, bytes: number): void {
    const batch = Array.from({ length: count }, () => payloadOf(this.#id++, bytes))
    const lsns = this.log.appendBatch(batch)
    for (const [i, lsn] of lsns.entries()) this.oracle.appended(lsn, batch[i], lsns[0])
    this.lsns.push(...lsns)
  }

  async flush(): Promise<void> {
    const lsns = this.oracle.pendingLsns()
    await this.log.flush()
    for (const lsn of lsns) this.oracle.acknowledged(lsn)
  }

  async trim(lsn: number): Promise<void> {
    this.oracle.trimAsked(lsn)
    await this.log.trim(lsn)
    this.oracle.trimmed(lsn)
  }

  async rewind(lsn: number): Promise<void> {
    this.oracle.rewindAsked(lsn)
    await this.log.rewind(lsn)
    this.oracle.rewound(lsn)
  }

  /** Until nothing is under way any more beside what was waited for. */
  async quiet(): Promise<void> {
    for (let before = -1; before !== this.device.operations && !this.device.isOff; ) {
      before = this.device.operations
      for (let i = 0; i < 12; i++) await new Promise(resolve => setImmediate(resolve))
    }
  }

  /** What is under way beside it belongs to it, too: the next segment, files that are freed. */
  scenario(procedure: () => Promise<unknown>): Scenario {
    const run = async () => {
      await procedure()
      await this.quiet()
    }
    return { device: this.device, judge: judgeOfLog(this.oracle, this.options), run }
  }
}

const started = (options: LogOptions = {}) => new Started(options).open()

/** What the log of `before` is when it is opened next: its process was killed, or it was closed. */
function next(before: Started, device: SimulatedDevice): Started {
  return new Started(before.options, device, before.oracle)
}

/** The floor that both copies of the manifest tell. */
function stampedTo(device: SimulatedDevice): number {
  const bytes = device.bytesOf(MANIFEST_NAME)
  const copies = COPY_AT.map(at => decodeManifest(bytes.subarray(at, at + COPY_BYTES)))
  return Math.min(...copies.map(copy => (copy.kind === 'good' ? copy.manifest.floor : 0)))
}

const UPDATE = ['write second copy', 'sync MANIFEST', 'read MANIFEST', 'write first copy']
const COMMIT = ['write group of segment', 'sync segment']
const ZEROS = ['open new segment', 'write zeros of new segment']
const HEADER = ['write header of new segment', 'sync new segment']
const PREPARE = [...ZEROS, ...HEADER]
/** What is done beside a commit is asked for when its write is. */
const beside = ([write, ...sync]: readonly string[], [first, ...rest]: readonly string[]) => [
  write,
  first,
  ...sync,
  ...rest,
]
/** The files are read, and what the verdict relies upon is synced, before the manifest is told. */
const OPENING = [
  ...['open MANIFEST', 'read MANIFEST', 'list', 'open segment', 'read segment'],
  ...['sync segment', 'syncDirectory', 'sync MANIFEST', 'write second copy', 'write first copy'],
  ...PREPARE,
]

const PROCEDURES: readonly Procedure[] = [
  {
    name: 'create',
    steps: [
      ...['open MANIFEST', 'read MANIFEST', 'list'],
      ...[
        'write MANIFEST',
        'sync MANIFEST',
        'syncDirectory',
        'write second copy',
        'write first copy',
      ],
      ...PREPARE,
    ],
    async make() {
      const one = new Started({})
      return one.scenario(() => one.open())
    },
  },
  {
    name: 'first fork',
    steps: [...COMMIT, 'syncDirectory', ...UPDATE, ...PREPARE],
    async make() {
      const one = await started()
      return one.scenario(() => one.add(2))
    },
  },
  {
    name: 'first fork of a later opening',
    steps: [...COMMIT, 'syncDirectory', ...UPDATE, ...PREPARE],
    async make() {
      const before = await started()
      await before.add(3)
      await before.log.close()
      const one = await next(before, before.device).open()
      return one.scenario(() => one.add(2))
    },
  },
  {
    name: 'rotation',
    steps: [...beside(COMMIT, PREPARE), 'syncDirectory', ...UPDATE, 'write group of new segment'],
    async make() {
      const one = await started()
      await one.add(1)
      return one.scenario(() => one.add(4, LARGE))
    },
  },
  {
    name: 'rotation within a batch of several groups',
    steps: [...COMMIT, ...PREPARE, 'syncDirectory', ...UPDATE],
    async make() {
      const one = await started({ maxGroupBytes: 8192 })
      await one.add(3, LARGE)
      await one.quiet()
      return one.scenario(async () => {
        one.takeBatch(6, 5000)
        await one.flush()
      })
    },
  },
  {
    name: 'rotation into a recycled file',
    steps: [
      ...beside(COMMIT, ['rename segment', ...HEADER]),
      'syncDirectory',
      ...UPDATE,
      'write group of new segment',
    ],
    async make() {
      const one = await started({ recycledSegments: 2 })
      await one.add(7, LARGE)
      await one.quiet()
      await one.trim(one.lsns.at(-1)!)
      await one.add(2, LARGE)
      // Into the spare that is there already, and then into what is recycled.
      return one.scenario(() => one.add(4, LARGE))
    },
  },
  {
    name: 'a file full of zeros behind a burst, and rotation into it',
    steps: [
      ...['sync segment', 'syncDirectory', ...UPDATE],
      ...['open new segment', 'write zeros of segment', 'write zeros of new segment', ...HEADER],
      ...['write group of new segment', 'rename new segment'],
    ],
    async make() {
      const one = await started({ zeroedSegments: 1 })
      await one.add(3, LARGE)
      return one.scenario(async () => {
        for (let i = 0; i < 2; i++) {
          await one.addTogether(9, LARGE)
          await one.quiet()
        }
      })
    },
  },
  {
    name: 'trim',
    steps: [...UPDATE, 'open segment', 'unlink segment'],
    async make() {
      const one = await started({ recycledSegments: 1 })
      await one.add(10, LARGE)
      await one.quiet()
      return one.scenario(() => one.trim(one.lsns[9]))
    },
  },
  {
    // Its link is the trim LSN, and what a trim frees is not walked to: but the floor is still there.
    name: 'rotation behind a trim of all there is',
    steps: [...COMMIT, ...PREPARE, 'syncDirectory', ...UPDATE],
    async make() {
      const one = await started()
      await one.add(3, LARGE)
      await one.quiet()
      await one.trim(one.log.durableLsn)
      return one.scenario(() => one.add(2, LARGE))
    },
  },
  {
    name: 'rewind',
    steps: [
      ...COMMIT,
      'read segment',
      ...PREPARE,
      'syncDirectory',
      'write group of new segment',
      ...UPDATE,
      'unlink segment',
    ],
    async make() {
      const one = await started()
      await one.add(7, LARGE)
      await one.quiet()
      return one.scenario(async () => {
        one.take()
        await one.rewind(one.lsns[2])
        await one.add(1)
      })
    },
  },
  {
    name: 'rewind before the first append of an opening',
    steps: [
      'read segment',
      ...PREPARE,
      'syncDirectory',
      'write group of new segment',
      ...UPDATE,
      'unlink segment',
    ],
    async make() {
      const before = await started()
      await before.add(7, LARGE)
      await before.log.close()
      const one = await next(before, before.device).open()
      return one.scenario(async () => {
        await one.rewind(before.lsns[2])
        await one.add(1)
      })
    },
  },
  {
    name: 'idle stamp',
    steps: [...COMMIT, ...UPDATE],
    async make() {
      const one = await started({ idleStampMs: 1 })
      await one.add(3)
      await one.quiet()
      return one.scenario(async () => {
        await one.add(1)
        while (stampedTo(one.device) < one.log.durableLsn && !one.device.isOff) {
          await new Promise(resolve => setTimeout(resolve, 1))
        }
      })
    },
  },
  {
    name: 'clean close',
    steps: [
      'write zeros of segment',
      'write group of segment',
      'sync segment',
      'write header of segment',
      'unlink segment',
      ...UPDATE,
    ],
    async make() {
      const one = await started()
      await one.add(2)
      return one.scenario(async () => {
        one.take()
        one.take()
        const lsns = one.oracle.pendingLsns()
        await one.log.close()
        for (const lsn of lsns) one.oracle.acknowledged(lsn)
      })
    },
  },
  {
    name: 'clean close of an opening that appended nothing',
    steps: ['unlink segment'],
    async make() {
      const before = await started()
      await before.add(2)
      await before.log.close()
      const one = await next(before, before.device).open()
      return one.scenario(() => one.log.close())
    },
  },
  {
    name: 'opening after a clean close',
    steps: OPENING,
    async make() {
      const before = await started()
      await before.add(5, LARGE)
      await before.log.close()
      const one = next(before, before.device.afterKill())
      return one.scenario(() => one.open())
    },
  },
  {
    name: 'recovery after a kill, with commits on their way',
    steps: OPENING,
    async make() {
      const before = await started()
      await before.add(5, LARGE)
      await before.quiet()
      before.take()
      before.take(LARGE)
      for (let i = 0; i < 4; i++) await new Promise(resolve => setImmediate(resolve))
      const one = next(before, before.device.afterKill())
      return one.scenario(() => one.open())
    },
  },
  {
    name: 'recovery after a power cut in a rotation',
    steps: OPENING,
    async make() {
      const before = await started()
      await before.add(3, LARGE)
      await before.quiet()
      before.take(LARGE)
      before.take(LARGE)
      for (let i = 0; i < 4; i++) await new Promise(resolve => setImmediate(resolve))
      before.device.cutPower()
      let at = 0
      const one = next(
        before,
        before.device.afterPowerCut(() => at++ % 2 === 0),
      )
      return one.scenario(() => one.open())
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

/** Behind a burst that outran them, files full of zeros are made for the next one, when nobody streams. */
import { readdirSync } from 'node:fs'
import t from 'tap'
import type { DiskFile } from '../../../src/disk/disk.ts'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { RiologError, SystemError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../../src/log/options.ts'
import type { Step } from '../../../src/log/segments/segment-file.ts'
import { SegmentMaker } from '../../../src/log/segments/segment-maker.ts'
import { SegmentSupply, type SupplyParts } from '../../../src/log/segments/segment-supply.ts'
import { ZeroedFiles } from '../../../src/log/segments/zeroed-files.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../../support/engines.ts'
import { but, KIB, recordsOf } from '../../support/simulated.ts'

const MIB = 1024 * KIB
const EIO = -5

const turn = () => new Promise(setImmediate)

async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await turn()
}

// ---- how many, and when -----------------------------------------------------------------------

/** Files of three pieces, each written when it may be, for a log that fell behind as often as it is told. */
class Making {
  readonly events: string[] = []
  readonly failures: unknown[] = []
  answers = 0
  isQuiet = true
  failure: unknown
  recycledFiles = 0
  readonly zeroed: ZeroedFiles

  constructor(most: number, segmentSize = 64 * MIB) {
    const recycled = () => this.recycledFiles
    const maker = {
      pooledFiles: 0,
      get recycledFiles() {
        return recycled()
      },
      prepareZeroed: async (_: unknown, step: Step) => {
        for (let piece = 1; piece <= 3; piece++) {
          if ((await step(piece / 3)) !== 'none') throw new Error('a long piece')
          if (this.failure !== undefined) throw this.failure
          this.events.push(`piece ${piece}`)
        }
        maker.pooledFiles++
      },
    }
    this.zeroed = new ZeroedFiles({
      maker: maker as never,
      manifest: { current: { segmentSize } } as never,
      most,
      turn: async () => {
        do await turn()
        while (!this.isQuiet)
      },
      onAnswered: () => this.answers++,
      onFailed: error => this.failures.push(error),
    })
  }

  get files(): number {
    return this.events.filter(event => event === 'piece 3').length
  }

  async falls(times: number): Promise<number> {
    for (let i = 0; i < times; i++) this.zeroed.fellBehind()
    this.zeroed.makeUp()
    await turns()
    return this.files
  }
}

t.test('as many as fell behind, up to the limit, and no more when there are so many', async t => {
  const making = new Making(3)
  t.equal(await making.falls(0), 0)
  t.equal(await making.falls(1), 1)
  t.equal(making.answers, 3, 'a watchdog hears of each piece')
  t.equal(await making.falls(0), 1)
  t.equal(await making.falls(1), 2)
  t.equal(await making.falls(5), 3)
  t.same(making.failures, [])
})

t.test('none where none are wanted, and no more than 256 MiB of them', async t => {
  for (const [most, segmentSize, files] of [
    [0, 64 * MIB, 0],
    [9, 64 * MIB, 4],
    [9, 128 * MIB, 2],
    [9, 512 * MIB, 0],
  ]) {
    t.equal(await new Making(most, segmentSize).falls(10), files, `${segmentSize / MIB} MiB`)
  }
})

t.test('asked for twice, one is made at a time', async t => {
  const making = new Making(2)
  making.zeroed.fellBehind()
  making.zeroed.makeUp()
  t.equal(await making.falls(1), 2)
  const one = ['piece 1', 'piece 2', 'piece 3']
  t.same(making.events, [...one, ...one])
})

t.test('others go first; one that is stopped meanwhile writes nothing more', async t => {
  const making = new Making(2)
  making.isQuiet = false
  t.equal(await making.falls(2), 0)
  t.same(making.events, [])
  making.isQuiet = true
  while (making.events.length < 2) await turn()
  making.zeroed.stop({ poisoned: false })
  await making.zeroed.settled()
  t.ok(making.events.length < 4, `${making.events}`)
  const { length } = making.events
  await turns()
  t.equal(making.events.length, length)
  t.same(making.failures, [], 'that is no failure')
})

t.test(
  'no space for more than is needed: not again, until zeros fall behind once more',
  async t => {
    const making = new Making(2)
    making.failure = new RiologError('ERR_RIOLOG_NO_SPACE', 'full')
    t.equal(await making.falls(2), 0)
    making.failure = undefined
    t.equal(await making.falls(0), 0)
    t.equal(await making.falls(1), 1)
    t.same(making.failures, [])
  },
)

t.test('none for a log that is trimmed meanwhile: it has the files of dead segments', async t => {
  const making = new Making(2)
  for (let round = 0; round < 3; round++) {
    making.recycledFiles++
    t.equal(await making.falls(1), 0)
  }
  t.equal(await making.falls(0), 2, 'until it is not')
})

t.test('any other failure leaves what the disk holds in doubt', async t => {
  const making = new Making(2)
  making.failure = new SystemError(EIO, 'write')
  await making.falls(1)
  t.same(making.failures, [making.failure])
})

// ---- beside what else the supply does ------------------------------------------------------------

/** A supply whose segments all fall behind, unless they come out of the pool; a file for a burst never comes to its end. */
class Supplied {
  isStreaming = false
  isCommitting = false
  /** Bytes that are committed in each pause. */
  committed = 0
  /** Pieces of a file for a burst. */
  pieces = 0
  /** While it is there, a segment is not ready. */
  preparing: Promise<void> | undefined
  readonly #supply: SegmentSupply

  constructor({ isPooled = false, fileBytes = MIB } = {}) {
    let [roomLeft, durableLsn] = [MIB, 0]
    const prepared = { header: { fileBytes }, writtenBytes: fileBytes, file: { close: () => {} } }
    const maker = {
      pooledFiles: 0,
      recycledFiles: 0,
      prepare: async (_manifest: unknown, _parent: unknown, _bytes: number, step: Step) => {
        roomLeft = 0
        await step(isPooled ? 1 : 0.1)
        roomLeft = MIB
        await this.preparing
        return prepared
      },
      prepareZeroed: async (_: unknown, step: Step) => {
        for (;;) {
          await step(0.1)
          this.pieces++
        }
      },
    }
    const parts: Partial<SupplyParts> = {
      maker: maker as never,
      manifest: {
        current: { segmentSize: MIB, alignment: 4 * KIB, floor: 0 },
        update: async () => {},
      } as never,
      zeroedSegments: 1,
      batchBytes: 0,
      durableLsn: () => durableLsn,
      isAwaited: () => false,
      isStreaming: () => this.isStreaming,
      isCommitting: () => this.isCommitting,
      roomLeft: () => roomLeft,
      pause: async () => {
        await turn()
        durableLsn += this.committed
      },
      onReady: () => {},
      onAnswered: () => {},
    }
    this.#supply = new SegmentSupply(parts as SupplyParts)
    this.#supply.nameFromNowOn()
    t.teardown(() => this.#supply.close())
  }

  request(): void {
    this.#supply.request({} as never)
  }

  take(): void {
    this.#supply.take()
  }

  async writes(): Promise<boolean> {
    const before = this.pieces
    await turns()
    return this.pieces > before
  }
}

t.test('only where zeros of a full segment fell behind', async t => {
  for (const [how, expected] of [
    [{}, true],
    [{ isPooled: true }, false],
    [{ fileBytes: MIB / 4 }, false],
  ] as const) {
    const supplied = new Supplied(how)
    t.notOk(await supplied.writes())
    supplied.request()
    t.equal(await supplied.writes(), expected, JSON.stringify(how))
  }
})

t.test('not while somebody streams, nor beside a segment that is prepared', async t => {
  const supplied = new Supplied()
  supplied.request()
  t.ok(await supplied.writes())
  Object.assign(supplied, { isStreaming: true, isCommitting: true })
  await turns(3)
  t.notOk(await supplied.writes())
  supplied.isCommitting = false
  t.ok(await supplied.writes())
  supplied.committed = MIB / 4
  await turns(3)
  t.notOk(await supplied.writes(), 'short commits may be many')
  supplied.committed = 4 * KIB
  t.ok(await supplied.writes())
  let ready = () => {}
  supplied.preparing = new Promise(resolve => (ready = resolve))
  supplied.take()
  supplied.request()
  await turns(3)
  t.notOk(await supplied.writes())
  ready()
  t.ok(await supplied.writes())
})

// ---- in a log ---------------------------------------------------------------------------------

const SEGMENT = 64 * KIB
const payload = (i: number) => Buffer.alloc(13_000, i + 1)

/** A log whose disk tells of files that are made and renamed. */
async function watched(options: LogOptions, device = new SimulatedDevice()) {
  const made: string[] = []
  const renamed: string[] = []
  const simulated = new SimulatedDisk(device)
  const disk = but(simulated, {
    openDirectory: async (...place) => {
      const directory = await simulated.openDirectory(...place)
      return but(directory, {
        open: (name, how, mode) => {
          if (how === 'createNew') made.push(name)
          return directory.open(name, how, mode)
        },
        rename: (file: DiskFile, name: string) => {
          renamed.push(name)
          return directory.rename(file, name)
        },
      })
    },
  })
  const checked = checkOptions({ segmentSize: SEGMENT, recycledSegments: 0, ...options })
  return { log: await Log.openOn(disk, 'zeroed', checked), device, made, renamed }
}

/** So many records, all at once: more than there is room for, so that they wait for the next segment. */
async function burst(log: Log, from: number, to: number): Promise<void> {
  const numbers = Array.from({ length: to - from }, (_, i) => from + i)
  await Promise.all(numbers.map(i => log.appendDurable(payload(i))))
}

async function isWhole(t: Test, log: Log, count: number): Promise<void> {
  const records = await recordsOf(log)
  t.equal(records.length, count)
  t.ok(records.every(({ data }, i) => data.equals(payload(i))))
}

async function pooled(log: Log, count: number): Promise<void> {
  for (let i = 0; i < 200 && log.metrics().pooledSegments < count; i++) await turn()
}

t.test('the next burst finds them, and they become its segments', async t => {
  const { log, device, made, renamed } = await watched({})
  await burst(log, 0, 20)
  await pooled(log, 2)
  t.equal(log.metrics().pooledSegments, 2)
  t.same(renamed, [])
  const before = made.length
  await burst(log, 20, 32)
  t.ok(renamed.length >= 2, `${renamed}`)
  await pooled(log, 2)
  t.equal(log.metrics().pooledSegments, 2, 'and there are as many again')
  t.ok(made.length - before <= renamed.length + 1, 'no file but for those')
  await isWhole(t, log, 32)
  await log.close()
  const again = (await watched({}, device)).log
  await isWhole(t, again, 32)
  await again.close()
})

t.test('none where zeros keep ahead, and none where none are wanted', async t => {
  const slow = await watched({})
  for (let i = 0; i < 20; i++) {
    await slow.log.appendDurable(payload(i))
    await turns(30)
  }
  const unwanted = await watched({ zeroedSegments: 0 })
  await burst(unwanted.log, 0, 20)
  for (const { log } of [slow, unwanted]) {
    t.ok(log.metrics().rotations > 2)
    await turns(200)
    t.equal(log.metrics().pooledSegments, 0)
    await log.close()
  }
})

t.test('the next opening makes segments of them, or takes them away', async t => {
  for (const recycledSegments of [2, 0]) {
    const first = await watched({})
    await burst(first.log, 0, 20)
    await pooled(first.log, 2)
    await first.log.close()
    const segments = () => first.device.names().filter(name => name.endsWith('.seg')).length
    const before = segments()
    const { log } = await watched({ recycledSegments, zeroedSegments: 0 }, first.device)
    await burst(log, 20, 21)
    await turns(100)
    const live = log.info().segments.length
    // One of them has become what is prepared.
    t.equal(log.metrics().pooledSegments, Math.max(0, recycledSegments - 1))
    t.equal(segments(), live + 1 + Math.max(0, recycledSegments - 1), `of ${before}`)
    await isWhole(t, log, 21)
    await log.close()
  }
})

t.test('closed in the middle of one: it is taken away', async t => {
  const { log, device, made } = await watched({})
  await burst(log, 0, 20)
  const live = log.info().segments.length
  while (made.length < live + 2) await turn()
  await log.close()
  // The one that is prepared is named, and stays.
  t.same(
    device.names().filter(name => !made.slice(0, live + 1).includes(name)),
    ['MANIFEST'],
  )
  const again = (await watched({ zeroedSegments: 0 }, device)).log
  await isWhole(t, again, 20)
  await again.close()
})

/** A log that is about to write zeros into such a file, which it does when `hold` is over. */
async function amongZeros(t: Test, hold: Promise<unknown>) {
  const { prepareZeroed } = SegmentMaker.prototype
  t.teardown(() => Object.assign(SegmentMaker.prototype, { prepareZeroed }))
  let isZeroed = false
  SegmentMaker.prototype.prepareZeroed = function (...asked) {
    isZeroed = true
    const preparing = prepareZeroed.apply(this, asked)
    isZeroed = false
    return preparing
  }
  const device = new SimulatedDevice()
  const removed: string[] = []
  let begun: string | undefined
  const simulated = new SimulatedDisk(device)
  const disk = but(simulated, {
    openDirectory: async (...place) => {
      const directory = await simulated.openDirectory(...place)
      return but(directory, {
        unlink: name => {
          removed.push(name)
          return directory.unlink(name)
        },
        open: async (name, how, mode) => {
          const isHeld = isZeroed
          const file = await directory.open(name, how, mode)
          if (!isHeld) return file
          return but(file, {
            async write(...written) {
              begun = name
              await hold
              await file.write(...written)
            },
          })
        },
      })
    },
  })
  const options = { segmentSize: SEGMENT, recycledSegments: 0, idleStampMs: 0 }
  const log = await Log.openOn(disk, 'zeroed', checkOptions(options))
  await burst(log, 0, 20)
  for (let i = 0; i < 200 && begun === undefined; i++) await turn()
  return { log, device, removed, begun }
}

t.test('it is in the pool when nothing is under way to it any more', async t => {
  let goOn = () => {}
  const { log, begun } = await amongZeros(t, new Promise<void>(resolve => (goOn = resolve)))
  t.type(begun, 'string')
  await turns(50)
  t.equal(log.metrics().pooledSegments, 0)
  goOn()
  await pooled(log, 1)
  t.ok(log.metrics().pooledSegments > 0)
  await log.close()
})

t.test('after a poison its file is left as it is; else it is taken away', async t => {
  for (const isPoisoned of [true, false]) {
    let goOn = () => {}
    const hold = new Promise<void>(resolve => (goOn = resolve))
    const { log, device, removed, begun } = await amongZeros(t, hold)
    if (isPoisoned) {
      device.interference = ({ kind }) =>
        kind === 'sync' ? new SystemError(EIO, 'fdatasync') : undefined
      await t.rejects(log.appendDurable(payload(20)), { code: 'ERR_RIOLOG_POISONED' })
    }
    let isClosed = false
    const closes = () => (isClosed = true)
    const closing = log.close().then(closes, closes) // a poisoned log says so again
    await turns()
    t.notOk(isClosed, 'the piece is under way')
    goOn()
    await closing
    t.equal(removed.includes(begun!), !isPoisoned)
  }
})

onEachEngine(t, 'on a real disk', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const options = { engine, segmentSize: SEGMENT, recycledSegments: 0 } as const
  const log = await Log.open(directory, options)
  let count = 0
  const deadline = performance.now() + 20_000
  while (log.metrics().pooledSegments < 2 && performance.now() < deadline) {
    await burst(log, count, count + 20)
    count += 20
    for (let i = 0; i < 50 && log.metrics().pooledSegments < 2; i++) {
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }
  t.equal(log.metrics().pooledSegments, 2)
  await burst(log, count, count + 20)
  await isWhole(t, log, count + 20)
  const live = log.info().segments.length
  await log.close()
  t.ok(readdirSync(directory).filter(name => name.endsWith('.seg')).length <= live + 4)
  const again = await Log.open(directory, options)
  await isWhole(t, again, count + 20)
  await again.close()
})

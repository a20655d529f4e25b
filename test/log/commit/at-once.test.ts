/**
 * Most records are taken without being asked more than whether they fit (`CommitQueue.undisturbed`): what comes between
 * two appends has to be asked about all the same.
 */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../../src/log/options.ts'
import {
  but,
  failingBatch,
  KIB,
  openSimulated,
  recordsOf,
  withFiles,
} from '../../support/simulated.ts'

const turn = () => new Promise<void>(resolve => setImmediate(resolve))
const GROUP = 8 * KIB
const MIB = 1024 * KIB

/** A log whose commits are answered by the test, one after the other. */
async function held(options: LogOptions = {}) {
  const waiting: (() => void)[] = []
  let asked = 0
  const disk = withFiles(new SimulatedDisk(new SimulatedDevice()), file => ({
    commit(...args) {
      asked++
      waiting.push(() => file.commit(...args))
    },
  }))
  const small = { segmentSize: 256 * KIB, maxGroupBytes: GROUP, idleStampMs: 0 }
  const log = await Log.openOn(disk, 'held', checkOptions({ ...small, ...options }))
  const answer = () => waiting.shift()?.()
  const answerAll = async () => {
    for (let i = 0; i < 20; i++) {
      answer()
      await turn()
    }
  }
  return { log, asked: () => asked, answer, answerAll }
}

/** Appends short records until so few bytes are left in the group that a longer one does not fit any more. */
function fillGroup(log: Log): void {
  for (let i = 0; i < Math.floor((GROUP - 64) / 112) - 1; i++) log.append(Buffer.alloc(100, i))
}

t.test('a short record does not overtake one that waits for room', async t => {
  const { log, answerAll } = await held({ segmentSize: 16 * MIB, maxBufferedBytes: 2 * MIB })
  log.append(Buffer.from('first'))
  await turn()
  fillGroup(log)
  const order: string[] = []
  const long = log.appendDurable(Buffer.alloc(1000))
  t.throws(() => log.append(Buffer.from('short')), { code: 'ERR_RIOLOG_BACKPRESSURE' })
  const short = log.appendDurable(Buffer.from('short'))
  long.then(() => order.push('long'))
  short.then(() => order.push('short'))
  await answerAll()
  t.ok((await long) < (await short))
  t.same(order, ['long', 'short'])
  const closing = log.close()
  await answerAll()
  await closing
})

t.test('nor one that came to wait while an append told of the end of the opening', async t => {
  const { log, answerAll } = await held({ segmentSize: 16 * MIB, maxBufferedBytes: 2 * MIB })
  let long: Promise<number> | undefined
  const stop = log.onDurable(() => {
    stop()
    for (let i = 0; i < 2; i++) fillGroup(log)
    long = log.appendDurable(Buffer.alloc(1000))
  })
  const outer = log.append(Buffer.from('it is about to be taken'))
  t.throws(() => log.append(Buffer.from('short')), { code: 'ERR_RIOLOG_BACKPRESSURE' })
  const short = log.appendDurable(Buffer.from('short'))
  await answerAll()
  t.ok(outer < (await long!) && (await long!) < (await short))
  const closing = log.close()
  await answerAll()
  await closing
})

t.test('nothing is taken beside a rewind', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const kept = await log.appendDurable(Buffer.from('kept'))
  const cut = log.append(Buffer.from('dropped'))
  log.append(Buffer.from('dropped, too'))
  const rewinding = log.rewind(cut)
  t.throws(() => log.append(Buffer.from('beside')), { code: 'ERR_RIOLOG_BACKPRESSURE' })
  const behind = log.appendDurable(Buffer.from('behind'))
  await rewinding
  const lsn = await behind
  t.same(await recordsOf(log), [
    { lsn: kept, data: Buffer.from('kept') },
    { lsn, data: Buffer.from('behind') },
  ])
  await log.close()
})

t.test('nothing is taken behind a poison in the same turn', async t => {
  const log = await openSimulated(new SimulatedDevice())
  for (let i = 0; i < 3; i++) log.append(Buffer.from('before'))
  t.match(failingBatch(log), { code: 'ERR_RIOLOG_POISONED' })
  t.throws(() => log.append(Buffer.from('behind')), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.appendDurable(Buffer.from('behind')), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('nothing is added to a group that has been cut', async t => {
  const { log, asked, answerAll } = await held()
  const lsns: number[] = []
  for (let i = 0; i < 5; i++) {
    lsns.push(log.append(Buffer.from(`${i}, a`)), log.append(Buffer.from(`${i}, b`)))
    await turn()
  }
  t.equal(asked(), 1, 'one commit at a time')
  const scanning = recordsOf(log)
  await answerAll()
  t.ok((await scanning).length <= lsns.length)
  t.same(
    (await recordsOf(log)).map(({ lsn, data }) => [lsn, data.toString()]),
    lsns.map((lsn, i) => [lsn, `${i >> 1}, ${'ab'[i & 1]}`]),
  )
  const closing = log.close()
  await answerAll()
  await closing
})

t.test('a group that ran full goes to the disk within the turn', async t => {
  const { log, asked, answerAll } = await held()
  fillGroup(log)
  log.append(Buffer.alloc(1000))
  t.equal(asked(), 0)
  log.append(Buffer.from('the next one sees that the disk has nothing to do'))
  t.equal(asked(), 1)
  const closing = log.close()
  await answerAll()
  await closing
})

t.test('a group that ran full goes to the disk with the first append of a callback', async t => {
  const { log, asked, answer, answerAll } = await held()
  let seen = 0
  log.append(Buffer.from('first'), () => {
    log.append(Buffer.from('within'))
    seen = asked()
  })
  await turn()
  fillGroup(log)
  log.append(Buffer.alloc(1000))
  log.append(Buffer.from('behind it'))
  t.equal(asked(), 1)
  answer()
  for (let i = 0; i < 10; i++) await turn()
  t.equal(seen, 2)
  const closing = log.close()
  await answerAll()
  await closing
})

t.test('a delay is over for those who came meanwhile, too', async t => {
  let over = () => {}
  const pause = () =>
    new Promise<void>(resolve => {
      over = resolve
    })
  const disk = but(new SimulatedDisk(new SimulatedDevice()), { pause })
  const log = await Log.openOn(disk, 'delayed', checkOptions({ maxDelayMs: 1 }))
  const told: Promise<number>[] = []
  for (let i = 0; i < 3; i++) {
    told.push(log.appendDurable(Buffer.from(`${i}`)))
    await turn()
  }
  over()
  t.ok((await told[0]) < (await told[2]))
  t.equal(log.metrics().groups, 1)
  await log.close()
})

const KEYS = { keyId: 1, key: () => Buffer.alloc(32, 7) }
t.test('each record of a turn is compressed and sealed', async t => {
  const written = async (options: LogOptions) => {
    const log = await openSimulated(new SimulatedDevice(), options)
    const lsns = [1, 2, 3, 4].map(i => log.append(Buffer.alloc(1000, i)))
    await log.flush()
    t.same(
      (await recordsOf(log)).map(({ data }) => data[0]),
      [1, 2, 3, 4],
    )
    await log.close()
    return lsns[3] - lsns[0]
  }
  t.equal(await written({}), 3 * 1016)
  t.ok((await written({ compression: 'deflate' })) < 3 * 100)
  t.equal(await written({ encryption: KEYS }), 3 * 1032)
})

t.test('a group takes what fits and not a byte more', async t => {
  const device = new SimulatedDevice()
  const options = { segmentSize: 256 * KIB, maxGroupBytes: GROUP }
  const log = await openSimulated(device, options)
  const lengths = Array.from({ length: 300 }, (_, i) => (i * 7919) % 900)
  const lsns = lengths.map((length, i) => log.append(Buffer.alloc(length, i)))
  await log.flush()
  const found = await recordsOf(log)
  t.same(
    found.map(({ lsn, data }) => [lsn, data.length]),
    lengths.map((length, i) => [lsns[i], length]),
  )
  // The histogram keeps three digits.
  t.ok(log.metrics().bytesPerGroup.max < GROUP * 1.001)
  await log.close()
})

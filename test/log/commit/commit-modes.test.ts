/** The ways to commit: several in flight, RWF_DSYNC, a delay, holding up the thread. */
import t from 'tap'
import { ioError, SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { UringDisk } from '../../../src/disk/uring.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../../src/log/options.ts'
import { IORING_OP_WRITE, RWF_DSYNC } from '../../../src/ring/abi.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from '../../support/engines.ts'
import { but, KIB, openSimulated, recordsOf, withFiles } from '../../support/simulated.ts'

const turn = () => new Promise<void>(resolve => setImmediate(resolve))
const record = (id: number) => Buffer.from(`record ${id}`.padEnd(10 + (id % 90), '.'))

const MODES: readonly LogOptions[] = [
  { sync: 'fdatasync' },
  { sync: 'dsync' },
  { sync: 'fdatasync', commitsInFlight: 4 },
  { sync: 'dsync', commitsInFlight: 4 },
  { sync: 'auto' },
  { maxDelayMs: 1 },
  { overlap: 'always' },
  { busyPoll: 'always' },
  { busyPoll: 'auto', overlap: 'always' },
]

onEachEngine(t, 'each way of committing keeps each record', async (t, engine) => {
  for (const mode of MODES) {
    const path = temporaryDirectory(t)
    const options = { engine, ...mode }
    const log = await Log.open(path, options)
    const lsns: number[] = []
    const callers = Array.from({ length: 8 }, async (_, caller) => {
      for (let i = 0; i < 25; i++) lsns.push(await log.appendDurable(record(caller * 25 + i)))
    })
    for (let i = 0; i < 10; i++) {
      log.append(record(i))
      await turn()
      log.append(record(i))
      t.equal(log.flushSync(), log.durableLsn)
    }
    await Promise.all(callers)
    t.same(
      [...lsns].sort((a, b) => a - b),
      lsns,
      'told in the order of LSNs',
    )
    await log.close()
    const again = await Log.open(path, options)
    t.equal((await recordsOf(again)).length, 8 * 25 + 20, JSON.stringify(mode))
    await again.close()
  }
})

onEachEngine(
  t,
  'flushSync makes durable what is appended, also what is in flight',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine })
    for (let i = 0; i < 50; i++) {
      let told = false
      const inFlight = log.appendDurable(record(i)).then(() => {
        told = true
      })
      await new Promise<void>(resolve => process.nextTick(() => process.nextTick(resolve)))
      const lsn = log.append(record(i))
      t.ok(log.flushSync() > lsn)
      t.equal(told, false, 'promises are settled when the thread is free again')
      await inFlight
    }
    await log.close()
  },
)

t.test('RWF_DSYNC is one SQE', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const disk = new UringDisk()
  const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions({ sync: 'dsync' }))
  await log.appendDurable(record(0))
  disk.queue.binding.setTracing(true)
  await log.appendDurable(record(1))
  const sqes = disk.queue.binding.takeTrace().map(({ opcode, opFlags }) => [opcode, opFlags])
  t.same(sqes, [[IORING_OP_WRITE, RWF_DSYNC]])
  await log.close()
})

t.test('records of several turns share a commit during the delay; a flush ends it', async t => {
  const log = await Log.open(temporaryDirectory(t), { maxDelayMs: 1000 })
  for (let i = 0; i < 10; i++) {
    log.append(record(i))
    await turn()
  }
  await log.flush()
  t.equal(log.metrics().groups, 1)
  t.equal(log.metrics().records, 10)
  await log.appendDurable(record(10))
  t.equal(log.metrics().groups, 2, 'the delay ends by itself, too')
  await log.close()
})

type Done = (error?: Error) => void

/** A log whose commits are answered by the test, and whose delays never end. */
async function held(modes: LogOptions) {
  const commits: Done[] = []
  const holding = withFiles(new SimulatedDisk(new SimulatedDevice()), () => ({
    commit: (...args) => void commits.push(args[5] as Done),
  }))
  const never = { pause: () => new Promise<void>(() => {}) }
  const disk = modes.maxDelayMs === undefined ? holding : but(holding, never)
  const options = checkOptions({ segmentSize: 1024 * KIB, ...modes })
  const log = await Log.openOn(disk, 'held', options)
  const told: number[] = []
  const append = async () => {
    const id = told.length + commits.length
    log.appendDurable(record(id)).then(
      lsn => told.push(lsn),
      () => {},
    )
    await turn()
  }
  return { log, commits, told, append }
}

t.test('a commit counts when all that were in flight beside it came back good', async t => {
  const { log, commits, told, append } = await held({ commitsInFlight: 3 })
  await append()
  const start = log.durableLsn
  for (let i = 0; i < 3; i++) await append()
  t.equal(commits.length, 3, 'no more than the option says')
  commits[1]()
  commits[0]()
  await turn()
  t.equal(log.durableLsn, start, 'the third is still in flight')
  t.equal(commits.length, 4, 'another one follows')
  commits[2]()
  await turn()
  t.equal(told.length, 2, 'the third has the fourth beside it')
  t.ok(log.durableLsn > start)
  commits[3]()
  await turn()
  t.equal(told.length, 4)
  t.same(
    [...told].sort((a, b) => a - b),
    told,
  )
  await log.close()
})

t.test('of commits side by side none counts when one fails', async t => {
  const { log, commits, told, append } = await held({ commitsInFlight: 2 })
  await append()
  await append()
  const start = log.durableLsn
  commits[0]()
  commits[1](ioError())
  await turn()
  t.equal(told.length, 0)
  t.equal(log.durableLsn, start)
  t.throws(() => log.append(record(9)), { code: 'ERR_RIOLOG_POISONED', durableLsn: start })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('a flush ends the delay, and more than the option says is never in flight', async t => {
  const { log, commits, append } = await held({ commitsInFlight: 2, maxDelayMs: 1000 })
  for (let i = 1; i <= 3; i++) {
    await append()
    t.equal(commits.length, Math.min(i - 1, 2), 'the delay never ends')
    log.flush().catch(() => {})
    await turn()
    t.equal(commits.length, Math.min(i, 2))
  }
  for (let i = 0; i < 3; i++) {
    commits[i]()
    await turn()
  }
  t.equal(commits.length, 3)
  await log.close()
})

t.test('groups that ran full go to the disk beside each other, and others one by one', async t => {
  const { log, commits } = await held({ segmentSize: 16 << 20 })
  log.append(record(0))
  await turn()
  log.append(record(1))
  await turn()
  t.equal(commits.length, 1, 'a short one waits for the one in flight')
  commits[0]()
  await turn()
  t.equal(commits.length, 2)
  // One fits into a group: six that ran full, and one that may get company.
  for (let i = 0; i < 7; i++) log.append(Buffer.alloc(520 * KIB, i))
  await turn()
  t.equal(commits.length, 5, 'four at once, with the short one')
  const start = log.durableLsn
  commits[2]()
  commits[3]()
  await turn()
  t.equal(commits.length, 7)
  t.equal(log.durableLsn, start, 'none counts before the one in front')
  commits[1]()
  await turn()
  t.equal(commits.length, 8)
  for (let i = 4; i < 8; i++) {
    t.equal(commits.length, 8, 'the last one waits for all others')
    commits[i]()
    await turn()
  }
  t.equal(commits.length, 9)
  commits[8]()
  await turn()
  t.equal(log.durableLsn, await log.flush())
  await log.close()
})

t.test('a turn that appends for long does not hold back what no record can join', async t => {
  const { log, commits } = await held({ maxGroupBytes: 4 * KIB })
  for (let i = 0; i < 20; i++) log.append(record(i))
  t.equal(commits.length, 0, 'all of them fit into one group, and more may come')
  log.append(Buffer.alloc(4000))
  t.equal(commits.length, 0, 'the long one began another group')
  log.append(record(20))
  t.equal(commits.length, 1, 'and the next one finds the one before closed')
  for (let i = 0; i < 5; i++) log.append(Buffer.alloc(4000))
  t.equal(commits.length, 1, 'one at a time, as ever')
  commits[0]()
  await turn()
  t.equal(commits.length, 2)
  const closing = log.close()
  for (let i = 1; i < 8; i++) {
    await turn()
    commits[i]()
  }
  await closing
  t.equal(commits.length, 8, 'the short record between the long ones is alone, too')
})

/** A disk whose commits throw, once they are told to. */
function throwing() {
  const commits = { throw: false }
  const disk = withFiles(new SimulatedDisk(new SimulatedDevice()), file => ({
    commit: (...args) => {
      if (commits.throw) throw new Error('no such memory')
      file.commit(...args)
    },
  }))
  return { disk, commits }
}

t.test('where that commit throws, the record behind it is refused', async t => {
  const { disk, commits } = throwing()
  for (const how of ['append', 'appendBatch', 'appendDurable'] as const) {
    commits.throw = false
    const options = checkOptions({ segmentSize: 64 * KIB, maxGroupBytes: 4 * KIB })
    const log = await Log.openOn(disk, how, options)
    await log.appendDurable(record(0))
    const durable = log.durableLsn
    const before: unknown[] = []
    log.append(record(1), error => before.push(error))
    log.append(Buffer.alloc(4000), error => before.push(error))
    commits.throw = true
    const last =
      how === 'appendBatch'
        ? () => log.appendBatch([record(2), record(3)])
        : how === 'append'
          ? () => log.append(record(2))
          : () => log.appendDurable(record(2))
    await t.rejects(async () => last(), { code: 'ERR_RIOLOG_POISONED' }, how)
    t.equal(before.length, 2, 'those before are told')
    t.match(before, [{ code: 'ERR_RIOLOG_POISONED' }, { code: 'ERR_RIOLOG_POISONED' }])
    t.equal(log.poison?.durableLsn, durable)
    await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
  }
})

t.test('the groups of a batch are submitted as far as the option goes', async t => {
  const { log, commits } = await held({ commitsInFlight: 2, maxGroupBytes: 4 * KIB })
  const start = log.durableLsn
  const lsns = log.appendBatch(Array.from({ length: 5 }, () => Buffer.alloc(3000, 1)))
  for (let answered = 0; answered < 5; answered++) {
    await turn()
    t.equal(commits.length, Math.min(answered + 2, 5))
    t.ok(log.durableLsn <= Math.max(start, lsns[0]), 'none before all')
    commits[answered]()
  }
  await turn()
  t.ok(log.durableLsn > lsns[4])
  await log.close()
})

t.test('a commit that throws poisons', async t => {
  const { disk, commits } = throwing()
  const log = await Log.openOn(disk, 'throwing', checkOptions({ segmentSize: 64 * KIB }))
  await log.appendDurable(record(0))
  commits.throw = true
  await t.rejects(log.appendDurable(record(1)), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('close after a poison waits for every commit that is in flight', async t => {
  const { log, commits, append } = await held({ commitsInFlight: 3 })
  for (let i = 0; i < 3; i++) await append()
  commits[1](ioError())
  let closed = false
  const closing = log.close().catch(() => {
    closed = true
  })
  await turn()
  commits[0]()
  for (let i = 0; i < 5; i++) await turn()
  t.equal(closed, false)
  commits[2]()
  await closing
  t.equal(closed, true)
})

t.test('flushSync tells of a poison, and of nothing to do', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  t.equal(log.flushSync(), log.durableLsn)
  log.append(record(0))
  t.equal(log.flushSync(), log.durableLsn)
  device.interference = ({ kind }) => (kind === 'sync' ? ioError() : undefined)
  log.append(record(1))
  t.throws(() => log.flushSync(), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('power cuts with several commits in flight lose nothing that was told', async t => {
  for (const mode of MODES.slice(1, 4)) {
    for (let cut = 0; cut < 120; cut++) {
      const device = new SimulatedDevice()
      const log = await openSimulated(device, mode)
      const told: number[] = []
      const origin = device.operations
      device.interference = ({ index }) => {
        if (index === origin + cut) device.cutPower()
        return undefined
      }
      for (let i = 0; i < 25 && !device.isOff; i++) {
        const appended = log.appendDurable(record(i))
        appended.then(
          () => told.push(i),
          () => {},
        )
        await turn()
      }
      for (let i = 0; i < 40 && !device.isOff; i++) await turn()
      let sector = cut
      const next = device.afterPowerCut(() => (sector = (sector * 7919 + 13) % 104729) % 3 > 0)
      const again = await openSimulated(next, mode)
      const found = (await recordsOf(again)).map(({ data }) => data.toString())
      const lost = told.filter(i => found[i] !== record(i).toString())
      if (lost.length > 0) t.fail(`cut ${cut}, ${JSON.stringify(mode)}: lost ${lost}`)
      await again.close()
    }
    t.pass(JSON.stringify(mode))
  }
})

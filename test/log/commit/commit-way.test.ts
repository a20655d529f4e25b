/** `sync` and `busyPoll` `'auto'`: by what commits take, and never what is doubted. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { SyncMode } from '../../../src/disk/disk.ts'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { UringDisk } from '../../../src/disk/uring.ts'
import { CommitWayChoice } from '../../../src/log/commit/commit-way.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_WRITE,
  RWF_DSYNC,
} from '../../../src/ring/abi.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from '../../support/engines.ts'
import { KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const record = (id: number) => Buffer.from(`record ${id}`.padEnd(100, '.'))

type Name = SyncMode | 'fdatasync, polled' | 'dsync, polled'
const nameOf = ({ sync, busyPoll }: { sync: SyncMode; busyPoll: boolean }): Name =>
  busyPoll ? `${sync}, polled` : sync

/** Commits one after the other, of a device on which each way takes its time. */
class Device {
  readonly choice: CommitWayChoice
  readonly ms: Partial<Record<Name, number>>
  bytes = 4 * KIB

  constructor(ms: Partial<Record<Name, number>>, choice = asleep('auto')) {
    this.ms = ms
    this.choice = choice
  }

  /** How many of so many commits took each way. */
  commit(count: number): Partial<Record<Name, number>> {
    const counts: Partial<Record<Name, number>> = {}
    for (let i = 0; i < count; i++) {
      const way = this.choice.next(this.bytes)
      const name = nameOf(way)
      counts[name] = (counts[name] ?? 0) + 1
      this.choice.committed(way, this.bytes, this.ms[name]!)
    }
    return counts
  }

  get way(): Name {
    return nameOf(this.choice.report)
  }

  get measured(): Partial<Record<Name, number>> {
    const { measured = [] } = this.choice.report
    return Object.fromEntries(measured.map(way => [nameOf(way), way.milliseconds]))
  }
}

const asleep = (sync: SyncMode | 'auto', doubt?: string) =>
  new CommitWayChoice({ sync, busyPoll: 'never' }, 'uring', { dsync: doubt })
const inAnyWay = (doubts = {}) =>
  new CommitWayChoice({ sync: 'auto', busyPoll: 'auto' }, 'uring', doubts)

t.test('the faster way is taken, and the other one tried now and then', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.15 })
  t.same(device.commit(64), { fdatasync: 64 }, 'fdatasync at first')
  t.same(device.commit(30), { fdatasync: 15, dsync: 15 }, 'both in turns')
  t.equal(device.way, 'dsync')
  t.same(device.measured, { fdatasync: 0.2, dsync: 0.15 })
  const { fdatasync } = device.commit(100_000)
  t.ok(fdatasync! >= 15 * 15 && fdatasync! <= 15 * 35, `fdatasync ${fdatasync} times`)
  device.ms.fdatasync = 0.1
  device.commit(5000)
  t.equal(device.way, 'fdatasync', 'it has become the faster one')
})

t.test('what is about as fast stays as it is', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.195 })
  device.commit(10_000)
  t.equal(device.way, 'fdatasync')
  device.ms.dsync = 0.1
  device.commit(10_000)
  device.ms.dsync = 0.205
  device.commit(10_000)
  t.equal(device.way, 'dsync')
})

t.test('a way that is not what it was is compared at once', async t => {
  const device = new Device({ fdatasync: 0.5, dsync: 0.2 })
  device.commit(100_000)
  t.equal(device.way, 'dsync')
  // On a slow disk no commit is so slow that it would starve.
  device.ms.dsync = 3
  const { dsync } = device.commit(1000)
  t.equal(dsync, 8 + 15)
  t.equal(device.way, 'fdatasync')
  // All have become slower, as where groups are longer: looked at once, and good for that.
  Object.assign(device.ms, { fdatasync: 1.4, dsync: 3.5 })
  t.same(device.commit(1000), { fdatasync: 985, dsync: 15 })
  // Single slow ones say nothing.
  for (let i = 0; i < 100; i++) {
    device.ms.fdatasync = 5
    t.same(device.commit(7), { fdatasync: 7 })
    device.ms.fdatasync = 1.4
    t.same(device.commit(1), { fdatasync: 1 })
  }
})

t.test('the fastest of four is taken', async t => {
  const ms = { fdatasync: 0.25, dsync: 0.18, 'fdatasync, polled': 0.16, 'dsync, polled': 0.13 }
  const device = new Device(ms, inAnyWay())
  t.same(device.commit(64), { fdatasync: 64 }, 'what depends on the fewest at first')
  t.same(device.commit(60), {
    fdatasync: 15,
    dsync: 15,
    'fdatasync, polled': 15,
    'dsync, polled': 15,
  })
  t.equal(device.way, 'dsync, polled')
  t.same(device.measured, ms)
  const { 'dsync, polled': fastest } = device.commit(100_000)
  t.ok(fastest! > 97_000, `${fastest} of 100,000 commits`)
})

t.test('polling has to be worth its CPU', async t => {
  const device = new Device(
    { fdatasync: 0.2, dsync: 0.3, 'fdatasync, polled': 0.175, 'dsync, polled': 0.3 },
    inAnyWay(),
  )
  device.commit(10_000)
  t.equal(device.way, 'fdatasync', 'an eighth, of which a tenth is its price')
  device.ms['fdatasync, polled'] = 0.165
  device.commit(10_000)
  t.equal(device.way, 'fdatasync, polled')
  device.ms['fdatasync, polled'] = 0.175
  device.commit(10_000)
  t.equal(device.way, 'fdatasync, polled', 'about as good stays')
  device.ms['fdatasync, polled'] = 0.195
  device.commit(10_000)
  t.equal(device.way, 'fdatasync')
})

t.test('single slow commits are a disk that has something to do', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.1 })
  device.commit(1000)
  t.equal(device.way, 'dsync')
  for (let i = 0; i < 20; i++) {
    const way = device.choice.next(device.bytes)
    device.choice.committed(way, device.bytes, 20)
    device.commit(1)
  }
  t.equal(device.way, 'dsync')
})

t.test('a way that starves is left at once', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.1 })
  device.commit(64 + 30)
  t.equal(device.way, 'dsync')
  device.ms.dsync = 4
  t.same(device.commit(50), { fdatasync: 47, dsync: 3 })
  t.equal(device.way, 'fdatasync')
  t.same(device.measured, { fdatasync: 0.2, dsync: 4 })
  const { dsync } = device.commit(100_000)
  t.ok(dsync! <= 3 * 35, `${dsync} commits of 100,000 still find out`)
  device.ms.dsync = 0.1
  device.commit(5000)
  t.equal(device.way, 'dsync', 'and it comes back when it is well')
})

t.test('it starves in the first comparison, too', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 4 })
  const { dsync } = device.commit(1000)
  t.equal(dsync, 3 * 3, 'in three comparisons')
})

t.test('where one starves, the next best is taken', async t => {
  const ms = { fdatasync: 0.25, dsync: 0.18, 'fdatasync, polled': 0.17, 'dsync, polled': 0.13 }
  const device = new Device({ ...ms }, inAnyWay())
  device.commit(64 + 60)
  t.equal(device.way, 'dsync, polled')
  device.ms['dsync, polled'] = 4
  device.ms.dsync = 4
  t.same(device.commit(20), { 'dsync, polled': 3, dsync: 3, 'fdatasync, polled': 14 })
  t.same(device.measured, { ...ms, dsync: 4, 'dsync, polled': 4 })
  device.ms['fdatasync, polled'] = 4
  t.same(device.commit(20), { 'fdatasync, polled': 3, fdatasync: 17 })
  const counts = device.commit(100_000)
  t.ok(counts.fdatasync! > 99_000, `${counts.fdatasync} of 100,000 commits in the one that is left`)
  Object.assign(device.ms, ms)
  device.commit(10_000)
  t.equal(device.way, 'dsync, polled')
})

t.test('slow commits of a slow disk starve nobody', async t => {
  const device = new Device({ fdatasync: 5, dsync: 4 })
  device.commit(1000)
  t.equal(device.way, 'dsync')
})

t.test('large commits are not compared, and stay with fdatasync, asleep', async t => {
  const ms = { fdatasync: 0.2, dsync: 0.18, 'fdatasync, polled': 0.15, 'dsync, polled': 0.1 }
  const device = new Device(ms, inAnyWay())
  device.bytes = 1024 * KIB
  t.same(device.commit(10_000), { fdatasync: 10_000 })
  t.same(device.choice.report, { sync: 'fdatasync', busyPoll: false })
  device.bytes = 4 * KIB
  device.commit(200)
  t.equal(device.way, 'dsync, polled')
  device.bytes = 1024 * KIB
  t.same(device.commit(100), { fdatasync: 100 })
})

t.test('a long transfer in the middle of a comparison says nothing', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.3 })
  for (let i = 0; i < 1000; i++) {
    device.commit(1)
    device.choice.committed(device.choice.next(1024 * KIB), 1024 * KIB, 50)
  }
  t.equal(device.way, 'fdatasync')
  t.same(device.measured, { fdatasync: 0.2, dsync: 0.3 })
})

t.test('what is asked for is done', async t => {
  for (const sync of ['fdatasync', 'dsync'] as const) {
    const device = new Device({ fdatasync: 0.2, dsync: 4 }, asleep(sync, 'doubt'))
    t.equal(device.commit(1000)[sync], 1000)
    t.same(device.choice.report, { sync, busyPoll: false })
  }
  const doubts = { dsync: 'doubt', busyPoll: 'doubt' }
  const polled = new CommitWayChoice({ sync: 'dsync', busyPoll: 'always' }, 'uring', doubts)
  const device = new Device({ 'dsync, polled': 4 }, polled)
  t.same(device.commit(1000), { 'dsync, polled': 1000 })
  t.same(device.choice.report, { sync: 'dsync', busyPoll: true })
})

t.test('each of the two can be asked for alone', async t => {
  const ms = { fdatasync: 0.25, dsync: 0.18, 'fdatasync, polled': 0.16, 'dsync, polled': 0.13 }
  const bySync = new CommitWayChoice({ sync: 'fdatasync', busyPoll: 'auto' }, 'uring')
  const first = new Device(ms, bySync)
  first.commit(1000)
  t.same(first.measured, { fdatasync: 0.25, 'fdatasync, polled': 0.16 })
  const polled = new CommitWayChoice({ sync: 'auto', busyPoll: 'always' }, 'uring')
  const second = new Device(ms, polled)
  second.commit(1000)
  t.same(second.measured, { 'fdatasync, polled': 0.16, 'dsync, polled': 0.13 })
})

t.test('a way that is doubted is not measured', async t => {
  const ms = { fdatasync: 0.2, dsync: 0.01, 'fdatasync, polled': 0.01, 'dsync, polled': 0.01 }
  const doubts = { dsync: 'a file system of a server', busyPoll: 'a quota' }
  const neither = new Device(ms, inAnyWay(doubts))
  t.same(neither.commit(1000), { fdatasync: 1000 })
  t.same(neither.choice.report, {
    sync: 'fdatasync',
    busyPoll: false,
    doubts: ['a file system of a server', 'a quota'],
  })
  const unpolled = new Device(ms, inAnyWay({ busyPoll: 'a quota' }))
  unpolled.commit(1000)
  t.same(unpolled.measured, { fdatasync: 0.2, dsync: 0.01 })
  t.same(unpolled.choice.report.doubts, ['a quota'])
})

t.test('both syncs are tested on a simulated disk, whose runs depend on no time', async t => {
  const simulated = new CommitWayChoice({ sync: 'auto', busyPoll: 'auto' }, 'simulated')
  const device = new Device({ fdatasync: 0.2, dsync: 4 }, simulated)
  t.same(device.commit(1000), { fdatasync: 500, dsync: 500 })
  const log = await openSimulated(new SimulatedDevice(), {})
  for (let i = 0; i < 10; i++) await log.appendDurable(record(i))
  t.equal((await recordsOf(log)).length, 10)
  await log.close()
})

onEachEngine(t, 'a log that has compared says so, and keeps each record', async (t, engine) => {
  const path = temporaryDirectory(t)
  const log = await Log.open(path, { engine, busyPoll: 'auto' })
  const before = log.info().commits
  t.match(before, { sync: 'fdatasync', busyPoll: false })
  for (let i = 0; i < 200; i++) await log.appendDurable(record(i))
  const { measured = [], doubts = [] } = log.info().commits
  t.same(doubts, before.doubts ?? [])
  const isDoubted = (what: RegExp) => doubts.some(doubt => what.test(doubt))
  const syncs = isDoubted(/not known to be kept/) ? 1 : 2
  const polls = isDoubted(/quota/) ? 1 : 2
  t.equal(measured.length, syncs * polls === 1 ? 0 : syncs * polls)
  for (const { milliseconds } of measured) t.ok(milliseconds > 0)
  await log.close()
  const again = await Log.open(path, { engine })
  t.equal((await recordsOf(again)).length, 200)
  await again.close()
})

onEachEngine(t, 'tmpfs is not asked for what it is not known to keep', async (t, engine) => {
  const memory = '/dev/shm'
  if (!existsSync(memory)) return void t.pass('tmpfs', { skip: `there is no ${memory}` })
  const path = mkdtempSync(join(memory, 'riolog-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  const log = await Log.open(path, { engine })
  for (let i = 0; i < 200; i++) await log.appendDurable(record(i))
  const { sync, measured = [], doubts = [] } = log.info().commits
  t.equal(sync, 'fdatasync')
  t.notOk(measured.some(way => way.sync === 'dsync'))
  t.match(doubts[0], /not known to be kept on this file system \(statfs: 0x1021994\)/)
  await log.close()
})

t.test('in a comparison each commit is one or the other', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const disk = new UringDisk()
  const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions({}))
  if (log.info().commits.doubts !== undefined) {
    await log.close()
    return void t.pass('needs ext4 or XFS', { skip: 'the temporary directory is on another one' })
  }
  for (let i = 0; i < 64; i++) await log.appendDurable(record(i))
  disk.queue.binding.setTracing(true)
  for (let i = 0; i < 4; i++) await log.appendDurable(record(i))
  const sqes = disk.queue.binding.takeTrace().map(({ opcode, opFlags }) => [opcode, opFlags])
  const [dsync, write, sync] = [
    [IORING_OP_WRITE, RWF_DSYNC],
    [IORING_OP_WRITE, 0],
    [IORING_OP_FSYNC, IORING_FSYNC_DATASYNC],
  ]
  t.same(sqes, [write, sync, dsync, write, sync, dsync])
  await log.close()
})

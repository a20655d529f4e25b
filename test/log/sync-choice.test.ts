/** `sync: 'auto'`: by what commits take, and never where RWF_DSYNC is not known to be kept. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { SyncMode } from '../../src/disk/disk.ts'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { UringDisk } from '../../src/disk/uring.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions } from '../../src/log/options.ts'
import { SyncChoice } from '../../src/log/sync-choice.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_WRITE,
  RWF_DSYNC,
} from '../../src/ring/abi.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from '../support/engines.ts'
import { KIB, openSimulated, recordsOf } from '../support/simulated.ts'

const record = (id: number) => Buffer.from(`record ${id}`.padEnd(100, '.'))

/** Commits one after the other, of a device on which each way takes its time. */
class Device {
  readonly choice: SyncChoice
  readonly ms: Record<SyncMode, number>
  bytes = 4 * KIB

  constructor(ms: Record<SyncMode, number>, choice = new SyncChoice('auto', 'uring', undefined)) {
    this.ms = ms
    this.choice = choice
  }

  /** How many of so many commits took each way. */
  commit(count: number): Record<SyncMode, number> {
    const counts = { fdatasync: 0, dsync: 0 }
    for (let i = 0; i < count; i++) {
      const mode = this.choice.next(this.bytes)
      counts[mode]++
      this.choice.committed(mode, this.bytes, this.ms[mode])
    }
    return counts
  }
}

t.test('the faster way is taken, and the other one tried now and then', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.15 })
  t.same(device.commit(64), { fdatasync: 64, dsync: 0 }, 'fdatasync at first')
  t.same(device.commit(30), { fdatasync: 15, dsync: 15 }, 'both in turns')
  t.same(device.choice.report, { mode: 'dsync', measured: { fdatasync: 0.2, dsync: 0.15 } })
  const { fdatasync } = device.commit(100_000)
  t.ok(fdatasync >= 15 * 15 && fdatasync <= 15 * 35, `fdatasync ${fdatasync} times`)
  device.ms.fdatasync = 0.1
  device.commit(5000)
  t.equal(device.choice.report.mode, 'fdatasync', 'it has become the faster one')
})

t.test('what is about as fast stays as it is', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.195 })
  device.commit(10_000)
  t.equal(device.choice.report.mode, 'fdatasync')
  device.ms.dsync = 0.1
  device.commit(10_000)
  device.ms.dsync = 0.205
  device.commit(10_000)
  t.equal(device.choice.report.mode, 'dsync')
})

t.test('single slow commits are a disk that has something to do', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.1 })
  device.commit(1000)
  t.equal(device.choice.report.mode, 'dsync')
  for (let i = 0; i < 20; i++) {
    const mode = device.choice.next(device.bytes)
    device.choice.committed(mode, device.bytes, 20)
    device.commit(1)
  }
  t.equal(device.choice.report.mode, 'dsync')
})

t.test('a way that starves is left at once', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.1 })
  device.commit(64 + 30)
  t.equal(device.choice.report.mode, 'dsync')
  device.ms.dsync = 4
  t.same(device.commit(50), { fdatasync: 47, dsync: 3 })
  t.same(device.choice.report, { mode: 'fdatasync', measured: { fdatasync: 0.2, dsync: 4 } })
  const { dsync } = device.commit(100_000)
  t.ok(dsync <= 3 * 35, `${dsync} commits of 100,000 still find out`)
  device.ms.dsync = 0.1
  device.commit(5000)
  t.equal(device.choice.report.mode, 'dsync', 'and it comes back when it is well')
})

t.test('it starves in the first comparison, too', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 4 })
  t.same(device.commit(1000), { fdatasync: 987, dsync: 13 })
})

t.test('slow commits of a slow disk starve nobody', async t => {
  const device = new Device({ fdatasync: 5, dsync: 4 })
  device.commit(1000)
  t.equal(device.choice.report.mode, 'dsync')
})

t.test('large commits are not compared, and stay with fdatasync', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.1 })
  device.bytes = 1024 * KIB
  t.same(device.commit(10_000), { fdatasync: 10_000, dsync: 0 })
  t.same(device.choice.report, { mode: 'fdatasync' })
  device.bytes = 4 * KIB
  device.commit(100)
  t.equal(device.choice.report.mode, 'dsync')
  device.bytes = 1024 * KIB
  t.same(device.commit(100), { fdatasync: 100, dsync: 0 })
})

t.test('a long transfer in the middle of a comparison says nothing', async t => {
  const device = new Device({ fdatasync: 0.2, dsync: 0.3 })
  for (let i = 0; i < 1000; i++) {
    device.commit(1)
    device.choice.committed(device.choice.next(1024 * KIB), 1024 * KIB, 50)
  }
  t.same(device.choice.report, { mode: 'fdatasync', measured: { fdatasync: 0.2, dsync: 0.3 } })
})

t.test('what is asked for is done', async t => {
  for (const mode of ['fdatasync', 'dsync'] as const) {
    const device = new Device({ fdatasync: 0.2, dsync: 4 }, new SyncChoice(mode, 'uring', 'doubt'))
    t.equal(device.commit(1000)[mode], 1000)
    t.same(device.choice.report, { mode })
  }
})

t.test('where the file system may not keep it, it is not measured', async t => {
  const choice = new SyncChoice('auto', 'uring', 'a file system of a server')
  const device = new Device({ fdatasync: 0.2, dsync: 0.01 }, choice)
  t.same(device.commit(1000), { fdatasync: 1000, dsync: 0 })
  t.same(choice.report, { mode: 'fdatasync', reason: 'a file system of a server' })
})

t.test('both ways are tested on a simulated disk, whose runs depend on no time', async t => {
  const device = new Device(
    { fdatasync: 0.2, dsync: 4 },
    new SyncChoice('auto', 'simulated', undefined),
  )
  t.same(device.commit(1000), { fdatasync: 500, dsync: 500 })
  const log = await openSimulated(new SimulatedDevice(), {})
  for (let i = 0; i < 10; i++) await log.appendDurable(record(i))
  t.equal((await recordsOf(log)).length, 10)
  await log.close()
})

onEachEngine(t, 'a log that has compared says so, and keeps each record', async (t, engine) => {
  const path = temporaryDirectory(t)
  const log = await Log.open(path, { engine })
  const before = log.info().sync
  t.equal(before.mode, 'fdatasync')
  for (let i = 0; i < 200; i++) await log.appendDurable(record(i))
  const { measured, reason } = log.info().sync
  if (before.reason === undefined) t.ok(measured!.fdatasync > 0 && measured!.dsync > 0)
  else t.match(reason, /not known to be kept/)
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
  const { mode, measured, reason } = log.info().sync
  t.equal(mode, 'fdatasync')
  t.equal(measured, undefined)
  t.match(reason, /not known to be kept on this file system \(statfs: 0x1021994\)/)
  await log.close()
})

t.test('in a comparison each commit is one or the other', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const disk = new UringDisk()
  const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions({}))
  if (log.info().sync.reason !== undefined) {
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
  t.same(sqes, [dsync, write, sync, dsync, write, sync])
  await log.close()
})

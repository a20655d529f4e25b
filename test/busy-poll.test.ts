/** The event loop is kept awake while a commit is awaited, for a millisecond at most, and serves others meanwhile. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import {
  type BusyPoll,
  EVENT_LOOP_BUSY_POLL,
  EventLoopBusyPoll,
  whyNotBusyPoll,
} from '../src/busy-poll.ts'
import { chooseDisk } from '../src/disk/choose.ts'
import type { Disk } from '../src/disk/disk.ts'
import { ioError, SimulatedDevice, SimulatedDisk } from '../src/disk/simulated.ts'
import { Log } from '../src/log/log.ts'
import { checkOptions, type LogOptions } from '../src/log/options.ts'
import { IORING_OP_NOP } from '../src/ring/abi.ts'
import { Ring } from '../src/ring/index.ts'
import { PlainOperation } from '../src/ring/operation.ts'
import { RequestQueue } from '../src/ring/request-queue.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from './support/engines.ts'
import { but, KIB } from './support/simulated.ts'

const CHILD = fileURLToPath(new URL('support/polling-child.ts', import.meta.url))

/** Milliseconds that the event loop slept meanwhile: libuv counts only what it may wait for. */
async function sleptDuring(work: () => Promise<unknown>): Promise<number> {
  const before = performance.eventLoopUtilization()
  await work()
  return performance.eventLoopUtilization(before).idle
}

/** Asks again: where others have the CPU for all of the time, there is nothing to sleep for when it comes back. */
async function sleeps(): Promise<boolean> {
  for (let i = 0; i < 100; i++) if ((await sleptDuring(() => setTimeout(20))) > 0) return true
  return false
}

/** A timer, not the work of another thread: that is there at once where this one has to wait for its CPU. */
const aWhile = () => setTimeout(2)

const TIMES = 50

/** How many of so many times the loop did not sleep. */
async function awakeIn(work: () => Promise<unknown>): Promise<number> {
  let awake = 0
  for (let i = 0; i < TIMES; i++) if ((await sleptDuring(work)) === 0) awake++
  return awake
}

/** However slow this machine is, what it is asked for comes sooner. */
const patient = new EventLoopBusyPoll(60_000_000)

t.test('while something is awaited the loop does not sleep', async t => {
  const asleep = await awakeIn(() => aWhile())
  t.ok(asleep < TIMES, `without: awake ${asleep} times`)
  const awake = await awakeIn(async () => {
    patient.begin()
    await aWhile()
    patient.end()
  })
  t.equal(awake, TIMES)
  t.ok(await sleeps(), 'and then it sleeps')
})

t.test('as long as one of several is awaited', async t => {
  patient.begin()
  const awake = await awakeIn(async () => {
    patient.begin()
    patient.begin()
    patient.end()
    patient.end()
    await aWhile()
  })
  patient.end()
  t.equal(awake, TIMES)
  const asleep = await awakeIn(() => aWhile())
  t.ok(asleep < TIMES, `awake ${asleep} times`)
})

t.test('each wish counts anew', async t => {
  const limitMs = 100
  const poll = new EventLoopBusyPoll(limitMs * 1000)
  poll.begin()
  const slept = await sleptDuring(async () => {
    const end = performance.now() + 3 * limitMs
    while (performance.now() < end) {
      poll.begin()
      poll.end()
      await aWhile()
    }
  })
  poll.end()
  t.equal(slept, 0)
})

t.test('what never comes keeps nobody awake', async t => {
  EVENT_LOOP_BUSY_POLL.begin()
  t.ok(await sleeps())
  EVENT_LOOP_BUSY_POLL.begin()
  EVENT_LOOP_BUSY_POLL.end()
  EVENT_LOOP_BUSY_POLL.end()
  t.ok(await sleeps())
})

t.test('what is there keeps nobody awake', async t => {
  const awake = await awakeIn(async () => {
    patient.begin()
    patient.end()
    await aWhile()
  })
  t.ok(awake < TIMES, `awake ${awake} times`)
})

t.test('sockets and timers are served meanwhile', async t => {
  const server = createServer(socket => socket.pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1')
  await once(socket, 'connect')
  patient.begin()
  for (let i = 0; i < 20; i++) {
    socket.write(`message ${i}`)
    const [echo] = await once(socket, 'data')
    t.equal(String(echo), `message ${i}`)
  }
  await setTimeout(1)
  patient.end()
  socket.destroy()
  server.close()
  await once(server, 'close')
})

for (const how of ['wait', 'exit', 'worker']) {
  t.test(`a process ends while its loop is awake (${how})`, async t => {
    const { status, signal, stderr } = spawnSync(process.execPath, ['--import=tsx', CHILD, how], {
      timeout: 60_000,
      encoding: 'utf8',
    })
    t.same({ status, signal, stderr }, { status: 0, signal: null, stderr: '' })
  })
}

t.test('a quota of CPU time is a doubt', async t => {
  const groups = (files: Record<string, string>) => whyNotBusyPoll(path => files[path])
  t.equal(groups({}), undefined, 'no cgroups')
  const second = { '/proc/self/cgroup': '0::/a/b\n' }
  t.equal(groups({ ...second, '/sys/fs/cgroup/a/b/cpu.max': 'max 100000\n' }), undefined)
  for (const path of ['/sys/fs/cgroup/a/b', '/sys/fs/cgroup/a', '/sys/fs/cgroup']) {
    const reason = groups({ ...second, [`${path}/cpu.max`]: '50000 100000\n' })
    t.equal(reason, `the CPU time of this process has a quota (${path}/cpu.max)`)
  }
  t.equal(groups({ ...second, '/sys/fs/cgroup/c/cpu.max': '50000 100000\n' }), undefined)
  const first = { '/proc/self/cgroup': '3:memory:/m\n2:cpu,cpuacct:/pod/one\n0::/\n' }
  const quota = (path: string, value: string) =>
    groups({ ...first, [`/sys/fs/cgroup/cpu,cpuacct/${path}cpu.cfs_quota_us`]: value })
  t.equal(quota('pod/one/', '-1\n'), undefined)
  t.match(quota('pod/one/', '50000\n'), /quota .*pod\/one\/cpu\.cfs_quota_us/)
  t.match(quota('', '50000\n'), /quota .*cpu,cpuacct\/cpu\.cfs_quota_us/)
})

/** Counts who is awaited. */
class Counted implements BusyPoll {
  begun = 0
  ended = 0
  begin(): void {
    this.begun++
  }
  end(): void {
    this.ended++
  }
}

async function openCounted(device: SimulatedDevice, options: LogOptions) {
  const busyPoll = new Counted()
  const checked = checkOptions({ segmentSize: 64 * KIB, ...options })
  const disk = but(new SimulatedDisk(device) as Disk, { busyPoll })
  return { busyPoll, log: await Log.openOn(disk, 'simulated', checked) }
}

t.test('each commit is awaited, until it is there', async t => {
  const { log, busyPoll } = await openCounted(new SimulatedDevice(), { busyPoll: 'always' })
  for (let i = 0; i < 50; i++) {
    const durable = log.appendDurable(Buffer.alloc(5 * KIB))
    await durable
    t.equal(busyPoll.ended, busyPoll.begun)
  }
  t.ok(busyPoll.begun >= 50)
  log.append(Buffer.alloc(100))
  log.flushSync()
  t.equal(busyPoll.ended, busyPoll.begun)
  await log.close()
})

t.test('a commit that fails is awaited no longer', async t => {
  const device = new SimulatedDevice()
  const { log, busyPoll } = await openCounted(device, { busyPoll: 'always' })
  await log.appendDurable(Buffer.from('durable'))
  device.interference = ({ kind, name }) =>
    kind === 'write' && name.endsWith('.seg') ? ioError('write') : undefined
  await t.rejects(log.appendDurable(Buffer.from('lost')), { code: 'ERR_RIOLOG_POISONED' })
  t.ok(busyPoll.begun >= 2)
  t.equal(busyPoll.ended, busyPoll.begun)
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('nobody polls who is asked not to', async t => {
  const { log, busyPoll } = await openCounted(new SimulatedDevice(), { busyPoll: 'never' })
  for (let i = 0; i < 10; i++) await log.appendDurable(Buffer.from('record'))
  t.equal(busyPoll.begun, 0)
  await log.close()
})

onEachEngine(t, 'commits and reads are awaited, and nothing else', async (t, engine) => {
  const open = async (options: LogOptions) => {
    const busyPoll = new Counted()
    const disk = but(chooseDisk(engine), { busyPoll })
    const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions(options))
    return { busyPoll, log }
  }
  const { busyPoll, log } = await open({ busyPoll: 'always' })
  const before = busyPoll.begun
  const lsn = await log.appendDurable(Buffer.from('record'))
  t.same([busyPoll.begun, busyPoll.ended], [before + 1, before + 1], 'a commit')
  const read = log.read(lsn)
  t.equal(busyPoll.begun, before + 2, 'a read')
  t.equal(String(await read), 'record')
  await t.rejects(log.read(lsn + 8), { code: 'ERR_RIOLOG_NOT_FOUND' })
  t.equal(busyPoll.ended, busyPoll.begun)
  await log.close()

  const asleep = await open({ busyPoll: 'never' })
  await asleep.log.read(await asleep.log.appendDurable(Buffer.from('record')))
  t.equal(asleep.busyPoll.begun, 0)
  await asleep.log.close()
})

onEachEngine(t, 'behind a commit the loop sleeps', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, busyPoll: 'always' })
  await log.read(await log.appendDurable(Buffer.from('record')))
  t.ok(await sleeps())
  await log.close()
})

t.test('a ring keeps the loop awake while it has something in flight', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const busyPoll = new Counted()
  const queue = new RequestQueue({ depth: 8, cqDepth: 16, busyPoll })
  const nop = () =>
    new Promise<void>(resolve => {
      const operation = new PlainOperation(IORING_OP_NOP)
      operation.settle = () => {
        t.ok(busyPoll.begun > 0)
        resolve()
      }
      queue.push([operation])
      queue.submit()
      t.equal(busyPoll.begun, busyPoll.ended + 1, 'one wish, however many operations')
    })
  await Promise.all([nop(), nop(), nop()])
  t.ok(busyPoll.begun >= 3, 'a new one with each submission')
  t.equal(busyPoll.ended, busyPoll.begun, 'nothing is in flight')
  await queue.close()
})

t.test('and sleeps when that takes long, or is done', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const begins = t.capture(EVENT_LOOP_BUSY_POLL, 'begin', EVENT_LOOP_BUSY_POLL.begin)
  const begunWith = async (busyPoll: boolean) => {
    const ring = Ring.open({ busyPoll })
    const server = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
    const accepted = ring.accept(server)
    t.ok(await sleeps())
    accepted.cancel()
    await t.rejects(accepted, { code: 'ERR_RIOLOG_CANCELED' })
    await server.close()
    await ring.close()
    t.ok(await sleeps())
    return begins().length
  }
  t.ok((await begunWith(true)) > 0)
  t.equal(await begunWith(false), 0)
})

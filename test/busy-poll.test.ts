/** The event loop is kept awake while a commit is awaited, for a millisecond at most, and serves others meanwhile. */
import { spawnSync } from 'node:child_process'
import { pbkdf2 } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { type BusyPoll, EVENT_LOOP_BUSY_POLL, whyNotBusyPoll } from '../src/busy-poll.ts'
import type { Disk } from '../src/disk/disk.ts'
import { ioError, SimulatedDevice, SimulatedDisk } from '../src/disk/simulated.ts'
import { Log } from '../src/log/log.ts'
import { checkOptions, type LogOptions } from '../src/log/options.ts'
import { Ring } from '../src/ring/index.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from './support/engines.ts'
import { but, KIB } from './support/simulated.ts'

const CHILD = fileURLToPath(new URL('support/polling-child.ts', import.meta.url))

/** Milliseconds that the event loop slept meanwhile: libuv counts only what it may wait for. */
async function sleptDuring(work: () => Promise<unknown>): Promise<number> {
  const before = performance.eventLoopUtilization()
  await work()
  return performance.eventLoopUtilization(before).idle
}

const derive = promisify(pbkdf2)
/** Something of another thread, which takes some 200 microseconds and is never there at once. */
const aWhile = () => derive('password', 'salt', 400, 32, 'sha256')

const TIMES = 200

/** How many of so many times the loop did not sleep. */
async function awakeIn(work: () => Promise<unknown>): Promise<number> {
  let awake = 0
  for (let i = 0; i < TIMES; i++) if ((await sleptDuring(work)) === 0) awake++
  return awake
}

// What takes longer than a millisecond is slept through; what is there at once is not slept for.
const HALF = TIMES / 2

t.test('while something is awaited the loop does not sleep', async t => {
  const asleep = await awakeIn(() => aWhile())
  t.ok(asleep < HALF, `without: awake ${asleep} times`)
  const awake = await awakeIn(async () => {
    EVENT_LOOP_BUSY_POLL.begin()
    await aWhile()
    EVENT_LOOP_BUSY_POLL.end()
  })
  t.ok(awake >= HALF, `awake ${awake} times`)
  t.ok((await sleptDuring(() => setTimeout(20))) > 0, 'and then it sleeps')
})

t.test('as long as one of several is awaited', async t => {
  EVENT_LOOP_BUSY_POLL.begin()
  const awake = await awakeIn(async () => {
    EVENT_LOOP_BUSY_POLL.begin()
    EVENT_LOOP_BUSY_POLL.begin()
    EVENT_LOOP_BUSY_POLL.end()
    EVENT_LOOP_BUSY_POLL.end()
    await aWhile()
  })
  EVENT_LOOP_BUSY_POLL.end()
  t.ok(awake >= HALF, `awake ${awake} times`)
  const asleep = await awakeIn(() => aWhile())
  t.ok(asleep < HALF, `awake ${asleep} times`)
})

t.test('what never comes keeps nobody awake', async t => {
  EVENT_LOOP_BUSY_POLL.begin()
  t.ok((await sleptDuring(() => setTimeout(50))) > 0)
  EVENT_LOOP_BUSY_POLL.begin()
  EVENT_LOOP_BUSY_POLL.end()
  EVENT_LOOP_BUSY_POLL.end()
  t.ok((await sleptDuring(() => setTimeout(20))) > 0)
})

t.test('what is there keeps nobody awake', async t => {
  const awake = await awakeIn(async () => {
    EVENT_LOOP_BUSY_POLL.begin()
    EVENT_LOOP_BUSY_POLL.end()
    await aWhile()
  })
  t.ok(awake < HALF, `awake ${awake} times`)
})

t.test('sockets and timers are served meanwhile', async t => {
  const server = createServer(socket => socket.pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1')
  await once(socket, 'connect')
  let polls = true
  const polling = (async () => {
    while (polls) {
      EVENT_LOOP_BUSY_POLL.begin()
      await setTimeout(1)
      EVENT_LOOP_BUSY_POLL.end()
    }
  })()
  for (let i = 0; i < 20; i++) {
    socket.write(`message ${i}`)
    const [echo] = await once(socket, 'data')
    t.equal(String(echo), `message ${i}`)
  }
  polls = false
  await polling
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

onEachEngine(t, 'the loop is awake in commits, or sleeps, as asked', async (t, engine) => {
  const awake = async (busyPoll: 'always' | 'never') => {
    const log = await Log.open(temporaryDirectory(t), { engine, busyPoll })
    const times = await awakeIn(() => log.appendDurable(Buffer.from('record')))
    t.ok((await sleptDuring(() => setTimeout(20))) > 0, 'behind them it sleeps')
    await log.close()
    return times
  }
  const always = await awake('always')
  t.ok(always >= HALF, `always: in ${always} commits of ${TIMES}`)
  const never = await awake('never')
  t.ok(never < HALF, `never: in ${never}`)
})

onEachEngine(t, 'and so it is in reads', async (t, engine) => {
  const awake = async (busyPoll: 'always' | 'never') => {
    const log = await Log.open(temporaryDirectory(t), { engine, busyPoll })
    const lsn = await log.appendDurable(Buffer.from('record'))
    const times = await awakeIn(() => log.read(lsn))
    await log.close()
    return times
  }
  const always = await awake('always')
  t.ok(always >= HALF, `always: in ${always} reads of ${TIMES}`)
  const never = await awake('never')
  t.ok(never < HALF, `never: in ${never}`)
})

t.test('a ring can keep the loop awake while it has something in flight', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const path = join(temporaryDirectory(t), 'file')
  const awake = async (busyPoll: boolean) => {
    await using ring = Ring.open({ busyPoll })
    const flags = constants.O_RDWR | constants.O_CREAT
    const file = await ring.openat(path, { flags })
    const times = await awakeIn(async () => {
      await ring.writeAt(file, Buffer.from('bytes'), 0)
      await ring.fsync(file)
    })
    const server = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
    const accepted = ring.accept(server)
    t.ok((await sleptDuring(() => setTimeout(20))) > 0, 'what never comes is slept for')
    accepted.cancel()
    await t.rejects(accepted, { code: 'ERR_RIOLOG_CANCELED' })
    await server.close()
    await file.close()
    t.ok((await sleptDuring(() => setTimeout(20))) > 0, 'it is idle, and sleeps')
    return times
  }
  const polled = await awake(true)
  t.ok(polled >= HALF, `awake in ${polled} of ${TIMES}`)
  const not = await awake(false)
  t.ok(not < HALF, `without: in ${not}`)
})

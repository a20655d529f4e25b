/** Rings whose submissions a kernel's thread takes (SQPOLL), or whose devices are polled (IOPOLL). */
import { constants, existsSync, fstatSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { IORING_SETUP_IOPOLL, IORING_SETUP_SQPOLL } from '../../../src/ring/abi.ts'
import { IoBuffer, Ring, type RingOptions, type RingProbe } from '../../../src/ring/index.ts'
import type { Test } from '../../support/engines.ts'
import { codeOf, Fifo, openRing, temporaryFile, withRing } from '../support.ts'
import {
  BAD_FD,
  CANCELED,
  chainError,
  contentOf,
  EBADF,
  ECANCELED,
  eventually,
  INVALID,
  notHanging,
  queueOf,
  UNSUPPORTED,
} from './support.ts'

/** The state of this process's threads that poll submission queues. */
function pollingThreads(): { cpus: string; state: string }[] {
  const found = []
  for (const task of readdirSync('/proc/self/task')) {
    try {
      const status = readFileSync(`/proc/self/task/${task}/status`, 'latin1')
      const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? ''
      if (field('Name').startsWith('iou-sqp')) {
        found.push({ cpus: field('Cpus_allowed_list'), state: field('State') })
      }
    } catch {} // it has just ended
  }
  return found
}

/** Its thread's time on the CPU, in clock ticks; -1 when there is none. */
function pollingTicks(): number {
  for (const task of readdirSync('/proc/self/task')) {
    const stat = readFileSync(`/proc/self/task/${task}/stat`, 'latin1')
    if (!stat.includes('(iou-sqp')) continue
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(fields[11]) + Number(fields[12])
  }
  return -1
}

/** A polled ring; a kernel or user that may not have one skips the test. */
function openPolled(t: Test, options: RingOptions): Ring | undefined {
  let ring: Ring
  try {
    ring = Ring.open(options)
  } catch (error) {
    t.pass('polled', { skip: (error as Error).message })
    return undefined
  }
  t.teardown(() => ring.close({ cancel: true }))
  return ring
}

const flagged = ({ setupFlags }: RingProbe, flag: number) => (setupFlags & flag) !== 0

withRing(t, 'SQPOLL: operations, chains and batches through a thread of the kernel', async t => {
  const ring = openPolled(t, { depth: 4, sqPoll: true })
  if (ring === undefined) return
  t.equal(flagged(ring.probe(), IORING_SETUP_SQPOLL), true)
  t.ok(await eventually(() => pollingThreads().length > 0))
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(8)
  for (let i = 0; i < 100; i++) {
    const text = Buffer.from(`round${i}`.padEnd(8))
    const values = await ring.chain().writeAt(fd, text, 0).fsync(fd).readAt(fd, buffer, 0).submit()
    t.same(values, [8, undefined, 8])
    if (Buffer.compare(buffer.bytes, text) !== 0) t.fail('read before it was written')
  }
  const all = Array.from({ length: 200 }, (_, i) => ring.writeAt(fd, Buffer.from([i]), i))
  t.ok(
    (await Promise.all(all)).every(written => written === 1),
    'many more than the queue holds',
  )
  t.same([...Buffer.from(contentOf(fd), 'latin1')], [...Array(200).keys()])
  t.same([...(await ring.batch().fsync(BAD_FD).nop().fsync(fd).submit())], [EBADF, 0, 0])
  const error = await chainError(ring.chain().fsync(BAD_FD).nop().submit())
  t.same(error.results, [EBADF, ECANCELED])
  t.equal(ring.kernelOverflow, 0)
})

withRing(
  t,
  'SQPOLL: a thread that went to sleep is woken, and its idling costs nothing',
  async t => {
    const ring = openPolled(t, { depth: 4, sqPoll: { idleMs: 1 } })
    if (ring === undefined) return
    const fd = temporaryFile(t)
    for (let i = 0; i < 20; i++) {
      const asleep = await eventually(() => pollingThreads()[0]?.state.startsWith('S') === true)
      t.ok(asleep, 'it sleeps')
      if (i % 2 === 0) t.equal(await notHanging(ring.writeAt(fd, Buffer.from('x'), i), `${i}`), 1)
      else t.equal(ring.writeAt(fd, Buffer.from('x'), i).waitSync({ timeoutMs: 10_000 }), 1)
    }
    await delay(20)
    const before = pollingTicks()
    await delay(200)
    t.ok(pollingTicks() - before <= 1, 'asleep, it uses no CPU')
  },
)

withRing(t, 'SQPOLL: the thread is bound to the CPU that was asked for', async t => {
  const allowed = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'))
  const last = Number((allowed?.[1] ?? '0').split(/[,-]/).at(-1))
  const ring = openPolled(t, { depth: 4, sqPoll: { idleMs: 1, cpu: last } })
  if (ring === undefined) return
  await ring.nop()
  // Those of the rings before end a little later than their rings.
  t.ok(await eventually(() => pollingThreads().length === 1))
  t.equal(pollingThreads()[0]?.cpus, String(last))
  await ring.close()
  t.ok(await eventually(() => pollingThreads().length === 0), 'it ends with the ring')
  t.equal(await codeOf(() => Ring.open({ sqPoll: { cpu: 4095 } })), 'ERR_RIOLOG_NO_IO_URING')
  for (const sqPoll of [{ idleMs: -1 }, { idleMs: 0.5 }, { cpu: -2 }, { cpu: Number.NaN }]) {
    t.equal(await codeOf(() => Ring.open({ sqPoll })), INVALID)
  }
})

withRing(t, 'SQPOLL: cancels, deadlines, drains, and a ring that is full', async t => {
  const ring = openPolled(t, { depth: 2, cqDepth: 4, sqPoll: { idleMs: 1 } })
  if (ring === undefined) return
  const fifo = new Fifo(t)
  const { mostInFlight } = ring.probe()
  const reads = Array.from({ length: mostInFlight + 3 }, () =>
    ring.readAt(fifo.fd, new Uint8Array(1), 0),
  )
  await delay(20)
  setImmediate(() => {
    for (const read of reads) read.cancel()
  })
  const codes = Promise.all(reads.map(read => codeOf(() => read)))
  for (const code of await notHanging(codes, 'the cancelled reads')) t.equal(code, CANCELED)
  const late = ring.readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 })
  t.equal(await codeOf(() => late), 'ERR_RIOLOG_TIMEOUT')
  t.equal(await ring.nop({ ordering: 'drain' }), undefined)
  t.equal(ring.inFlight, 0)
})

withRing(t, 'SQPOLL: chains are handed over whole', async t => {
  const ring = openPolled(t, { depth: 4, sqPoll: true })
  if (ring === undefined) return
  const queue = queueOf(ring)
  queue.traceOn()
  const all = []
  for (let i = 0; i < 30; i++) {
    all.push(ring.nop())
    all.push(
      ring
        .chain()
        .timeout(1)
        .fsync(BAD_FD)
        .nop()
        .submit()
        .catch(() => {}),
    )
  }
  await Promise.all(all)
  const trace = queue.takeTrace()
  t.equal(trace.length, 120)
  for (let i = 0; i < trace.length; i += 4) {
    const calls = trace.slice(i + 1, i + 4).map(sqe => sqe.enterCall)
    if (new Set(calls).size !== 1) t.fail(`the chain at ${i + 1}`)
  }
})

// ---- IOPOLL ----

/** A descriptor for direct I/O with 64 KiB of content; undefined where the file system has none. */
async function directFile(t: Test): Promise<number | undefined> {
  let fd: number
  try {
    fd = temporaryFile(t, constants.O_DIRECT)
  } catch {
    return undefined
  }
  const ring = openRing(t)
  const content = IoBuffer.alloc(65536)
  content.bytes.fill(7)
  await ring.writeAt(fd, content, 0)
  await ring.fsync(fd)
  return fd
}

function canPoll(): boolean {
  if (!existsSync('/sys/block')) return false
  return readdirSync('/sys/block').some(device => {
    const path = `/sys/block/${device}/queue/io_poll`
    return existsSync(path) && readFileSync(path, 'utf8').trim() === '1'
  })
}

withRing(t, 'IOPOLL: what cannot be polled is refused by name', async t => {
  const ring = openPolled(t, { depth: 4, ioPoll: true })
  if (ring === undefined) return
  t.equal(flagged(ring.probe(), IORING_SETUP_IOPOLL), true)
  const fd = temporaryFile(t)
  const refused: (() => unknown)[] = [
    () => ring.fsync(fd),
    () => ring.fdatasync(fd),
    () => ring.chain().writeAt(fd, IoBuffer.alloc(4096), 0).fsync(fd),
    () => ring.timeout(1),
    () => ring.poll(fd, 1),
    () => ring.openat('/dev/null'),
    () => ring.statx('/dev/null'),
    () => ring.socket('IPv4', 'stream'),
    () => ring.cancelMatching(),
  ]
  for (const ask of refused) t.equal(await codeOf(ask), UNSUPPORTED, String(ask))
  t.equal(await ring.nop(), undefined)
  t.equal(ring.inFlight, 0)
})

withRing(t, 'IOPOLL: a deadline is refused, and those beside it go on', async t => {
  const ring = openPolled(t, { depth: 4, ioPoll: true })
  if (ring === undefined) return
  const fd = temporaryFile(t)
  const uncaught: string[] = []
  const note = (error: Error) => void uncaught.push(error.message)
  process.prependListener('uncaughtException', note)
  t.teardown(() => process.off('uncaughtException', note))
  const beside = ring.nop()
  const buffer = IoBuffer.alloc(4096)
  const code = await codeOf(() => ring.readAt(fd, buffer, 0, { deadlineMs: 60_000 }))
  t.equal(code, UNSUPPORTED)
  t.equal(await codeOf(() => beside), undefined)
  t.equal(buffer.lent, false)
  await delay(0)
  t.same(uncaught, [])
})

withRing(t, 'IOPOLL: a device that cannot be polled gives an error by code, or reads', async t => {
  const ring = openPolled(t, { depth: 4, ioPoll: true })
  if (ring === undefined) return
  const fd = await directFile(t)
  if (fd === undefined) return void t.pass('O_DIRECT', { skip: 'no direct I/O here' })
  const buffer = IoBuffer.alloc(4096)
  const outcome = await notHanging(
    ring.readAt(fd, buffer, 0).then(String, error => `${error.code} ${error.errnoName}`),
    'the read',
  )
  t.ok(outcome === '4096' || /^ERR_RIOLOG_SYSTEM (ENOTSUP|EOPNOTSUPP)$/.test(outcome), outcome)
  t.equal(buffer.lent, false)
  const plain = temporaryFile(t)
  const buffered = await notHanging(
    codeOf(() => ring.readAt(plain, buffer, 0)),
    'the read',
  )
  t.ok(buffered === undefined || buffered === 'ERR_RIOLOG_SYSTEM', 'a file that is not direct')
  t.equal(ring.inFlight, 0)
})

withRing(t, 'IOPOLL: reads and writes on a device that can be polled', async t => {
  if (!canPoll()) return void t.pass('IOPOLL', { skip: 'no device here has polling queues' })
  const ring = openPolled(t, { depth: 8, ioPoll: true })
  const fd = await directFile(t)
  if (ring === undefined || fd === undefined) return
  const buffers = ring.buffers(16, 4096)
  const first = await ring.readAt(fd, buffers[0], 0).then(
    () => undefined,
    error => error.errnoName,
  )
  if (first !== undefined) return void t.pass('IOPOLL', { skip: `not this device: ${first}` })
  const reads = buffers.map((buffer, i) => ring.readAt(fd, buffer, i * 4096))
  t.ok((await Promise.all(reads)).every(bytes => bytes === 4096))
  t.ok(buffers.every(buffer => buffer.bytes.every(byte => byte === 7)))
  t.equal(ring.readAt(fd, buffers[0], 0).waitSync(), 4096)
})

withRing(t, 'IOPOLL: a handle of such a ring is closed, though the ring has no close', async t => {
  const ring = openPolled(t, { depth: 4, ioPoll: true })
  if (ring === undefined) return
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const { fd } = listening
  await listening.close()
  t.throws(() => fstatSync(fd), { code: 'EBADF' })
  const file = ring.registerFile(temporaryFile(t))
  file.release()
  t.equal(await codeOf(() => ring.readAt(file, new Uint8Array(1), 0)), INVALID)
})

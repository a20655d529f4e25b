/** More than fits: into the queues, into the files that are allowed, and into the limits. */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { codeOf, Fifo, openRing, temporaryFile, withRing } from '../support.ts'
import {
  CANCELED,
  connection,
  contentOf,
  notHanging,
  openDescriptors,
  queueOf,
  runChild,
} from './support.ts'

withRing(t, 'CQ pressure: 100,000 operations at depth 8, each settles once', async t => {
  const ring = openRing(t, { depth: 8, cqDepth: 8 })
  const settled = new Uint8Array(100_000)
  let left = settled.length
  await new Promise<void>(resolve => {
    for (let i = 0; i < settled.length; i++) {
      ring.nop().then(
        () => {
          settled[i]++
          if (--left === 0) resolve()
        },
        error => t.fail(String(error)),
      )
    }
    t.equal(ring.inFlight, settled.length)
  })
  await delay(5)
  t.ok(settled.every(times => times === 1))
  t.equal(ring.inFlight, 0)
  t.equal(ring.kernelOverflow, 0)
})

withRing(t, 'CQ pressure: singles, chains, deadlines, cancels and batches at once', async t => {
  const seed = chooseSeed()
  t.comment(`RIOLOG_SEED=${seed}`)
  const random = new Random(seed)
  const ring = openRing(t, { depth: 4, cqDepth: 8 })
  const fd = temporaryFile(t)
  const fifo = new Fifo(t)
  let settled = 0
  let asked = 0
  const count = (completion: PromiseLike<unknown>) => {
    asked++
    completion.then(
      () => settled++,
      error => {
        settled++
        const { code, cause } = error
        const known = [code, cause?.code].some(
          it => it === CANCELED || it === 'ERR_RIOLOG_TIMEOUT' || it === 'ERR_RIOLOG_SYSTEM',
        )
        if (!known) t.fail(String(error))
      },
    )
  }
  for (let round = 0; round < 3000; round++) {
    const kind = random.int(0, 6)
    if (kind === 0) count(ring.nop())
    if (kind === 1) count(ring.writeAt(fd, Buffer.from('x'), random.int(0, 100)))
    if (kind === 2) count(ring.chain().nop().writeAt(fd, Buffer.from('y'), 0).nop().submit())
    if (kind === 3) count(ring.readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 1 }))
    if (kind === 4) {
      const reading = ring.readAt(fifo.fd, new Uint8Array(1), 0)
      count(reading)
      if (random.chance(0.3)) ring.submitAll()
      reading.cancel()
    }
    if (kind === 5) count(ring.batch().nop().nop().fdatasync(fd).submit())
    if (kind === 6) count(ring.chain().fsync(0x7fffffff).nop().submit())
    if (random.chance(0.02)) await delay(0)
  }
  while (settled < asked && ring.inFlight > 0) await delay(1)
  await delay(20)
  t.equal(settled, asked)
  t.equal(ring.inFlight, 0)
  t.equal(ring.kernelOverflow, 0)
})

withRing(t, 'CQ pressure: the kernel is never given more than the CQ holds', async t => {
  const ring = openRing(t, { depth: 16, cqDepth: 16 })
  const fifo = new Fifo(t)
  const { mostInFlight, cqEntries } = ring.probe()
  t.ok(mostInFlight < cqEntries, 'some entries are kept for cancels')
  const queue = queueOf(ring)
  queue.traceOn()
  const reads = Array.from({ length: 3 * cqEntries }, () =>
    ring.readAt(fifo.fd, new Uint8Array(1), 0),
  )
  await delay(5)
  t.equal(queue.takeTrace().length, mostInFlight)
  fifo.put('x'.repeat(3 * cqEntries))
  t.equal((await Promise.all(reads)).length, 3 * cqEntries)
  t.equal(ring.kernelOverflow, 0)
})

withRing(t, 'waiting for a place submits what is pending, without a turn of the loop', async t => {
  const ring = openRing(t, { depth: 2, cqDepth: 4 })
  const fd = temporaryFile(t)
  const text = 'abcdefghijklmnop'
  const all = [...text].map((letter, i) => ring.writeAt(fd, Buffer.from(letter), i))
  all[all.length - 1].waitSync()
  t.equal(await codeOf(() => Promise.all(all)), undefined)
  t.equal(contentOf(fd), text)
})

withRing(
  t,
  'messages in floods: none is lost, though the CQ of the other ring is small',
  async t => {
    const from = openRing(t, { depth: 64 })
    const to = openRing(t, { depth: 1, cqDepth: 1 })
    if (!from.probe().operations.msg_ring) return void t.pass('older than Linux 5.18')
    const seen = new Uint8Array(2000)
    const inbox = to.messages()
    for (let i = 0; i < seen.length; i++) from.message(to.fd, i, 0xffffffff - i).waitSync()
    for (let i = 0; i < seen.length; i++) {
      const { value } = await notHanging(inbox.next(), `message ${i}`)
      seen[value.value]++
      if (value.data !== 0xffffffff - value.value) t.fail(`data of ${value.value}`)
    }
    t.ok(seen.every(times => times === 1))
    t.equal(to.kernelOverflow, 0)
    await inbox.return?.()
  },
)

withRing(t, 'a deadline counts for one that waits for a place', async t => {
  const ring = Ring.open({ depth: 2, cqDepth: 2 })
  const fifo = new Fifo(t)
  const { mostInFlight } = ring.probe()
  const reads = Array.from({ length: mostInFlight }, () =>
    ring.readAt(fifo.fd, new Uint8Array(1), 0),
  )
  const waiting = ring.readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 })
  const late = await notHanging(
    codeOf(() => waiting),
    'one that waits for a place',
  ).catch(error => error.message)
  fifo.put('x'.repeat(mostInFlight + 1))
  await Promise.all([...reads, codeOf(() => waiting)])
  await ring.close()
  t.equal(late, 'ERR_RIOLOG_TIMEOUT')
})

withRing(t, 'a batch with deadlines at depth 1 is refused whole', async t => {
  const ring = openRing(t, { depth: 1 })
  const fd = temporaryFile(t)
  const buffers = [IoBuffer.alloc(8), IoBuffer.alloc(8)]
  const batch = ring
    .batch()
    .writeAt(fd, buffers[0], 0)
    .writeAt(fd, buffers[1], 8, { deadlineMs: 60_000 })
  const code = await codeOf(() => batch.submit())
  t.ok(code === undefined || code === 'ERR_RIOLOG_CHAIN_TOO_LONG', String(code))
  await ring.nop()
  t.same(
    buffers.map(buffer => buffer.lent),
    [false, false],
  )
  t.equal(contentOf(fd).length, code === undefined ? 16 : 0)
})

withRing(
  t,
  'short read: as many bytes as there are, then none; the rest of it untouched',
  async t => {
    const ring = openRing(t)
    const fd = temporaryFile(t)
    await ring.writeAt(fd, Buffer.alloc(5000, 'a'), 0)
    const buffer = IoBuffer.alloc(8192)
    buffer.bytes.fill(1)
    t.equal(await ring.readAt(fd, buffer, 0), 5000)
    t.ok(buffer.bytes.subarray(0, 5000).every(byte => byte === 97))
    t.ok(buffer.bytes.subarray(5000).every(byte => byte === 1))
    t.equal(await ring.readAt(fd, buffer, 4999), 1)
    t.equal(await ring.readAt(fd, buffer, 5000), 0)
    t.equal(await ring.readAt(fd, buffer, Number.MAX_SAFE_INTEGER - 8192), 0)
    const parts = [new Uint8Array(3), new Uint8Array(4), new Uint8Array(5)]
    t.equal(await ring.readv(fd, parts, 4995), 5)
    t.same([...parts[0], ...parts[1]], [97, 97, 97, 97, 97, 0, 0], 'scattered as far as it came')
  },
)

withRing(t, 'a short read of a socket, and one that asks for all', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  await ring.send(near, Buffer.from('abc'))
  t.equal(await ring.recv(far, new Uint8Array(10)), 3)
  const all = ring.recv(far, new Uint8Array(6), { flags: 0x100 }) // MSG_WAITALL
  await ring.send(near, Buffer.from('abc'))
  await delay(5)
  t.equal(all.isDone, false)
  await ring.send(near, Buffer.from('def'))
  t.equal(await all, 6)
})

withRing(t, 'EFBIG: a write past the limit of file sizes is short, then refused', async t => {
  const { code, stdout, stderr } = await runChild('file-size-limit.ts', [], { limits: '-f 8' })
  t.equal(code, 0, stderr)
  t.same(JSON.parse(stdout || '{}'), {
    short: 2048,
    refused: 'EFBIG',
    chain: { index: 0, results: [-27, -125] },
    shortInChain: { index: 0, results: [96, -125] },
    lent: false,
  })
})

withRing(t, 'a ring that no descriptor is left for says so, and leaves none', async t => {
  const limits = '-n 100'
  const { code, stdout, stderr } = await runChild('no-descriptors.ts', [], { limits })
  t.equal(code, 0, stderr)
  t.same(JSON.parse(stdout || '{}'), {
    ring: 'ERR_RIOLOG_NO_IO_URING',
    open: 'EMFILE',
    accept: 'EMFILE',
    after: true,
  })
})

withRing(t, 'rings come and go without leaving descriptors here', async t => {
  await Ring.open({ depth: 4 }).close()
  const before = openDescriptors()
  for (let i = 0; i < 50; i++) {
    const ring = Ring.open({ depth: 4 })
    const group = ring.bufferGroup(4, 64)
    ring.registerBuffer(IoBuffer.alloc(4096))
    if (i % 2 === 0) group.release()
    await ring.close()
  }
  t.equal(openDescriptors(), before)
})

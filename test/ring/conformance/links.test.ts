/**
 * Chains as a whole: what breaks them and what does not, where they stand among other operations,
 * and who is told what.
 */
import { writeSync } from 'node:fs'
import t from 'tap'
import { IORING_OP_FSYNC, IORING_OP_NOP, IORING_OP_WRITE } from '../../../src/ring/abi.ts'
import { IoBuffer, MSG } from '../../../src/ring/index.ts'
import { Fifo, openRing, temporaryFile, withRing } from '../support.ts'
import {
  BAD_FD,
  chainError,
  connection,
  contentOf,
  EBADF,
  ECANCELED,
  notHanging,
  queueOf,
} from './support.ts'

withRing(t, 'SQ full in mid-chain: real chains and singles mixed at depth 4', async t => {
  const ring = openRing(t, { depth: 4, cqDepth: 256 })
  const fd = temporaryFile(t)
  const queue = queueOf(ring)
  queue.traceOn()
  const all: PromiseLike<unknown>[] = []
  for (let i = 0; i < 50; i++) {
    const text = Buffer.from(String.fromCharCode(33 + i))
    for (let single = 0; single < i % 4; single++) all.push(ring.nop())
    all.push(ring.chain().writeAt(fd, text, i).fdatasync(fd).nop().submit())
  }
  await Promise.all(all)
  const trace = queue.takeTrace()
  let chains = 0
  for (let i = 0; i < trace.length; i++) {
    if (trace[i].opcode !== IORING_OP_WRITE) continue
    const links = trace.slice(i, i + 3)
    t.same(
      links.map(sqe => sqe.opcode),
      [IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_NOP],
    )
    t.equal(new Set(links.map(sqe => sqe.enterCall)).size, 1, `the chain at ${i}`)
    chains++
  }
  t.equal(chains, 50)
  t.equal(contentOf(fd).length, 50)
  t.equal(ring.kernelOverflow, 0)
})

withRing(t, 'a chain of just the depth runs, again and again', async t => {
  const ring = openRing(t, { depth: 16 })
  for (let round = 0; round < 100; round++) {
    const chain = ring.chain<undefined[]>()
    for (let i = 0; i < 16; i++) chain.nop()
    t.equal((await chain.submit()).length, 16)
  }
})

withRing(t, 'link: chains do not wait for each other', async t => {
  const ring = openRing(t, { depth: 16 })
  const fifo = new Fifo(t)
  const stuck = ring.chain().readAt(fifo.fd, new Uint8Array(1), 0).nop().submit()
  t.same(await ring.chain().nop().nop().submit(), [undefined, undefined])
  t.equal(stuck.isDone, false)
  fifo.put('x')
  t.same(await stuck, [1, undefined])
})

withRing(
  t,
  'link: a failure in the middle names its place, and what ran has its result',
  async t => {
    const ring = openRing(t, { depth: 16 })
    const fd = temporaryFile(t)
    for (let place = 0; place < 6; place++) {
      const chain = ring.chain<unknown[]>()
      for (let i = 0; i < 6; i++) {
        if (i === place) chain.fsync(BAD_FD)
        else chain.writeAt(fd, Buffer.from('x'), i)
      }
      const error = await chainError(chain.submit())
      t.equal(error.index, place)
      const results: number[] = Array.from({ length: 6 }, (_, i) => (i < place ? 1 : ECANCELED))
      results[place] = EBADF
      t.same(error.results, results)
    }
  },
)

withRing(t, 'hardlink: a short read does not stop what stands behind it', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'abc')
  const into = new Uint8Array(8)
  const chain = ring.chain({ hard: true }).readAt(fd, into, 0).writeAt(fd, Buffer.from('yes'), 0)
  const error = await chainError(chain.submit())
  t.equal(error.index, 0)
  t.same(error.results, [3, 3])
  t.equal(contentOf(fd), 'yes')
})

withRing(t, 'hardlink: a failure of an operation with a deadline stops nothing', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const chain = ring
    .chain({ hard: true })
    .fsync(BAD_FD, { deadlineMs: 60_000 })
    .writeAt(fd, Buffer.from('yes'), 0)
  const error = await chainError(chain.submit())
  t.same(error.results, [EBADF, 3])
  t.equal(contentOf(fd), 'yes')
})

withRing(t, 'hardlink: a deadline that passes ends its operation, and stops nothing', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const fifo = new Fifo(t)
  const chain = ring
    .chain({ hard: true })
    .readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 })
    .writeAt(fd, Buffer.from('yes'), 0)
  const error = await chainError(chain.submit())
  t.same(error.results, [ECANCELED, 3])
  t.match(error.cause, { code: 'ERR_RIOLOG_TIMEOUT' })
  t.equal(contentOf(fd), 'yes')
})

withRing(t, 'drain within a chain: the chain waits, and runs in order', async t => {
  const ring = openRing(t, { depth: 16 })
  const fifo = new Fifo(t)
  const order: string[] = []
  const reading = ring.readAt(fifo.fd, new Uint8Array(1), 0).then(() => order.push('read'))
  const chain = ring.chain().nop().nop({ ordering: 'drain' }).submit()
  const both = chain.then(() => order.push('chain'))
  const behind = ring.nop().then(() => order.push('behind'))
  await new Promise(resolve => setTimeout(resolve, 20))
  t.same(order, [])
  fifo.put('x')
  await Promise.all([reading, both, behind])
  t.same(order, ['read', 'chain', 'behind'])
})

withRing(t, 'drain: many of them keep the order of all', async t => {
  const ring = openRing(t, { depth: 8 })
  const fd = temporaryFile(t)
  const all: PromiseLike<unknown>[] = []
  for (let i = 0; i < 60; i++) {
    const text = Buffer.from([65 + (i % 26)])
    all.push(ring.writeAt(fd, text, 0, { ordering: 'drain', async: i % 3 === 0 }))
  }
  await Promise.all(all)
  t.equal(contentOf(fd), String.fromCharCode(65 + (59 % 26)), 'the last one was written last')
})

// Bytes that are sent behind a gap make another stream of it: no error that is told later mends that.
withRing(t, 'a chain of sends never sends behind a gap', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const long = IoBuffer.alloc(32 << 20)
  long.bytes.fill(1)
  const chain = ring
    .chain()
    .send(near, long)
    .send(near, Buffer.from([2]))
    .submit()
  const outcome = chain.then(
    () => 'all',
    () => 'broken',
  )
  let received = 0
  let tail = -1
  const into = new Uint8Array(1 << 20)
  // The reader starts late, so that the socket is full and one send takes only a part.
  await new Promise(resolve => setTimeout(resolve, 50))
  for (;;) {
    const reading = ring.recv(far, into, { deadlineMs: 500 })
    const got = await reading.catch(() => 0)
    if (got === 0) break
    const at = into.subarray(0, got).indexOf(2)
    if (at >= 0) tail = received + at
    received += got
  }
  if ((await notHanging(outcome, 'the chain')) === 'all') t.equal(tail, 32 << 20)
  else t.equal(tail, -1, 'a broken chain has sent nothing behind the gap')
})

withRing(t, 'a short splice breaks its chain, and is named', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'abc')
  const fifo = new Fifo(t)
  const splice = () => ring.chain().splice(fd, fifo.fd, 8, { fromOffset: 0 })
  const error = await chainError(splice().nop().submit())
  t.same(error.results, [3, ECANCELED])
  t.equal(error.index, 0)
  const last = await chainError(splice().submit())
  t.equal(last.index, 0, 'also where nothing stands behind it')
})

withRing(t, 'recv in a chain: fewer bytes than there is room for break nothing', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  await ring.send(near, Buffer.from('abc'))
  t.same(await ring.chain().recv(far, new Uint8Array(8)).nop().submit(), [3, undefined])
  await ring.send(near, Buffer.from('abc'))
  const all = ring.chain().recv(far, new Uint8Array(8), { flags: MSG.WAITALL }).nop().submit()
  // Looked at before it can reject.
  const [error] = await Promise.all([chainError(all), ring.shutdown(near, 'write')])
  t.equal(error.index, 0)
  t.same(error.results, [3, ECANCELED], 'with WAITALL they do')
})

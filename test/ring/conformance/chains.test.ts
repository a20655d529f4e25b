/** Links, drains and deadlines: the behaviours that liburing's link, drain and link-timeout tests check. */
import { fstatSync, readFileSync, writeSync } from 'node:fs'
import t from 'tap'
import { IORING_OP_NOP, IOSQE_IO_LINK } from '../../../src/ring/abi.ts'
import { type ChainError, IoBuffer } from '../../../src/ring/index.ts'
import { PlainOperation } from '../../../src/ring/operation.ts'
import { RequestQueue } from '../../../src/ring/request-queue.ts'
import { codeOf, Fifo, openRing, temporaryFile, withRing } from '../support.ts'

const BAD_FD = 0x7fffffff
const EBADF = -9
const ECANCELED = -125

async function chainError(submitted: Promise<unknown>): Promise<ChainError> {
  return submitted.then(
    () => {
      throw new Error('the chain ran to its end')
    },
    error => error,
  )
}

withRing(t, 'link: each runs behind the one before it', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const found = IoBuffer.alloc(8)
  for (let round = 0; round < 200; round++) {
    const text = Buffer.from(`round${round}`.padEnd(8))
    const values = await ring.chain().writeAt(fd, text, 0).fsync(fd).readAt(fd, found, 0).submit()
    t.same(values, [8, undefined, 8])
    if (Buffer.compare(found.bytes, text) !== 0) t.fail('read before it was written')
  }
})

withRing(t, 'link: a head that fails takes all others with it', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const chain = ring.chain().fsync(BAD_FD).writeAt(fd, Buffer.from('no'), 0).nop()
  const error = await chainError(chain.submit())
  t.equal(error.code, 'ERR_RIOLOG_CHAIN_BROKEN')
  t.equal(error.index, 0)
  t.same(error.results, [EBADF, ECANCELED, ECANCELED])
  t.equal(fstatSync(fd).size, 0)
})

withRing(t, 'link: a short head takes all others with it, and its bytes are there', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'abc')
  const into = new Uint8Array(8)
  const error = await chainError(ring.chain().readAt(fd, into, 0).fsync(fd).submit())
  t.equal(error.index, 0)
  t.same(error.results, [3, ECANCELED])
  t.match(error.message, /short: 3 of 8/)
  t.equal(Buffer.from(into).toString('latin1', 0, 3), 'abc')
})

withRing(t, 'hardlink: what stands behind a failure runs all the same, and in order', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const chain = ring.chain({ hard: true }).fsync(BAD_FD).writeAt(fd, Buffer.from('yes'), 0)
  const error = await chainError(chain.submit())
  t.equal(error.index, 0)
  t.same(error.results, [EBADF, 3])
  t.equal(readFileSync(fd, 'utf8'), 'yes')
})

withRing(t, 'a descriptor that a broken chain opened is closed', async t => {
  const ring = openRing(t)
  const before = await ring.openat('/dev/null')
  const free = before.fd
  await before.close()
  const error = await chainError(ring.chain().openat('/dev/null').fsync(BAD_FD).submit())
  t.same(error.results, [free, EBADF])
  const after = await ring.openat('/dev/null')
  t.equal(after.fd, free, 'the number is free again')
  await after.close()
})

withRing(t, 'drain: waits for all before it, and holds back all behind it', async t => {
  const ring = openRing(t, { depth: 16 })
  const fifo = new Fifo(t)
  const order: string[] = []
  const reading = ring.readAt(fifo.fd, new Uint8Array(1), 0).then(() => order.push('read'))
  const drained = ring.nop({ ordering: 'drain' }).then(() => order.push('drain'))
  const behind = ring.nop().then(() => order.push('behind'))
  await new Promise(resolve => setTimeout(resolve, 20))
  t.same(order, [], 'nothing has overtaken the read')
  fifo.put('x')
  await Promise.all([reading, drained, behind])
  t.same(order, ['read', 'drain', 'behind'])
})

withRing(t, 'deadline: an operation that does not end is ended, one that ends is not', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(4)
  const late = ring.readAt(fifo.fd, buffer, 0, { deadlineMs: 5 })
  t.equal(await codeOf(() => late), 'ERR_RIOLOG_TIMEOUT')
  t.equal(buffer.lent, false)
  fifo.put('ab')
  t.equal(await ring.readAt(fifo.fd, buffer, 0, { deadlineMs: 60_000 }), 2)
  t.equal(await codeOf(() => ring.nop({ deadlineMs: 0 })), 'ERR_RIOLOG_INVALID_ARGUMENT')
  // A failure of its own is no timeout.
  t.equal(await codeOf(() => ring.fsync(BAD_FD, { deadlineMs: 60_000 })), 'ERR_RIOLOG_SYSTEM')
})

withRing(t, 'deadline in a chain: it ends its operation, and so the chain', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const fd = temporaryFile(t)
  const chain = ring
    .chain()
    .writeAt(fd, Buffer.from('x'), 0, { deadlineMs: 60_000 })
    .readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 })
    .fsync(fd)
  const error = await chainError(chain.submit())
  t.equal(error.index, 1)
  t.same([error.results[0], error.results[2]], [1, ECANCELED])
  t.match(error.cause, { code: 'ERR_RIOLOG_TIMEOUT' })
  t.same(await ring.chain().timeout(1).nop().submit(), [undefined, undefined], 'no broken chain')
})

withRing(t, 'SQ full in mid-chain: singles and chains mixed, each chain in one enter', async t => {
  const queue = new RequestQueue({ depth: 4, cqDepth: 8 })
  t.teardown(() => queue.close())
  queue.traceOn()
  const lengths = [1, 3, 1, 1, 4, 2, 1, 3, 3, 4, 1, 2]
  let left = lengths.reduce((sum, length) => sum + length, 0)
  const total = left
  await new Promise<void>(resolve => {
    for (const length of lengths) {
      const chain = Array.from({ length }, (_, i) => {
        const nop = new PlainOperation(IORING_OP_NOP)
        nop.sqeFlags = i < length - 1 ? IOSQE_IO_LINK : 0
        nop.settle = result => {
          if (result !== 0) t.fail(`a NOP gave ${result}`)
          if (--left === 0) resolve()
        }
        return nop
      })
      queue.push(chain)
    }
  })
  const trace = queue.takeTrace()
  t.equal(trace.length, total)
  let at = 0
  for (const length of lengths) {
    const calls = new Set(trace.slice(at, at + length).map(sqe => sqe.enterCall))
    t.equal(calls.size, 1, `the chain of ${length} at ${at}`)
    at += length
  }
})

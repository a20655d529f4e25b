/** Cancelling: before, in flight, too late, from elsewhere; each operation settles exactly once. */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { codeOf, Fifo, openRing, withRing } from '../support.ts'

const CANCELED = 'ERR_RIOLOG_CANCELED'

withRing(t, 'cancel: before it is submitted, in flight, and when it is done', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(4)
  const early = ring.readAt(fifo.fd, buffer, 0)
  early.cancel()
  t.equal(await codeOf(() => early), CANCELED)
  t.equal(buffer.lent, false)
  const inFlight = ring.readAt(fifo.fd, buffer, 0)
  await delay(5)
  t.equal(inFlight.isDone, false)
  inFlight.cancel()
  inFlight.cancel()
  t.equal(await codeOf(() => inFlight), CANCELED)
  t.equal(inFlight.isDone, true)
  const done = ring.nop()
  await done
  done.cancel()
  t.equal(await done, undefined)
})

withRing(t, 'cancel: one that waits for a place never runs', async t => {
  const ring = openRing(t, { depth: 1, cqDepth: 2 })
  const fifo = new Fifo(t)
  const { mostInFlight } = ring.probe()
  const reads = Array.from({ length: mostInFlight }, () =>
    ring.readAt(fifo.fd, new Uint8Array(1), 0),
  )
  const waiting = ring.readAt(fifo.fd, new Uint8Array(1), 0)
  await delay(5)
  waiting.cancel()
  t.equal(await codeOf(() => waiting), CANCELED)
  t.equal(ring.inFlight, mostInFlight)
  fifo.put('x'.repeat(mostInFlight))
  t.same(
    await Promise.all(reads),
    reads.map(() => 1),
  )
})

withRing(
  t,
  'a signal cancels; its reason is the cause; aborted before, nothing starts',
  async t => {
    const ring = openRing(t)
    const fifo = new Fifo(t)
    const reason = new Error('enough')
    const aborting = new AbortController()
    const reading = ring.readAt(fifo.fd, new Uint8Array(1), 0, { signal: aborting.signal })
    setTimeout(() => aborting.abort(reason), 5)
    await t.rejects(reading, { code: CANCELED, cause: reason })
    const again = () => ring.readAt(fifo.fd, new Uint8Array(1), 0, { signal: aborting.signal })
    t.throws(again, { code: CANCELED, cause: reason })
    t.equal(ring.inFlight, 0)
    const late = new AbortController()
    t.equal(await ring.nop({ signal: late.signal }), undefined)
    late.abort()
    const chain = ring.chain().nop().readAt(fifo.fd, new Uint8Array(1), 0).nop()
    const chainAbort = new AbortController()
    const running = chain.submit({ signal: chainAbort.signal })
    await delay(5)
    chainAbort.abort(reason)
    await t.rejects(running, {
      code: 'ERR_RIOLOG_CHAIN_BROKEN',
      index: 1,
      cause: { cause: reason },
    })
    t.equal(
      await codeOf(() => ring.chain().nop({ signal: late.signal })),
      CANCELED,
      'an aborted signal is refused wherever it is',
    )
    const fresh = new AbortController()
    t.equal(
      await codeOf(() => ring.chain().nop({ signal: fresh.signal })),
      'ERR_RIOLOG_INVALID_ARGUMENT',
    )
  },
)

withRing(t, 'cancelling races with completing: each settles once, thousands of times', async t => {
  const seed = chooseSeed()
  t.comment(`RIOLOG_SEED=${seed}`)
  const random = new Random(seed)
  const ring = openRing(t, { depth: 64 })
  const fifo = new Fifo(t)
  let canceled = 0
  let read = 0
  for (let round = 0; round < 300; round++) {
    const count = random.int(1, 16)
    const all = Array.from({ length: count }, () => ring.readAt(fifo.fd, new Uint8Array(1), 0))
    const put = random.int(0, count)
    if (random.int(0, 1) === 0) ring.submitAll()
    if (put > 0) fifo.put('x'.repeat(put))
    for (const one of all) if (random.int(0, 2) > 0) one.cancel()
    let got = 0
    const outcomes = all.map(one =>
      one.then(
        bytes => {
          got += bytes
        },
        error => {
          if (error.code !== CANCELED) t.fail(String(error))
          canceled++
        },
      ),
    )
    // Those that nobody cancelled may wait for bytes that went to none: give them some.
    await delay(0)
    for (const one of all) if (!one.isDone) one.cancel()
    await Promise.all(outcomes)
    read += got
    const rest = put - got
    if (rest > 0) {
      const left = new Uint8Array(rest)
      let drained = 0
      while (drained < rest) drained += await ring.readAt(fifo.fd, left.subarray(drained), 0)
    }
    if (ring.inFlight !== 0) t.fail(`${ring.inFlight} left in flight`)
  }
  t.ok(canceled > 0)
  t.ok(read > 0)
  t.equal(ring.kernelOverflow, 0)
})

withRing(t, 'hundreds of cancels at once never overflow a small ring', async t => {
  const ring = openRing(t, { depth: 8, cqDepth: 16 })
  const fifo = new Fifo(t)
  const all = Array.from({ length: 500 }, () => ring.readAt(fifo.fd, new Uint8Array(1), 0))
  await delay(1)
  for (const one of all) one.cancel()
  for (const outcome of await Promise.allSettled(all)) {
    if (outcome.status !== 'rejected' || outcome.reason.code !== CANCELED) t.fail('not cancelled')
  }
  t.equal(ring.kernelOverflow, 0)
  t.equal(ring.inFlight, 0)
})

withRing(t, 'cancelMatching: by descriptor, and all; never those of another ring', async t => {
  const ring = openRing(t, { depth: 32 })
  const other = openRing(t)
  const one = new Fifo(t)
  const two = new Fifo(t)
  const read = (by: Ring, fifo: Fifo) => by.readAt(fifo.fd, new Uint8Array(1), 0)
  const reads = [read(ring, one), read(ring, one), read(ring, two)]
  const elsewhere = read(other, one)
  other.submitAll()
  ring.submitAll()
  const settled = Promise.allSettled(reads)
  if (ring.probe().operations.socket !== true) return void t.pass('older than Linux 5.19')
  t.equal(await ring.cancelMatching({ file: one.fd }), 2)
  t.equal(await codeOf(() => reads[0]), CANCELED)
  t.equal(await codeOf(() => reads[1]), CANCELED)
  t.equal(reads[2].isDone, false)
  t.equal(await ring.cancelMatching(), 1)
  t.equal(await codeOf(() => reads[2]), CANCELED)
  t.equal(await codeOf(() => ring.cancelMatching({ file: one.fd })), undefined, '0 is no failure')
  await delay(5)
  t.equal(elsewhere.isDone, false)
  await settled
  elsewhere.cancel()
  t.equal(await codeOf(() => elsewhere), CANCELED)
})

withRing(t, 'close({ cancel }) ends what would never end', async t => {
  const ring = Ring.open({ depth: 4, cqDepth: 4 })
  const fifo = new Fifo(t)
  const all = Array.from({ length: 20 }, () => ring.readAt(fifo.fd, IoBuffer.alloc(1), 0))
  const settled = Promise.allSettled(all)
  await ring.close({ cancel: true })
  for (const outcome of await settled) t.equal(outcome.status, 'rejected')
})

withRing(t, 'a batch is cancelled as a whole', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffers = [IoBuffer.alloc(1), IoBuffer.alloc(1)]
  const batch = ring.batch()
  for (const buffer of buffers) batch.readAt(fifo.fd, buffer, 0)
  const running = batch.submit()
  await delay(5)
  running.cancel()
  t.same([...(await running)], [-125, -125])
  t.ok(buffers.every(buffer => !buffer.lent))
  fifo.put('ab')
  t.same([...(await batch.submit())], [1, 1], 'and can be submitted again')
})

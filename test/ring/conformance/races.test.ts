/**
 * Cancels that race with completions: whatever wins, every operation is told of exactly once. The
 * counting stands below the promises, which would hide a second telling.
 */
import { readSync, writeSync } from 'node:fs'
import t from 'tap'
import { IORING_OP_NOP, IORING_OP_READ, IOSQE_ASYNC, IOSQE_IO_LINK } from '../../../src/ring/abi.ts'
import { IoBuffer } from '../../../src/ring/index.ts'
import { PlainOperation } from '../../../src/ring/operation.ts'
import { RequestQueue } from '../../../src/ring/request-queue.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { codeOf, Fifo, openRing, withRing } from '../support.ts'
import { CANCELED, ECANCELED, notHanging } from './support.ts'

class Counted extends PlainOperation {
  told = 0
  result = 0
}

function operation(opcode: number, onTold: () => void): Counted {
  const made = new Counted(opcode)
  made.settle = result => {
    made.told++
    made.result = result
    onTold()
  }
  return made
}

withRing(t, 'cancel against completion: each is told once, over thousands of rounds', async t => {
  const seed = chooseSeed()
  t.comment(`RIOLOG_SEED=${seed}`)
  const random = new Random(seed)
  const queue = new RequestQueue({ depth: 8, cqDepth: 16 })
  t.teardown(() => queue.close())
  const fifo = new Fifo(t)
  const buffers = Array.from({ length: 24 }, () => IoBuffer.alloc(1))
  const all: Counted[] = []
  let left = 0
  let onIdle = () => {}
  const onTold = () => {
    if (--left === 0) onIdle()
  }
  const drained = Buffer.alloc(64)
  let canceled = 0
  let completed = 0
  for (let round = 0; round < 4000; round++) {
    const idle = new Promise<void>(resolve => {
      onIdle = resolve
    })
    const count = random.int(1, 24) // more than there is room for: some wait
    const now: Counted[] = []
    left = count
    for (let i = 0; i < count; i++) {
      const reads = random.chance(0.6)
      const one = operation(reads ? IORING_OP_READ : IORING_OP_NOP, onTold)
      if (reads) {
        one.fd = fifo.fd
        one.memory = buffers[i].memoryId
        one.length = 1
      }
      if (random.chance(0.3)) one.sqeFlags |= IOSQE_ASYNC
      now.push(one)
    }
    for (let i = 0; i < count; ) {
      const chain = now.slice(i, i + random.int(1, 4))
      for (const one of chain.slice(0, -1)) one.sqeFlags |= IOSQE_IO_LINK
      queue.push(chain)
      i += chain.length
      if (random.chance(0.2)) queue.submit()
    }
    // Bytes for some of the reads, before, among and after the cancels.
    let put = random.int(0, 4)
    if (put > 0 && random.chance(0.5)) {
      writeSync(fifo.fd, 'x'.repeat(put))
      put = 0
    }
    for (const one of now) if (random.chance(0.5)) queue.cancel(one)
    if (put > 0) writeSync(fifo.fd, 'x'.repeat(put))
    if (random.chance(0.3)) queue.reap()
    for (const one of now) if (one.told === 0) queue.cancel(one)
    if (left > 0) await notHanging(idle, `round ${round}`)
    for (const one of now) {
      if (one.told !== 1) t.fail(`told ${one.told} times in round ${round}`)
      if (one.result === ECANCELED) canceled++
      else completed++
    }
    all.push(...now)
    // What nobody read is taken out, so that the next round begins with an empty pipe.
    writeSync(fifo.fd, 'x')
    readSync(fifo.fd, drained)
    if (queue.inFlight !== 0) t.fail(`${queue.inFlight} in flight after round ${round}`)
  }
  await new Promise(resolve => setTimeout(resolve, 20))
  t.ok(
    all.every(one => one.told === 1),
    'nor is any told of later',
  )
  t.ok(canceled > 1000, `${canceled} canceled`)
  t.ok(completed > 1000, `${completed} completed`)
  t.equal(queue.kernelOverflow, 0)
})

withRing(t, 'cancels never touch the operations of another ring', async t => {
  const [mine, other] = [openRing(t, { depth: 16 }), openRing(t, { depth: 16 })]
  const fifo = new Fifo(t)
  const reads = Array.from({ length: 8 }, () => other.readAt(fifo.fd, new Uint8Array(1), 0))
  other.submitAll()
  // The same slots, descriptors and opcodes, so that a cancel could take one for the other.
  for (let round = 0; round < 50; round++) {
    const same = Array.from({ length: 8 }, () => mine.readAt(fifo.fd, new Uint8Array(1), 0))
    if (round % 2 === 0) mine.submitAll()
    for (const one of same) one.cancel()
    for (const outcome of await Promise.allSettled(same)) {
      t.equal(outcome.status === 'rejected' && outcome.reason.code, CANCELED)
    }
    if (mine.probe().operations.socket) await mine.cancelMatching({ file: fifo.fd })
  }
  await mine.close({ cancel: true })
  await other.nop()
  t.ok(reads.every(read => !read.isDone))
  fifo.put('x'.repeat(8))
  t.same(await Promise.all(reads), Array(8).fill(1))
})

// The kernel does not find an operation that waits behind a drain or a link: a cancel is not lost.
withRing(
  t,
  'a cancel that comes before the kernel knows the operation reaches it later',
  async t => {
    const ring = openRing(t, { depth: 16 })
    const [first, second] = [new Fifo(t), new Fifo(t)]
    const before = ring.readAt(first.fd, new Uint8Array(1), 0)
    const drained = ring.readAt(second.fd, new Uint8Array(1), 0, { ordering: 'drain' })
    ring.submitAll()
    drained.cancel()
    first.put('x')
    t.equal(await before, 1)
    const code = await notHanging(
      codeOf(() => drained),
      'the one behind the drain',
    )
    t.equal(code, CANCELED)
    t.equal(ring.inFlight, 0)
  },
)

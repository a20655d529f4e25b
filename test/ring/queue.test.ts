/** How operations wait, keep together and settle; and how a ring is closed. */
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { IORING_OP_NOP, IORING_OP_READ, IOSQE_IO_LINK } from '../../src/ring/abi.ts'
import { IoBuffer, Ring } from '../../src/ring/index.ts'
import { type Operation, PlainOperation } from '../../src/ring/operation.ts'
import { RequestQueue } from '../../src/ring/request-queue.ts'
import { codeOf, Fifo, openRing, temporaryFile, withRing } from './support.ts'

const CLOSED = 'ERR_RIOLOG_CLOSED'

function nop(sqeFlags: number, settle: (result: number) => void): Operation {
  const operation = new PlainOperation(IORING_OP_NOP)
  operation.sqeFlags = sqeFlags
  operation.settle = settle
  return operation
}

withRing(t, '100,000 operations through 8 depth: each settles, none overflows', async t => {
  const queue = new RequestQueue({ depth: 8, cqDepth: 16 })
  t.teardown(() => queue.close())
  const settled = new Uint8Array(100_000)
  const started = Date.now()
  await new Promise<void>(resolve => {
    let left = settled.length
    for (let i = 0; i < settled.length; i++) {
      const count = (result: number) => {
        if (result === 0) settled[i]++
        if (--left === 0) resolve()
      }
      queue.push([nop(0, count)])
    }
    t.equal(queue.inFlight, settled.length)
  })
  t.ok(settled.every(times => times === 1))
  t.equal(queue.inFlight, 0)
  t.equal(queue.kernelOverflow, 0)
  t.ok(Date.now() - started < 20_000, 'the time does not grow with the square of their number')
})

for (const when of ['with the call that submits them', 'later']) {
  const name = `reads that complete together, ${when}: the first callers go on before others are told`
  withRing(t, name, async t => {
    const queue = new RequestQueue({ depth: 64, cqDepth: 128 })
    t.teardown(() => queue.close())
    const fifo = new Fifo(t)
    const buffer = IoBuffer.alloc(1)
    const read = () =>
      new Promise<number>(resolve => {
        const operation = new PlainOperation(IORING_OP_READ)
        operation.fd = fifo.fd
        operation.length = 1
        operation.memory = buffer.memoryId
        operation.settle = resolve
        queue.pushOne(operation)
      })
    queue.traceOn()
    const caller = async () => {
      t.equal(await read(), 1)
      t.equal(await read(), 1)
    }
    if (when !== 'later') fifo.put('.'.repeat(32))
    const callers = Array.from({ length: 16 }, caller)
    if (when === 'later') {
      await new Promise(resolve => setImmediate(resolve))
      fifo.put('.'.repeat(32))
    }
    await Promise.all(callers)
    const calls = new Map<number, number>()
    for (const { enterCall } of queue.takeTrace()) {
      calls.set(enterCall, (calls.get(enterCall) ?? 0) + 1)
    }
    const [first, ...others] = calls.values()
    t.equal(first, 16)
    // Not one call when the last has been told: the device would have nothing to do till then.
    t.ok(
      others.every(reads => reads <= 4),
      `then ${others}`,
    )
  })
}

withRing(t, 'a chain goes to the kernel in one enter, whatever stands before it', async t => {
  const queue = new RequestQueue({ depth: 4, cqDepth: 8 })
  t.teardown(() => queue.close())
  queue.traceOn()
  const order: string[] = []
  const chain = (name: string, length: number) =>
    queue.push(
      Array.from({ length }, (_, i) => {
        const flags = i < length - 1 ? IOSQE_IO_LINK : 0
        return nop(flags, result => order.push(`${name}${i}:${result}`))
      }),
    )
  chain('a', 3)
  chain('b', 3)
  chain('c', 1)
  chain('d', 4)
  while (queue.inFlight > 0) await delay(1)
  for (const wanted of ['a0:0 a1:0 a2:0', 'b0:0 b1:0 b2:0', 'c0:0', 'd0:0 d1:0 d2:0 d3:0']) {
    t.equal(order.filter(entry => entry[0] === wanted[0]).join(' '), wanted)
  }
  const calls = queue.takeTrace().map(sqe => sqe.enterCall)
  t.equal(calls.length, 11)
  for (const [from, to] of [
    [0, 3],
    [3, 6],
    [7, 11],
  ]) {
    t.equal(new Set(calls.slice(from, to)).size, 1, `operations ${from} to ${to - 1}`)
  }
})

withRing(t, 'more than the completion queue holds wait for a place', async t => {
  const ring = openRing(t, { depth: 2, cqDepth: 4 })
  const fifo = new Fifo(t)
  const reads = Array.from({ length: 10 }, () => ring.readAt(fifo.fd, new Uint8Array(1), 0))
  t.equal(ring.inFlight, 10, 'those that wait are counted')
  await delay(20)
  t.equal(ring.inFlight, 10)
  fifo.put('0123456789')
  t.same(await Promise.all(reads), new Array(10).fill(1))
  t.equal(ring.inFlight, 0)
})

withRing(t, 'a chain that waits for places is not overtaken', async t => {
  const ring = openRing(t, { depth: 4, cqDepth: 4 })
  const fifo = new Fifo(t)
  const order: string[] = []
  const busy = ring.probe().mostInFlight - 3
  const reading = Array.from({ length: busy }, () => ring.readAt(fifo.fd, new Uint8Array(1), 0))
  const chain = ring.chain().nop().nop().nop().nop().submit()
  const all = [chain.then(() => order.push('chain'))]
  for (let i = 0; i < 3; i++) all.push(ring.nop().then(() => order.push('single')))
  await delay(20)
  t.same(order, [], 'all wait behind the chain, which needs one place more than there is')
  fifo.put('x'.repeat(busy))
  await Promise.all([...reading, ...all])
  t.same(order, ['chain', 'single', 'single', 'single'])
})

withRing(t, 'submitAll hands over at once what was asked for', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(4096)
  const written = ring.writeAt(fd, buffer, 0)
  ring.submitAll()
  ring.submitAll()
  t.equal(ring.inFlight, 1)
  t.equal(await written, 4096)
})

withRing(t, 'what one callback throws does not keep the others from being told', async t => {
  const queue = new RequestQueue({ depth: 8, cqDepth: 16 })
  t.teardown(() => queue.close())
  const told: number[] = []
  const uncaught = new Promise<Error>(resolve => {
    process.once('uncaughtException', resolve)
  })
  queue.push([nop(0, () => told.push(0))])
  queue.push([
    nop(0, () => {
      throw new Error('from a callback')
    }),
  ])
  queue.push([nop(0, () => told.push(2))])
  t.match(await uncaught, { message: 'from a callback' })
  t.same(told, [0, 2])
  t.equal(queue.inFlight, 0)
})

withRing(t, 'operations that complete at once leave timers their turn', async t => {
  const ring = openRing(t)
  let fired = false
  const timer = delay(20).then(() => {
    fired = true
  })
  const started = Date.now()
  while (!fired && Date.now() - started < 5000) await ring.nop()
  t.ok(fired)
  await timer
})

withRing(t, 'close waits for what is in flight, and for what waits', async t => {
  const ring = Ring.open({ depth: 2, cqDepth: 2 })
  const fifo = new Fifo(t)
  const settled: number[] = []
  const reads = Array.from({ length: 5 }, (_, i) =>
    ring.readAt(fifo.fd, IoBuffer.alloc(1), 0).then(() => settled.push(i)),
  )
  let closed = 0
  const closings = [ring.close(), ring.close()].map(closing => closing.then(() => closed++))
  const buffer = IoBuffer.alloc(1)
  t.equal(await codeOf(() => ring.readAt(fifo.fd, buffer, 0)), CLOSED, 'nothing new meanwhile')
  t.equal(buffer.lent, false)
  await delay(20)
  t.equal(closed, 0)
  fifo.put('abcde')
  await Promise.all([...reads, ...closings])
  t.equal(settled.length, 5)
  t.equal(closed, 2, 'both calls of close')
  await ring.close()
})

withRing(t, 'a ring that is closed refuses everything, by code', async t => {
  const ring = Ring.open({ depth: 2 })
  const fd = temporaryFile(t)
  await ring.close()
  const buffer = IoBuffer.alloc(8)
  t.equal(await codeOf(() => ring.readAt(fd, buffer, 0)), CLOSED)
  t.equal(await codeOf(() => ring.writeAt(fd, buffer, 0)), CLOSED)
  t.equal(await codeOf(() => ring.fsync(fd)), CLOSED)
  t.equal(await codeOf(() => ring.fdatasync(fd)), CLOSED)
  t.equal(await codeOf(() => ring.nop()), CLOSED)
  t.equal(await codeOf(() => ring.chain().writeAt(fd, buffer, 0).submit()), CLOSED)
  t.equal(buffer.lent, false)
  ring.submitAll()
  t.equal(ring.inFlight, 0)
  t.equal(Ring.prototype[Symbol.asyncDispose].call(ring) instanceof Promise, true)
})

withRing(t, 'what is collected throws: everybody else is told all the same', async t => {
  const queue = new RequestQueue({ depth: 8, cqDepth: 16 })
  t.teardown(() => queue.close())
  const thrown = once(process, 'uncaughtException')
  let settled = 0
  for (let i = 0; i < 4; i++) {
    const operation = nop(0, () => settled++) as PlainOperation
    if (i === 1) {
      operation.collect = () => {
        throw new Error('no memory')
      }
    }
    queue.push([operation])
  }
  t.match((await thrown)[0], { message: 'no memory' })
  t.equal(settled, 4)
  t.equal(queue.inFlight, 0)
})

withRing(
  t,
  'who blocks the thread while it is told leaves the others their completions',
  async t => {
    const queue = new RequestQueue({ depth: 16, cqDepth: 32 })
    t.teardown(() => queue.close())
    const told: string[] = []
    const push = (name: string, settle = () => {}) => {
      const operation = nop(0, () => {
        told.push(name)
        settle()
      }) as PlainOperation
      queue.push([operation])
      return operation
    }
    // Each waits for one of its own, which comes back behind those that have been read already.
    const waitFor = (name: string, then?: () => void) => {
      const operation = push(name, then)
      operation.urgent = true
      queue.waitUntil(() => told.includes(name), undefined)
    }
    const last = new Promise<void>(resolve => {
      push('a', () => waitFor('within a', () => waitFor('within that')))
      push('b', () => waitFor('within b'))
      push('c', resolve)
    })
    queue.submit()
    await last
    t.same(told, ['a', 'within a', 'within that', 'b', 'within b', 'c'])
    t.equal(queue.inFlight, 0)
  },
)

withRing(t, 'what came back with the one who is told can be waited for', async t => {
  const queue = new RequestQueue({ depth: 16, cqDepth: 32 })
  t.teardown(() => queue.close())
  const told: string[] = []
  let second: PlainOperation | undefined
  const done = new Promise<void>(resolve => {
    const first = nop(0, () => {
      second!.urgent = true
      t.ok(queue.waitUntil(() => told.includes('second'), 5000))
      told.push('first')
    })
    second = nop(0, () => told.push('second')) as PlainOperation
    const third = nop(0, () => {
      told.push('third')
      resolve()
    })
    queue.push([first])
    queue.push([second])
    queue.push([third])
  })
  await done
  t.same(told, ['second', 'first', 'third'])
})

withRing(t, 'who blocks the thread again and again takes no longer each time', async t => {
  const queue = new RequestQueue({ depth: 8, cqDepth: 16 })
  t.teardown(() => queue.close())
  let others = 0
  const awaited = nop(0, () => {
    isThere = true
  }) as PlainOperation
  awaited.urgent = true
  let isThere = false
  queue.push([nop(0, () => others++)])
  const started = Date.now()
  for (let i = 0; i < 300_000; i++) {
    isThere = false
    queue.push([awaited])
    queue.waitUntil(() => isThere, undefined)
  }
  t.equal(others, 0, 'the thread was never free')
  t.ok(Date.now() - started < 20_000, 'the time does not grow with the square of their number')
  await new Promise(setImmediate)
  t.equal(others, 1)
})

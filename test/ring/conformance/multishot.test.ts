/** What goes on without end: how it ends, is paused, and takes up again. */
import { connect as connectNode, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type InternetAddress, POLL, Ring } from '../../../src/ring/index.ts'
import type { Test } from '../../support/engines.ts'
import { codeOf, Fifo, openRing, withRing } from '../support.ts'
import {
  CANCELED,
  connection,
  eventually,
  failing,
  INVALID,
  notHanging,
  openDescriptors,
} from './support.ts'

/** 4 bytes for each number, so that what is lost, doubled or out of order shows. */
function numbers(from: number, to: number): Uint8Array {
  return new Uint8Array(Uint32Array.from({ length: to - from }, (_, i) => from + i).buffer)
}

function clientsOf(t: Test, port: number, count: number): Promise<Socket[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const client = connectNode(port, '127.0.0.1')
      client.on('error', () => {})
      t.teardown(() => client.destroy())
      await new Promise(resolve => client.once('connect', resolve))
      return client
    }),
  )
}

withRing(t, 'a buffer ring gives the right bytes over many turns of few buffers', async t => {
  for (const [count, size] of [
    [1, 64],
    [4, 100],
    [16, 4096],
  ]) {
    const ring = openRing(t)
    const { near, far } = await connection(t, ring)
    const group = ring.bufferGroup(count, size)
    const total = 100_000
    const sending = (async () => {
      for (let i = 0; i < total; i += 1000) {
        const bytes = numbers(i, i + 1000)
        for (let at = 0; at < bytes.length; ) at += await ring.send(near, bytes.subarray(at))
      }
      await ring.shutdown(near, 'write')
    })()
    const received = new Uint8Array(total * 4)
    let at = 0
    let chunks = 0
    for await (const chunk of ring.recvAll(far, group)) {
      received.set(chunk, at)
      at += chunk.length
      chunks++
    }
    await sending
    t.equal(at, total * 4)
    t.equal(Buffer.compare(received, numbers(0, total)), 0)
    t.ok(chunks > 2 * count, `${chunks} chunks through ${count} buffers`)
    group.release()
    t.equal(group.released, true)
  }
})

withRing(t, 'no buffer left (ENOBUFS): asked for again, by itself, nothing lost', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const group = ring.bufferGroup(2, 16)
  const receiving = ring.recvAll(far, group)
  ring.submitAll()
  // More than both buffers hold, at once.
  await ring.send(near, numbers(0, 400))
  const received: number[] = []
  while (received.length < 1600) {
    const { value } = await notHanging(receiving.next(), `byte ${received.length}`)
    if (value === undefined) break
    received.push(...value)
  }
  t.same(Uint8Array.from(received), numbers(0, 400))
  await receiving.return()
})

withRing(t, 'two connections share a group, each gets its own bytes', async t => {
  const ring = openRing(t, { depth: 16 })
  const pairs = [await connection(t, ring), await connection(t, ring)]
  const group = ring.bufferGroup(2, 32)
  const sums = await Promise.all(
    pairs.map(async ({ near, far }, which) => {
      const sending = (async () => {
        for (let i = 0; i < 50; i++) await ring.send(near, new Uint8Array(100).fill(which + 1))
        await ring.shutdown(near, 'write')
      })()
      let sum = 0
      for await (const chunk of ring.recvAll(far, group)) {
        for (const byte of chunk) sum += byte
      }
      await sending
      return sum
    }),
  )
  t.same(sums, [5000, 10000])
})

withRing(t, 'a group that is in use is not released; afterwards it is refused', async t => {
  const ring = openRing(t)
  const { far } = await connection(t, ring)
  const group = ring.bufferGroup(4, 64)
  const receiving = ring.recvAll(far, group)
  ring.submitAll()
  t.throws(() => group.release(), failing('EBUSY'))
  t.equal(group.released, false)
  await receiving.return()
  group.release()
  group.release()
  t.equal(await codeOf(() => ring.recvAll(far, group)), INVALID)
  const other = openRing(t)
  const foreign = other.bufferGroup(1, 1)
  t.equal(await codeOf(() => ring.recvAll(far, foreign)), INVALID, 'of another ring')
  for (const [count, size] of [
    [3, 64],
    [0, 64],
    [65536, 64],
    [4, 0],
    [4, 0.5],
    [4, 2 ** 25],
  ]) {
    t.equal(await codeOf(() => ring.bufferGroup(count, size)), INVALID)
  }
})

withRing(t, 'what was received stays as it was when its buffer is used again', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const receiving = ring.recvAll(far, ring.bufferGroup(1, 4))
  const kept: Uint8Array[] = []
  for (const text of ['aaaa', 'bbbb', 'cccc']) {
    await ring.send(near, Buffer.from(text))
    const { value } = await receiving.next()
    if (value !== undefined) kept.push(value)
  }
  t.same(
    kept.map(bytes => Buffer.from(bytes).toString()),
    ['aaaa', 'bbbb', 'cccc'],
  )
  await receiving.return()
})

withRing(t, 'it ends with the connection, and stays at its end', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const receiving = ring.recvAll(far, ring.bufferGroup(4, 64))
  await ring.send(near, Buffer.from('last'))
  await near.close()
  t.equal(Buffer.from((await receiving.next()).value ?? []).toString(), 'last')
  t.same(await receiving.next(), { value: undefined, done: true })
  t.same(await receiving.next(), { value: undefined, done: true })
  t.same(await receiving.return(), { value: undefined, done: true })
  t.equal(ring.inFlight, 0)
})

withRing(t, 'a failure of the kernel ends it once, with an error', async t => {
  const ring = openRing(t)
  const polling = ring.pollAll(0x7fffffff, POLL.IN)
  await t.rejects(polling.next(), failing('EBADF'))
  t.same(await polling.next(), { value: undefined, done: true })
  const accepting = ring.acceptAll(new Fifo(t).fd)
  await t.rejects(accepting.next(), failing('ENOTSOCK'))
})

withRing(t, 'leaving the loop cancels it; return may be called twice, also at once', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  fifo.put('x')
  for await (const events of ring.pollAll(fifo.fd, POLL.IN)) {
    t.equal(events & POLL.IN, POLL.IN)
    break
  }
  t.equal(ring.inFlight, 0)
  const polling = ring.pollAll(fifo.fd, POLL.PRI)
  ring.submitAll()
  const waiting = polling.next()
  const ends = Promise.all([polling.return(), polling.return()])
  t.same(await notHanging(waiting, 'the reader'), { value: undefined, done: true })
  const done = { value: undefined, done: true }
  t.same(await notHanging(ends, 'return, twice'), [done, done])
  t.equal(ring.inFlight, 0)
})

withRing(t, 'a signal ends it: before, while somebody waits, and while nobody does', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const reason = new Error('enough')
  const aborted = AbortSignal.abort(reason)
  const early = () => ring.pollAll(fifo.fd, POLL.IN, { signal: aborted })
  t.throws(early, { code: CANCELED, cause: reason })
  for (const waits of [true, false]) {
    const aborting = new AbortController()
    const polling = ring.pollAll(fifo.fd, POLL.IN, { signal: aborting.signal })
    ring.submitAll()
    const waiting = waits ? polling.next() : undefined
    aborting.abort(reason)
    await t.rejects(waiting ?? polling.next(), { code: CANCELED, cause: reason })
    t.same(await polling.next(), { value: undefined, done: true })
    await polling.return()
  }
  t.ok(await eventually(() => ring.inFlight === 0))
})

withRing(t, 'ring.close ends all of them', async t => {
  const ring = Ring.open({ depth: 16 })
  const fifo = new Fifo(t)
  const { far } = await connection(t, ring)
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const all = [
    ring.pollAll(fifo.fd, POLL.IN),
    ring.acceptAll(listening),
    ring.recvAll(far, ring.bufferGroup(4, 64)),
  ]
  const readers: PromiseLike<unknown>[] = all.map(one => one.next())
  ring.submitAll()
  await notHanging(ring.close(), 'the close')
  for (const reader of readers) {
    t.same(await notHanging(reader, 'a reader'), { value: undefined, done: true })
  }
  await listening.close()
})

withRing(t, 'acceptAll: each connection once; the unread are closed when it ends', async t => {
  const ring = openRing(t)
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const accepting = ring.acceptAll(listening)
  ring.submitAll()
  const before = openDescriptors()
  const clients = await clientsOf(t, (listening.address() as InternetAddress).port, 20)
  const ports = new Set<number>()
  for (let i = 0; i < 5; i++) {
    const { value } = await accepting.next()
    if (value === undefined) break
    ports.add((value.peerAddress() as InternetAddress).port)
    await value.close()
  }
  t.equal(ports.size, 5)
  await accepting.return()
  const closed = clients.map(client => new Promise(resolve => client.once('close', resolve)))
  for (const client of clients) client.resume()
  await listening.close()
  await notHanging(Promise.all(closed), 'the unread connections')
  t.ok(await eventually(() => openDescriptors() === before - 1))
})

withRing(t, 'back-pressure: at 64 unread the kernel is paused, and nothing is lost', async t => {
  const ring = openRing(t, { depth: 16, cqDepth: 512 })
  const { near, far } = await connection(t, ring)
  const group = ring.bufferGroup(256, 8)
  const receiving = ring.recvAll(far, group)
  ring.submitAll()
  const total = 2000 // of 4 bytes, two to a buffer
  await ring.send(near, numbers(0, total))
  t.ok(await eventually(() => ring.inFlight === 0), 'the kernel has no request for more')
  const received: number[] = []
  for await (const chunk of receiving) {
    received.push(...chunk)
    if (received.length === total * 4) break
    if (received.length % 40 === 0) await delay(0)
  }
  t.equal(Buffer.compare(Uint8Array.from(received), numbers(0, total)), 0)
})

withRing(t, 'back-pressure: a reader who catches up at once does not end it', async t => {
  const ring = openRing(t, { depth: 16, cqDepth: 512 })
  const { near, far } = await connection(t, ring)
  const receiving = ring.recvAll(far, ring.bufferGroup(256, 16))
  ring.submitAll()
  await delay(5)
  ring.send(near, numbers(0, 800)).waitSync()
  // The pause is asked for while the thread is held up; its completion is told only afterwards.
  for (let i = 0; i < 30; i++) ring.nop().waitSync()
  const first = Array.from({ length: 60 }, () => receiving.next())
  const received: number[] = []
  for (const one of first) received.push(...((await one).value ?? []))
  while (received.length < 3200) received.push(...((await receiving.next()).value ?? []))
  await ring.send(near, numbers(800, 840))
  while (received.length < 3360) {
    const { value, done } = await notHanging(receiving.next(), `byte ${received.length}`)
    if (done === true) break
    received.push(...value)
  }
  t.equal(Buffer.compare(Uint8Array.from(received), numbers(0, 840)), 0)
  await receiving.return()
})

withRing(t, 'back-pressure: connections wait with the kernel, and all come', async t => {
  const ring = openRing(t)
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const accepting = ring.acceptAll(listening)
  ring.submitAll()
  const clients = await clientsOf(t, (listening.address() as InternetAddress).port, 150)
  const wanted = clients.map(client => client.localPort ?? 0).sort()
  t.ok(await eventually(() => ring.inFlight === 0), 'paused')
  const ports = new Set<number>()
  while (ports.size < clients.length) {
    const { value } = await notHanging(accepting.next(), `connection ${ports.size}`)
    if (value === undefined) break
    ports.add((value.peerAddress() as InternetAddress).port)
    await value.close()
  }
  t.same([...ports].sort(), wanted)
  await accepting.return()
  await listening.close()
})

withRing(t, 'pollAll tells of each event, not only of the first', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const polling = ring.pollAll(fifo.fd, POLL.IN)
  for (let i = 0; i < 20; i++) {
    const event = polling.next()
    fifo.put('x')
    t.equal(((await notHanging(event, `event ${i}`)).value ?? 0) & POLL.IN, POLL.IN)
    await ring.readAt(fifo.fd, new Uint8Array(1), 0)
  }
  await polling.return()
})

withRing(t, 'no memory for a copy of what came: it ends with that, and others go on', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const group = ring.bufferGroup(4, 4096)
  const received = ring.recvAll(far, group)
  const copy = group.copy
  group.copy = () => {
    throw new RangeError('Array buffer allocation failed')
  }
  await Promise.all([ring.send(near, Buffer.from('lost')), ring.nop()])
  await t.rejects(received.next(), { message: 'Array buffer allocation failed' })
  group.copy = copy
  t.equal((await received.next()).done, true)
  // Its buffers are the kernel's again, and the group can be given up.
  const again = ring.recvAll(far, group)
  await ring.send(near, Buffer.from('found'))
  t.same((await again.next()).value, new Uint8Array(Buffer.from('found')))
  await again.return()
  group.release()
})

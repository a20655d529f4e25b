/** Sockets: connections, datagrams, what goes on without end, and who closes what. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type ListeningSocket, POLL, Ring, type StreamSocket } from '../../src/ring/index.ts'
import { openDescriptors } from '../support/descriptors.ts'
import type { Test } from '../support/engines.ts'
import { codeOf, Fifo, openRing, temporaryFolder, withRing } from './support.ts'

const LOOPBACK = { address: '127.0.0.1', port: 0 }

interface Pair {
  readonly server: ListeningSocket
  readonly near: StreamSocket
  readonly far: StreamSocket
}

async function connect(t: Test, ring: Ring): Promise<Pair> {
  const server = ring.listen({ on: LOOPBACK })
  const [near, far] = await Promise.all([ring.accept(server), ring.dial(server.address())])
  t.teardown(() => Promise.all([server.close(), near.close(), far.close()]))
  return { server, near, far }
}

withRing(t, 'a connection carries bytes both ways, and ends', async t => {
  const ring = openRing(t, { depth: 16 })
  const { server, near, far } = await connect(t, ring)
  t.same(far.peerAddress(), server.address())
  t.same(near.peerAddress(), far.address())
  t.equal(await ring.send(far, Buffer.from('there')), 5)
  const bytes = new Uint8Array(16)
  t.equal(await ring.recv(near, bytes), 5)
  t.equal(Buffer.from(bytes).toString('latin1', 0, 5), 'there')
  await ring.sendmsg(near, [Buffer.from('and '), Buffer.from('back')])
  t.equal(await ring.recv(far, bytes), 8)
  await ring.shutdown(far, 'write')
  t.equal(await ring.recv(near, bytes), 0, 'the other end sends no more')
  await far.close()
  await delay(5)
  await ring.send(near, bytes).catch(() => {})
  const error = await ring.send(near, bytes).catch(error => error)
  t.ok(['EPIPE', 'ECONNRESET'].includes(error.errnoName), 'no signal, an error')
})

withRing(t, 'nobody listens: the error is a system error, and nothing stays open', async t => {
  const ring = openRing(t)
  const server = ring.listen({ on: LOOPBACK })
  const address = server.address()
  await server.close()
  const before = openDescriptors()
  const refused = await ring.dial(address).catch(error => error)
  t.match(refused, { errnoName: 'ECONNREFUSED', syscall: 'connect' })
  t.equal(openDescriptors(), before)
  t.throws(() => ring.listen({ on: { address: 'localhost', port: 0 } }), { code: INVALID })
  t.throws(() => ring.listen({ on: { address: '127.0.0.1', port: 70000 } }), { code: INVALID })
})
const INVALID = 'ERR_RIOLOG_INVALID_ARGUMENT'

withRing(t, 'datagrams: who sent them, and whether they fitted; also Unix sockets', async t => {
  const ring = openRing(t)
  const one = ring.datagram({ on: LOOPBACK })
  const two = ring.datagram({ on: LOOPBACK })
  await ring.sendmsg(
    two,
    [Buffer.from('datagram')],
    one.address() as { address: string; port: number },
  )
  const head = new Uint8Array(4)
  const tail = new Uint8Array(4)
  const whole = await ring.recvmsg(one, [head, tail])
  t.same(whole, { length: 8, from: two.address(), truncated: false })
  t.equal(Buffer.concat([head, tail]).toString(), 'datagram')
  await ring.connect(two, one.address() as { address: string; port: number })
  await ring.send(two, Buffer.from('too long'))
  t.match(await ring.recvmsg(one, [head]), { length: 4, truncated: true })
  await Promise.all([one.close(), two.close()])

  const path = join(temporaryFolder(t), 'socket')
  const server = ring.listen({ on: { path } })
  t.same(server.address(), { family: 'unix', path })
  const [near, far] = await Promise.all([ring.accept(server), ring.dial({ path })])
  await ring.send(far, Buffer.from('x'))
  t.equal(await ring.recv(near, head), 1)
  await Promise.all([near.close(), far.close(), server.close()])
})

withRing(t, 'sockets made by operations of the ring', async t => {
  const ring = openRing(t)
  if (!ring.probe().operations.listen) return void t.pass('listen', { skip: 'before Linux 6.11' })
  const socket = await ring.socket('IPv4', 'stream')
  await ring.bind(socket, LOOPBACK)
  await ring.listenOn(socket.fd, 16)
  const address = socket.address() as { address: string; port: number }
  const client = await ring.socket('IPv4', 'stream')
  const [accepted] = await Promise.all([ring.accept(socket.fd), ring.connect(client, address)])
  t.same(accepted.peerAddress(), client.address())
  t.throws(() => ring.socket('IPv5' as 'IPv4', 'stream'), { code: INVALID })
  await Promise.all([socket.close(), client.close(), accepted.close()])
})

withRing(t, 'acceptAll: every connection; what nobody took is closed at the end', async t => {
  const ring = openRing(t, { depth: 32 })
  const server = ring.listen({ on: LOOPBACK })
  const before = openDescriptors()
  const all = ring.acceptAll(server)
  const clients = await Promise.all(Array.from({ length: 5 }, () => ring.dial(server.address())))
  const first = await all.next()
  t.equal(first.done, false)
  await delay(10)
  t.equal(openDescriptors(), before + 10)
  await all.return()
  t.same(await all.next(), { value: undefined, done: true })
  await (first.value as StreamSocket).close()
  for (const client of clients) await client.close()
  await delay(10)
  t.equal(openDescriptors(), before)
  await server.close()
  t.equal(ring.inFlight, 0)
})

withRing(
  t,
  'recvAll: all bytes in order, over many turns of few buffers, and more than fit',
  async t => {
    const ring = openRing(t, { depth: 32 })
    const { near, far } = await connect(t, ring)
    const group = ring.bufferGroup(4, 100)
    const stream = ring.recvAll(near, group)
    const sent = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251))
    const sending = (async () => {
      for (let at = 0; at < sent.length; ) at += await ring.send(far, sent.subarray(at, at + 9973))
      await ring.shutdown(far, 'write')
    })()
    // The reader is slow at first: what comes is held back, not lost.
    await delay(30)
    const parts: Uint8Array[] = []
    for await (const part of stream) parts.push(part)
    await sending
    t.equal(Buffer.compare(Buffer.concat(parts), sent), 0)
    t.ok(parts.length > 3000, `${parts.length} parts`)
    group.release()
    t.throws(() => ring.recvAll(near, group), { code: INVALID })
  },
)

withRing(t, 'a group in use is not released; a signal ends what goes on', async t => {
  const ring = openRing(t)
  const { near } = await connect(t, ring)
  const group = ring.bufferGroup(2, 64)
  const aborting = new AbortController()
  const stream = ring.recvAll(near, group, { signal: aborting.signal })
  const next = stream.next()
  ring.submitAll()
  t.equal(await codeOf(() => group.release()), 'ERR_RIOLOG_SYSTEM', 'EBUSY')
  setTimeout(() => aborting.abort(new Error('enough')), 5)
  await t.rejects(next, { code: 'ERR_RIOLOG_CANCELED', cause: { message: 'enough' } })
  while (ring.inFlight > 0) await delay(1)
  group.release()
  t.throws(() => ring.bufferGroup(3, 64), { code: INVALID })
})

withRing(t, 'ring.close ends what goes on without end', async t => {
  const ring = Ring.open({ depth: 16 })
  const fifo = new Fifo(t)
  const server = ring.listen({ on: LOOPBACK })
  const connections = ring.acceptAll(server)
  const events = ring.pollAll(fifo.fd, POLL.IN)
  const messages = ring.messages()
  const ends = Promise.all([connections.next(), events.next(), messages.next()])
  await delay(5)
  await ring.close()
  for (const end of await ends) t.same(end, { value: undefined, done: true })
  await server.close()
  t.equal(server.fd, -1)
})

withRing(t, 'a handle is closed when nobody uses it any more, and once', async t => {
  const ring = openRing(t)
  const { near, far } = await connect(t, ring)
  const reading = ring.recv(near, new Uint8Array(4))
  let closed = false
  const closing = near.close().then(() => {
    closed = true
  })
  t.equal(await codeOf(() => ring.recv(near, new Uint8Array(4))), 'ERR_RIOLOG_CLOSED')
  await delay(10)
  t.equal(closed, false)
  await ring.send(far, Buffer.from('last'))
  t.equal(await reading, 4)
  await closing
  t.equal(near.fd, -1)
  await near.close()
  const pending = ring.recv(far, new Uint8Array(4))
  const ending = far.close()
  t.ok((await ring.cancelHandle(far.fd)) >= 0)
  await pending.catch(() => {})
  await ending
})

withRing(t, 'pollAll tells of each event; messages come from another ring', async t => {
  const ring = openRing(t)
  const other = openRing(t)
  const fifo = new Fifo(t)
  t.equal(await ring.poll(fifo.fd, POLL.OUT), POLL.OUT)
  const events = ring.pollAll(fifo.fd, POLL.IN)
  fifo.put('a')
  t.same(await events.next(), { value: POLL.IN, done: false })
  fifo.put('b')
  t.same(await events.next(), { value: POLL.IN, done: false })
  await events.return()
  const messages = ring.messages()
  await other.message(ring.fd, 2 ** 31 - 1, 2 ** 32 - 1)
  await other.message(ring.fd, 0, 0)
  t.same((await messages.next()).value, { value: 2 ** 31 - 1, data: 2 ** 32 - 1 })
  t.same((await messages.next()).value, { value: 0, data: 0 })
  t.equal(await codeOf(() => other.message(fifo.fd, 1, 1)), 'ERR_RIOLOG_SYSTEM', 'no ring')
})

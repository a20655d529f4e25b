/** Who closes what an operation opened: the caller once, or nobody's descriptor does riolog. */
import { closeSync, constants, fstatSync, openSync, writeFileSync } from 'node:fs'
import { connect as connectNode } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type InternetAddress, Ring } from '../../../src/ring/index.ts'
import { chooseSeed, Random } from '../../support/random.ts'
import { codeOf, Fifo, openRing, temporaryFile, temporaryFolder, withRing } from '../support.ts'
import {
  BAD_FD,
  CANCELED,
  chainError,
  connection,
  eventually,
  INVALID,
  notHanging,
  openDescriptors,
  runChild,
} from './support.ts'

const CLOSED = 'ERR_RIOLOG_CLOSED'

withRing(t, 'opens that race with their cancel leave no descriptor open', async t => {
  const seed = chooseSeed()
  t.comment(`RIOLOG_SEED=${seed}`)
  const random = new Random(seed)
  const ring = openRing(t, { depth: 32 })
  await ring.nop()
  const before = openDescriptors()
  let opened = 0
  let canceled = 0
  for (let round = 0; round < 300; round++) {
    const all = Array.from({ length: 8 }, () =>
      ring.openat('/dev/null', { async: random.chance(0.7) }),
    )
    if (random.chance(0.7)) ring.submitAll()
    for (const one of all) if (random.chance(0.5)) one.cancel()
    for (const outcome of await Promise.allSettled(all)) {
      if (outcome.status === 'fulfilled') {
        opened++
        await outcome.value.close()
      } else {
        if (outcome.reason.code !== CANCELED) t.fail(String(outcome.reason))
        canceled++
      }
    }
  }
  t.ok(opened > 0 && canceled > 0, `${opened} opened, ${canceled} canceled`)
  t.ok(await eventually(() => openDescriptors() === before))
})

withRing(t, 'accepts that race with their cancel leave no connection open', async t => {
  const ring = openRing(t, { depth: 32 })
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const { port } = listening.address() as InternetAddress
  await ring.nop()
  const before = openDescriptors()
  let accepted = 0
  let canceled = 0
  for (let round = 0; round < 100; round++) {
    const accepting = [ring.accept(listening), ring.accept(listening)]
    ring.submitAll()
    const client = connectNode(port, '127.0.0.1')
    client.on('error', () => {})
    await new Promise(resolve => client.once('connect', resolve))
    for (const one of accepting) one.cancel()
    const outcomes = await Promise.allSettled(accepting)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') canceled++
      else {
        accepted++
        await outcome.value.close()
      }
    }
    if (outcomes.every(outcome => outcome.status === 'rejected')) {
      await (await ring.accept(listening)).close()
    }
    client.destroy()
    await new Promise(resolve => client.once('close', resolve))
  }
  t.ok(canceled > 0 && accepted > 0, `${canceled} canceled, ${accepted} accepted`)
  t.ok(await eventually(() => openDescriptors() === before))
  await listening.close()
})

withRing(t, 'a broken chain closes what it opened', async t => {
  const ring = openRing(t)
  await ring.nop()
  const before = openDescriptors()
  const breaking = ring.chain().openat('/dev/null').socket('IPv4', 'stream').fsync(BAD_FD)
  await chainError(breaking.submit())
  t.equal(openDescriptors(), before)
})

withRing(t, 'a chain whose bytes have no place any more closes what it opened', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  await ring.writeAt(fd, Buffer.from('12345678'), 0)
  const before = openDescriptors()
  const array = new Uint8Array(8)
  const chain = ring.chain().openat('/dev/null').readAt(fd, array, 0).openat('/dev/null').submit()
  structuredClone(array, { transfer: [array.buffer] })
  const error = await chainError(chain)
  t.match(error.cause, { code: INVALID })
  t.ok(await eventually(() => openDescriptors() === before))
})

withRing(t, 'a connection that cannot be made leaves no socket open', async t => {
  const ring = openRing(t)
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const address = listening.address() as InternetAddress
  await listening.close()
  const before = openDescriptors()
  for (let i = 0; i < 20; i++)
    await t.rejects(ring.dial(address), { errnoName: 'ECONNREFUSED' } as object as Error)
  const aborted = AbortSignal.abort()
  t.equal(await codeOf(() => ring.dial(address, { signal: aborted })), CANCELED)
  const invalid = { address: '127.0.0.1', port: -1 }
  t.equal(await codeOf(() => ring.dial(invalid)), INVALID)
  t.equal(openDescriptors(), before)
})

withRing(t, 'a handle in use is closed later, and refuses what is new at once', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const both = [ring.recv(far, new Uint8Array(4)), ring.recv(far, new Uint8Array(4))]
  ring.submitAll()
  const { fd } = far
  let closed = 0
  const closings = [far.close(), far.close()].map(closing => closing.then(() => closed++))
  t.equal(far.closed, true)
  t.equal(await codeOf(() => ring.recv(far, new Uint8Array(1))), CLOSED)
  t.equal(await codeOf(() => ring.chain().send(far, new Uint8Array(1))), CLOSED)
  await delay(10)
  t.equal(closed, 0)
  t.ok(fstatSync(fd).isSocket(), 'the descriptor is there while somebody uses it')
  await ring.send(near, Buffer.from('abcd'))
  t.equal(await Promise.race(both), 4)
  await delay(10)
  t.equal(closed, 0, 'one more uses it')
  await ring.shutdown(near, 'write')
  t.same((await Promise.all(both)).sort(), [0, 4])
  await Promise.all(closings)
  t.equal(closed, 2)
  t.equal(far.fd, -1)
})

withRing(t, 'a chain that was built before the handle was closed is refused whole', async t => {
  const ring = openRing(t)
  const path = `${temporaryFolder(t)}/file`
  const file = await ring.openat(path, { flags: constants.O_RDWR | constants.O_CREAT })
  const chain = ring.chain().nop().writeAt(file, Buffer.from('x'), 0)
  const batch = ring.batch().writeAt(file, Buffer.from('x'), 0)
  await file.close()
  // The number is given to another file at once: the write must not find it.
  const other = temporaryFile(t)
  t.equal(await codeOf(() => chain.submit()), CLOSED)
  t.equal(await codeOf(() => batch.submit()), CLOSED)
  t.equal(fstatSync(other).size, 0)
  t.equal(ring.inFlight, 0)
})

withRing(t, 'the close of one handle does not wait for the operations of others', async t => {
  const ring = Ring.open({ depth: 2, cqDepth: 2 })
  const fifo = new Fifo(t)
  const file = await ring.openat('/dev/null')
  const { mostInFlight } = ring.probe()
  const reads = Array.from({ length: mostInFlight }, () =>
    ring.readAt(fifo.fd, new Uint8Array(1), 0),
  )
  ring.submitAll()
  const outcome = notHanging(file.close(), 'the close').then(
    () => 'closed',
    error => error.message,
  )
  t.equal(await outcome, 'closed', 'cancels and close always get a place')
  fifo.put('x'.repeat(mostInFlight))
  await Promise.all(reads)
  await ring.close()
})

withRing(t, 'handles live on when their ring is closed, and close themselves', async t => {
  const ring = Ring.open({ depth: 4 })
  const before = openDescriptors() - 1
  const file = await ring.openat('/dev/null')
  await ring.close()
  t.ok(fstatSync(file.fd).isCharacterDevice())
  await file.close()
  t.equal(openDescriptors(), before)
})

withRing(t, 'a handle that is dropped is collected: closed, with a warning', async t => {
  const { code, stdout, stderr } = await runChild('dropped-handles.ts')
  t.equal(code, 0, stderr)
  t.same(JSON.parse(stdout || '{}'), {
    whileInUse: 0,
    closed: 0,
    dropped: 6,
    warnings: 6,
    codes: ['RIOLOG_HANDLE_DROPPED'],
  })
})

withRing(t, 'connections that many others overtake stay open: one owner each', async t => {
  const { code, stdout, stderr } = await runChild('burst-of-connections.ts')
  t.equal(code, 0, stderr)
  t.same(JSON.parse(stdout || '{}'), { accepted: 12, dead: 0, warnings: 0 })
})

withRing(
  t,
  'a handle that the kernel has closed names no other file, before we are told',
  async t => {
    const ring = openRing(t)
    const [path, other] = ['one', 'two'].map(name => join(temporaryFolder(t), name))
    for (const file of [path, other]) writeFileSync(file, file)
    const file = await ring.openat(path)
    const { fd } = file
    const closing = file.close()
    ring.submitAll()
    const reused = openSync(other, 'r')
    t.equal(reused, fd, 'the number is in use again')
    t.teardown(() => closeSync(reused))
    t.equal(file.fd, -1)
    t.throws(() => ring.registerFile(file), { code: CLOSED })
    t.equal(await codeOf(() => ring.readAt(file, new Uint8Array(3), 0)), CLOSED)
    await closing
  },
)

withRing(t, 'nor does a socket', async t => {
  const ring = openRing(t)
  const here = { on: { address: '127.0.0.1', port: 0 } }
  const socket = ring.listen(here)
  const { fd } = socket
  const closing = socket.close()
  ring.submitAll()
  const other = ring.listen(here)
  t.equal(other.fd, fd, 'the number is in use again')
  for (const ask of [
    () => socket.address(),
    () => socket.getOption('reuseAddress'),
    () => socket.setOption('reuseAddress', false),
  ]) {
    t.throws(ask, { code: CLOSED })
  }
  t.equal(other.getOption('reuseAddress'), 1)
  await Promise.all([closing, other.close()])
})

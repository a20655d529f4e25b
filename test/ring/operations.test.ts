import { constants, fstatSync, readFileSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ChainError, IoBuffer, SystemError } from '../../src/ring/index.ts'
import { codeOf, Fifo, openRing, temporaryFile, temporaryFolder, withRing } from './support.ts'

withRing(t, 'what was written is read back, through arrays and lent buffers', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  t.equal(await ring.writeAt(fd, Buffer.from('0123456789'), 5), 10)
  t.equal(await ring.fsync(fd), undefined)
  t.equal(await ring.fdatasync(fd), undefined)
  t.equal(fstatSync(fd).size, 15)

  const array = new Uint8Array(4)
  t.equal(await ring.readAt(fd, array, 8), 4)
  t.equal(Buffer.from(array).toString(), '3456')

  const buffer = IoBuffer.alloc(64)
  t.equal(await ring.readAt(fd, buffer, 5), 10, 'as many as there are')
  t.equal(Buffer.from(buffer.bytes.subarray(0, 10)).toString(), '0123456789')
  t.equal(await ring.readAt(fd, buffer, 1000), 0, 'none behind the end')
})

withRing(t, 'a FileHandle serves as well as a descriptor', async t => {
  const ring = openRing(t)
  const path = join(temporaryFolder(t), 'file')
  const handle = await open(path, 'w+')
  await ring.writeAt(handle, Buffer.from('through a handle'), 0)
  t.equal(readFileSync(path, 'utf8'), 'through a handle')
  await handle.close()
  t.equal(await codeOf(() => ring.fsync(handle)), 'ERR_RIOLOG_INVALID_ARGUMENT', 'not when closed')
})

withRing(t, 'a lent buffer is fit for O_DIRECT', async t => {
  const ring = openRing(t)
  let fd: number
  try {
    fd = temporaryFile(t, constants.O_DIRECT)
  } catch {
    return void t.pass('O_DIRECT', { skip: 'this file system has no direct I/O' })
  }
  const buffer = IoBuffer.alloc(8192)
  buffer.bytes.fill(0xa5)
  t.equal(await ring.writeAt(fd, buffer, 4096), 8192)
  buffer.bytes.fill(0)
  t.equal(await ring.readAt(fd, buffer, 4096), 8192)
  t.ok(buffer.bytes.every(byte => byte === 0xa5))
})

withRing(t, 'an array may be changed at once after the call: the kernel has a copy', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const array = Buffer.from('before')
  const written = ring.writeAt(fd, array, 0)
  array.fill('x')
  await written
  const found = new Uint8Array(6)
  await ring.readAt(fd, found, 0)
  t.equal(Buffer.from(found).toString(), 'before')

  const chain = ring.chain().writeAt(fd, array, 0)
  array.fill('y')
  await chain.submit()
  await ring.readAt(fd, found, 0)
  t.equal(Buffer.from(found).toString(), 'xxxxxx', 'in a chain, as it was when added to it')
})

withRing(t, 'a read fills the part of an array that it was given, and no more', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'abcdef')
  const whole = Buffer.from('..........')
  t.equal(await ring.readAt(fd, whole.subarray(3, 7), 0), 4)
  t.equal(whole.toString(), '...abcd...')
  t.equal(await ring.readAt(fd, whole.subarray(0, 8), 4), 2)
  t.equal(whole.toString(), 'ef.abcd...', 'a short read leaves the rest')
  t.equal(await ring.readAt(fd, new Uint8Array(0), 0), 0)
  t.equal(await ring.writeAt(fd, new Uint8Array(0), 0), 0)
  const shared = new Uint8Array(new SharedArrayBuffer(3))
  t.equal(await ring.readAt(fd, shared, 0), 3)
  t.equal(Buffer.from(shared).toString(), 'abc')
})

withRing(t, 'an array that is transferred away in mid-read: that read fails alone', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'abcdef')
  const array = new Uint8Array(6)
  const outcomes = Promise.allSettled([ring.nop(), ring.readAt(fd, array, 0), ring.nop()])
  structuredClone(array, { transfer: [array.buffer] })
  const [before, read, after] = await outcomes
  t.equal(before.status, 'fulfilled')
  t.equal(after.status, 'fulfilled')
  t.equal(read.status === 'rejected' && read.reason.code, 'ERR_RIOLOG_INVALID_ARGUMENT')
})

withRing(t, 'a system error has errno and syscall as those of Node', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(16)
  const failing = ring.readAt(0x7fffffff, buffer, 0)
  await t.rejects(failing, { code: 'ERR_RIOLOG_SYSTEM', errno: -9, errnoName: 'EBADF' })
  const error = await failing.catch(error => error)
  t.ok(error instanceof SystemError)
  t.equal(error.syscall, 'read')
  t.equal(buffer.lent, false)
  t.equal(await ring.writeAt(fd, buffer, 0), 16, 'the buffer is as good as new')
})

withRing(t, 'a chain runs in order and gives each result', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const found = new Uint8Array(5)
  const results = await ring
    .chain()
    .writeAt(fd, Buffer.from('first'), 0)
    .fdatasync(fd)
    .writeAt(fd, Buffer.from('then!'), 0)
    .fsync(fd)
    .nop()
    .readAt(fd, found, 0)
    .submit()
  t.same(results, [5, undefined, 5, undefined, undefined, 5])
  t.equal(Buffer.from(found).toString(), 'then!')
})

withRing(t, 'a short read breaks its chain, and the error says where', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'x'.repeat(100))
  const buffer = IoBuffer.alloc(4096)
  const broken = ring.chain().nop().readAt(fd, buffer, 0).fdatasync(fd).nop().submit()
  await t.rejects(broken, ChainError)
  await t.rejects(broken, { code: 'ERR_RIOLOG_CHAIN_BROKEN', index: 1 })
  const error = await broken.catch(error => error)
  t.same(error.results, [0, 100, -125, -125])
  t.equal(buffer.lent, false)
  t.equal(ring.inFlight, 0)
})

withRing(t, 'a failing operation breaks its chain', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const buffers = [IoBuffer.alloc(8), IoBuffer.alloc(8), IoBuffer.alloc(8)]
  const error = await ring
    .chain()
    .writeAt(fd, buffers[0], 0)
    .writeAt(0x7fffffff, buffers[1], 0)
    .writeAt(fd, buffers[2], 8)
    .submit()
    .catch(error => error)
  t.equal(error.index, 1)
  t.same(error.results, [8, -9, -125])
  t.match(error.cause, { errnoName: 'EBADF', syscall: 'write' })
  t.equal(fstatSync(fd).size, 8, 'what stands behind did not run')
  t.ok(buffers.every(buffer => !buffer.lent))
})

withRing(t, 'a chain longer than the queue is refused before anything is queued', async t => {
  const ring = openRing(t, { depth: 4 })
  const fd = temporaryFile(t)
  const buffers = Array.from({ length: 5 }, () => IoBuffer.alloc(8))
  const chain = ring.chain<number[]>()
  for (const buffer of buffers) chain.writeAt(fd, buffer, 0)
  t.equal(await codeOf(() => chain.submit()), 'ERR_RIOLOG_CHAIN_TOO_LONG')
  t.equal(ring.inFlight, 0)
  t.ok(buffers.every(buffer => !buffer.lent))
  await ring.nop()
  t.equal(fstatSync(fd).size, 0)
  t.same(
    await ring.chain().nop().nop().nop().nop().submit(),
    new Array(4).fill(undefined),
    'one of just that',
  )
})

withRing(t, 'a chain is submitted once, and is not empty', async t => {
  const ring = openRing(t)
  const invalid = 'ERR_RIOLOG_INVALID_ARGUMENT'
  t.equal(await codeOf(() => ring.chain<number[]>().submit()), invalid)
  const chain = ring.chain().nop()
  await chain.submit()
  t.equal(await codeOf(() => chain.submit()), invalid)
  t.equal(await codeOf(() => chain.nop()), invalid)
})

withRing(t, 'a chain that is refused gives back its own buffers, and only those', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const mine = IoBuffer.alloc(8)
  const elsewhere = IoBuffer.alloc(8)
  const chain = ring.chain().readAt(fifo.fd, mine, 0).readAt(fifo.fd, elsewhere, 0)
  const reading = ring.readAt(fifo.fd, elsewhere, 0)
  t.equal(await codeOf(() => chain.submit()), 'ERR_RIOLOG_BUFFER_LENT')
  t.equal(mine.lent, false)
  t.equal(elsewhere.lent, true, 'the kernel still writes to this one')
  t.equal(ring.inFlight, 1)

  const twice = ring.chain().writeAt(fifo.fd, mine, 0).writeAt(fifo.fd, mine, 0)
  t.equal(await codeOf(() => twice.submit()), 'ERR_RIOLOG_BUFFER_LENT', 'one buffer lent twice')
  t.equal(mine.lent, false)
  fifo.put('arrived')
  t.equal(await reading, 7)
  t.equal(elsewhere.lent, false)
})

withRing(t, 'probe tells what this ring has', async t => {
  const ring = openRing(t, { depth: 5, cqDepth: 20 })
  const probe = ring.probe()
  t.equal(probe.sqEntries, 8, 'rounded up to a power of two')
  t.equal(probe.cqEntries, 32)
  t.match(probe.operations, { nop: true, fsync: true, read: true, write: true })
})

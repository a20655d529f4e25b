import t from 'tap'
import { addon } from '../../src/native.ts'
import { IoBuffer } from '../../src/ring/index.ts'
import { codeOf, Fifo, openRing, withRing } from './support.ts'

const INVALID = 'ERR_RIOLOG_INVALID_ARGUMENT'
const LENT = 'ERR_RIOLOG_BUFFER_LENT'

t.test('a fresh buffer is zeroed and as long as asked', async t => {
  for (const length of [1, 4095, 4096, 1 << 20]) {
    const buffer = IoBuffer.alloc(length)
    t.equal(buffer.length, length)
    t.equal(buffer.bytes.length, length)
    t.equal(buffer.lent, false)
    t.ok(buffer.bytes.every(byte => byte === 0))
  }
})

t.test('a length that cannot be is refused', async t => {
  const most = 0x7ffff000
  for (const length of [0, -1, 0.5, Number.NaN, Infinity, most + 1, 2 ** 32, 2 ** 53, '8', null]) {
    t.equal(await codeOf(() => IoBuffer.alloc(length as number)), INVALID, String(length))
  }
})

// A view of more than 4 GiB is refused by Node 20 after it has taken over the memory's finalizer;
// counting the owner off a second time freed memory that was in use.
t.test('native memory too long for a view is refused, and nothing is freed twice', async t => {
  const before = addon().liveMemoryCount()
  for (const bytes of [2 ** 32, 5 * 2 ** 30, 2 ** 50, 2 ** 63, -1, 0, Number.NaN]) {
    t.equal(addon().allocate(bytes), undefined, String(bytes))
  }
  t.equal(addon().liveMemoryCount(), before)
})

withRing(t, 'while an operation has the buffer, JavaScript has not', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(16)
  const view = buffer.bytes
  view.fill(7)
  const sub = view.subarray(4)
  const reading = ring.readAt(fifo.fd, buffer, 0)
  t.equal(buffer.lent, true)
  t.equal(view.length, 0, 'a view taken before is empty')
  t.equal(sub.length, 0)
  t.equal(view.buffer.byteLength, 0)
  t.equal(buffer.length, 16, 'its length is known')
  t.equal(await codeOf(() => buffer.bytes), LENT)
  t.equal(await codeOf(() => ring.readAt(fifo.fd, buffer, 0)), LENT, 'lent twice')
  t.equal(await codeOf(() => ring.chain().writeAt(fifo.fd, buffer, 0)), LENT)

  fifo.put('abcd')
  t.equal(await reading, 4)
  t.equal(buffer.lent, false)
  t.equal(view.length, 0, 'and stays so')
  const fresh = buffer.bytes
  t.equal(fresh.length, 16)
  t.same([...fresh], [97, 98, 99, 100, ...new Array(12).fill(7)], 'the same memory')
})

withRing(t, 'a buffer is taken when asked, not when submitted', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(4)
  buffer.bytes.set(Buffer.from('lent'))
  const view = buffer.bytes
  const written = ring.writeAt(fifo.fd, buffer, 0)
  view[0] = 0 // touches nothing: the view has no bytes any more
  t.throws(() => view.fill(0), TypeError)
  t.equal(await written, 4)
  const found = new Uint8Array(4)
  await ring.readAt(fifo.fd, found, 0)
  t.equal(Buffer.from(found).toString(), 'lent')
})

withRing(t, 'a view that was cloned or transferred elsewhere does no harm', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(4)
  buffer.bytes.fill(1)
  let elsewhere: ArrayBuffer | undefined
  try {
    const memory = buffer.bytes.buffer as ArrayBuffer
    elsewhere = structuredClone(memory, { transfer: [memory] })
  } catch {
    t.comment('this Node refuses to transfer memory of our own')
  }
  const reading = ring.readAt(fifo.fd, buffer, 0)
  fifo.put('abcd')
  await reading
  t.same([...buffer.bytes], [97, 98, 99, 100])
  if (elsewhere) t.same([...new Uint8Array(elsewhere)], [1, 1, 1, 1], 'that one is a copy')
})

// Node 20 has no ArrayBuffer.prototype.transfer.
type Transferable = ArrayBuffer & { transfer?: () => ArrayBuffer }

withRing(t, 'memory that was transferred to another ArrayBuffer is never lent', async t => {
  const buffer = IoBuffer.alloc(4)
  const memory = buffer.bytes.buffer as Transferable
  if (memory.transfer === undefined) {
    return void t.pass('transfer', { skip: 'this Node has no ArrayBuffer.prototype.transfer' })
  }
  const ring = openRing(t)
  const fifo = new Fifo(t)
  buffer.bytes.fill(1)
  const elsewhere = new Uint8Array(memory.transfer())
  const reading = ring.readAt(fifo.fd, buffer, 0)
  fifo.put('ab')
  t.equal(await reading, 2)
  t.same([...elsewhere], [1, 1, 1, 1])
  t.same([...buffer.bytes], [97, 98, 1, 1])
})

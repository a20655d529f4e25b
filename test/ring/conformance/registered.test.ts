/** Registered files and buffers: update, reuse, and what is still in flight when they are given up. */
import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import {
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
} from '../../../src/ring/abi.ts'
import { IoBuffer, type Ring } from '../../../src/ring/index.ts'
import { codeOf, Fifo, openRing, temporaryFile, temporaryFolder, withRing } from '../support.ts'
import { contentOf, failing, INVALID, queueOf, runChild } from './support.ts'

withRing(t, 'a registered file stays usable when its descriptor is closed', async t => {
  const ring = openRing(t)
  const path = join(temporaryFolder(t), 'file')
  const handle = await open(path, 'w+')
  const file = ring.registerFile(handle)
  await handle.close()
  t.equal(await ring.writeAt(file, Buffer.from('still here'), 0), 10)
  t.equal(await ring.fsync(file), undefined)
  t.equal(readFileSync(path, 'utf8'), 'still here')
  const chain = ring.chain().writeAt(file, Buffer.from('STILL'), 0).fdatasync(file)
  t.same(await chain.submit(), [5, undefined])
  t.equal(readFileSync(path, 'utf8'), 'STILL here')
})

withRing(t, 'its place is freed and used again; the released one is refused', async t => {
  const ring = openRing(t, { depth: 8, registeredFiles: 2 })
  const fds = [temporaryFile(t), temporaryFile(t), temporaryFile(t)]
  const one = ring.registerFile(fds[0])
  const two = ring.registerFile(fds[1])
  t.ok(one.index !== two.index)
  t.throws(() => ring.registerFile(fds[2]), failing('ENFILE'))
  t.throws(() => ring.registerFile(fds[2]), failing('ENFILE'), 'a refusal takes no place')
  one.release()
  one.release()
  t.equal(one.released, true)
  t.equal(await codeOf(() => ring.writeAt(one, Buffer.from('x'), 0)), INVALID)
  t.equal(await codeOf(() => ring.chain().fsync(one)), INVALID)
  t.equal(await codeOf(() => ring.batch().fsync(one)), INVALID)
  const three = ring.registerFile(fds[2])
  t.equal(three.index, one.index, 'the place is used again')
  t.throws(() => ring.registerFile(fds[0]), failing('ENFILE'), 'and freed once only')
  await ring.writeAt(three, Buffer.from('three'), 0)
  await ring.writeAt(two, Buffer.from('two'), 0)
  t.same(fds.map(contentOf), ['', 'two', 'three'])
  const other = openRing(t)
  t.equal(await codeOf(() => other.fsync(three)), INVALID, 'of another ring')
})

withRing(t, 'a descriptor that is not open is refused, and takes no place', async t => {
  const ring = openRing(t, { depth: 8, registeredFiles: 1 })
  const fd = temporaryFile(t)
  t.throws(() => ring.registerFile(0x7ffffffe), failing('EBADF'))
  for (let i = 0; i < 100; i++) {
    const file = ring.registerFile(fd)
    t.equal(await ring.writeAt(file, Buffer.from('x'), i), 1)
    file.release()
  }
})

// "Operations that were asked for before go on", with the file that they were asked for.
for (const [when, run] of [
  [
    'asked for and not yet submitted',
    async (ring: Ring, file: ReturnType<Ring['registerFile']>, reuse: () => void) => {
      const written = ring.writeAt(file, Buffer.from('mine'), 0)
      file.release()
      reuse()
      await written
    },
  ],
  [
    'a chain that was built and not yet submitted',
    async (ring: Ring, file: ReturnType<Ring['registerFile']>, reuse: () => void) => {
      const chain = ring.chain().writeAt(file, Buffer.from('mine'), 0)
      file.release()
      reuse()
      await chain.submit()
    },
  ],
  [
    'a batch that was built and not yet submitted',
    async (ring: Ring, file: ReturnType<Ring['registerFile']>, reuse: () => void) => {
      const batch = ring.batch().writeAt(file, Buffer.from('mine'), 0)
      file.release()
      reuse()
      await batch.submit()
    },
  ],
] as const) {
  withRing(t, `a released file's place goes to another: ${when}`, async t => {
    const ring = openRing(t, { depth: 8, registeredFiles: 1 })
    const mine = temporaryFile(t)
    const other = temporaryFile(t)
    const file = ring.registerFile(mine)
    // Refused or done, both are good; only never with the other file.
    await codeOf(() => run(ring, file, () => void codeOf(() => ring.registerFile(other))))
    t.equal(contentOf(other), '', 'nothing was written to a file that nobody named')
  })
}

withRing(t, "a released file's place goes to another: a link that waits for its turn", async t => {
  const ring = openRing(t, { depth: 8, registeredFiles: 1 })
  const fifo = new Fifo(t)
  const mine = temporaryFile(t)
  const other = temporaryFile(t)
  const file = ring.registerFile(mine)
  const chain = ring
    .chain()
    .readAt(fifo.fd, new Uint8Array(1), 0)
    .writeAt(file, Buffer.from('mine'), 0)
    .submit()
  ring.submitAll()
  await ring.nop()
  file.release()
  await codeOf(() => ring.registerFile(other))
  fifo.put('x')
  await codeOf(() => chain)
  t.equal(contentOf(other), '', 'nothing was written to a file that nobody named')
})

withRing(t, "a released file's place goes to another: one that waits for room", async t => {
  const ring = openRing(t, { depth: 2, cqDepth: 2, registeredFiles: 1 })
  const fifo = new Fifo(t)
  const mine = temporaryFile(t)
  const other = temporaryFile(t)
  const file = ring.registerFile(mine)
  const { mostInFlight } = ring.probe()
  const reads = Array.from({ length: mostInFlight }, () =>
    ring.readAt(fifo.fd, new Uint8Array(1), 0),
  )
  const written = ring.writeAt(file, Buffer.from('mine'), 0)
  ring.submitAll()
  file.release()
  await codeOf(() => ring.registerFile(other))
  fifo.put('x'.repeat(mostInFlight))
  await Promise.all([...reads, codeOf(() => written)])
  t.equal(contentOf(other), '', 'nothing was written to a file that nobody named')
})

withRing(
  t,
  'registered buffers are used without being asked for, and give the same bytes',
  async t => {
    const ring = openRing(t)
    const fd = temporaryFile(t)
    const queue = queueOf(ring)
    const buffer = IoBuffer.alloc(8192)
    if (!ring.registerBuffer(buffer)) {
      return void t.pass('registered', { skip: 'the limit of locked memory leaves no room' })
    }
    t.equal(buffer.registered, true)
    t.equal(ring.registerBuffer(buffer), true, 'twice is once')
    const bytes = buffer.bytes
    for (let i = 0; i < bytes.length; i++) bytes[i] = i % 251
    queue.traceOn()
    t.equal(await ring.writeAt(fd, buffer, 0, { from: 4096, length: 100 }), 100)
    buffer.bytes.fill(0)
    t.equal(await ring.readAt(fd, buffer, 0), 100)
    const opcodes = () => queue.takeTrace().map(sqe => sqe.opcode)
    t.same(opcodes(), [IORING_OP_WRITE_FIXED, IORING_OP_READ_FIXED])
    for (let i = 0; i < 100; i++) {
      if (buffer.bytes[i] !== (4096 + i) % 251) t.fail(`byte ${i}`)
    }
    t.same(await ring.chain().writeAt(fd, buffer, 0).fdatasync(fd).submit(), [8192, undefined])
    t.equal(queue.takeTrace()[0].opcode, IORING_OP_WRITE_FIXED, 'in a chain, too')
    await ring.readAt(fd, IoBuffer.alloc(100), 0)
    await ring.readAt(fd, new Uint8Array(100), 0)
    t.same(opcodes(), [IORING_OP_READ, IORING_OP_READ], 'others go the ordinary way')
    ring.unregisterBuffer(buffer)
    ring.unregisterBuffer(buffer)
    t.equal(buffer.registered, false)
    await ring.writeAt(fd, buffer, 0)
    t.same(opcodes(), [IORING_OP_WRITE])
  },
)

withRing(t, 'places of buffers are used again; all taken: false, and no failure', async t => {
  const ring = openRing(t, { depth: 8, registeredBuffers: 2 })
  const fd = temporaryFile(t)
  const [a, b, c] = [IoBuffer.alloc(4096), IoBuffer.alloc(4096), IoBuffer.alloc(4096)]
  if (!ring.registerBuffer(a)) {
    return void t.pass('registered', { skip: 'the limit of locked memory leaves no room' })
  }
  t.equal(ring.registerBuffer(b), true)
  t.equal(ring.registerBuffer(c), false)
  t.equal(c.registered, false)
  t.equal(await ring.writeAt(fd, c, 0), 4096, 'it works all the same')
  ring.unregisterBuffer(a)
  t.equal(ring.registerBuffer(c), true)
  t.equal(await ring.writeAt(fd, a, 0), 4096)
  t.equal(await ring.writeAt(fd, b, 0), 4096)
  t.equal(await ring.writeAt(fd, c, 0), 4096)
  const made = openRing(t).buffers(3, 4096)
  t.equal(made.length, 3)
  t.ok(made.every(buffer => buffer.registered))
})

withRing(t, 'a buffer that an operation has: registering is refused', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const buffer = IoBuffer.alloc(4096)
  const reading = ring.readAt(fifo.fd, buffer, 0, { length: 1 })
  t.equal(await codeOf(() => ring.registerBuffer(buffer)), 'ERR_RIOLOG_BUFFER_LENT')
  fifo.put('x')
  t.equal(await reading, 1)
})

withRing(t, 'unregistering a buffer does not break the chain that has it', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(4096)
  const other = IoBuffer.alloc(4096)
  if (!ring.registerBuffer(buffer)) {
    return void t.pass('registered', { skip: 'the limit of locked memory leaves no room' })
  }
  buffer.bytes.fill(65)
  const chain = ring.chain().readAt(fifo.fd, new Uint8Array(1), 0).writeAt(fd, buffer, 0).submit()
  ring.submitAll()
  await ring.nop()
  // Refused while the buffer is lent, or put off: both leave the operation whole.
  await codeOf(() => ring.unregisterBuffer(buffer))
  await codeOf(() => ring.registerBuffer(other))
  fifo.put('x')
  t.same(await chain.catch(error => error.results), [1, 4096])
  t.equal(contentOf(fd), 'A'.repeat(4096))
})

withRing(t, 'a limit of locked memory: not registered, and no failure', async t => {
  const { code, stdout, stderr } = await runChild('locked-memory.ts', [], {
    limits: '-l 64',
    user: process.getuid?.() === 0 ? 65534 : undefined,
  })
  t.equal(code, 0, stderr)
  const { registered, written, text } = JSON.parse(stdout || '{}')
  t.equal(registered, false)
  t.equal(written, 1 << 20)
  t.equal(text, 'zzz')
})

withRing(
  t,
  'a buffer that is registered behind the making of a batch is not emptied by it',
  async t => {
    const ring = openRing(t)
    const buffer = IoBuffer.alloc(4096)
    buffer.bytes.fill(1)
    const batch = ring.batch().madvise(buffer, 'dontNeed')
    const chain = ring.chain().madvise(buffer, 'dontNeed')
    if (!ring.registerBuffer(buffer)) return void t.pass('locked memory', { skip: 'ulimit -l' })
    t.equal(await codeOf(() => batch.submit()), INVALID)
    t.equal(await codeOf(() => chain.submit()), INVALID)
    buffer.bytes.fill(9)
    const fd = temporaryFile(t)
    await ring.writeAt(fd, buffer, 0)
    const back = new Uint8Array(4096)
    await ring.readAt(fd, back, 0)
    t.ok(back.every(byte => byte === 9))
  },
)

/** Memory that is shared, grown, shrunk, moved or dropped while an operation uses it. */
import { spawn } from 'node:child_process'
import { constants, existsSync, readFileSync, writeSync } from 'node:fs'
import t from 'tap'
import { IoBuffer, type Ring } from '../../../src/ring/index.ts'
import { Fifo, openRing, temporaryFile, withRing } from '../support.ts'
import { chainError, INVALID, notHanging, runChild } from './support.ts'

// Node 20 has resizable ArrayBuffers, which the types of its time do not know.
type Resizable = ArrayBuffer & { resize(bytes: number): void }
const resizable = (bytes: number, most: number): Resizable =>
  new (ArrayBuffer as unknown as new (bytes: number, options: object) => Resizable)(bytes, {
    maxByteLength: most,
  })

/** The types of browsers, which have it, are not loaded. */
interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): void
}
const { Memory } = (
  globalThis as unknown as { WebAssembly: { Memory: new (o: object) => WasmMemory } }
).WebAssembly

/** So large that no ring, whose mappings the kernel marks in the same way, is taken for it. */
const LARGE_KIB = 32 << 10

/** KiB of this process's large mappings that a fork leaves out ("dc" in VmFlags, proc(5)). */
function notForkedKib(): number {
  let kib = 0
  for (const mapping of readFileSync('/proc/self/smaps', 'latin1').split(/\n(?=[0-9a-f]+-)/)) {
    const flags = /^VmFlags:(.*)$/m.exec(mapping)?.[1] ?? ''
    const size = Number(/^Size:\s*(\d+) kB$/m.exec(mapping)?.[1])
    if (flags.split(' ').includes('dc') && size >= LARGE_KIB) kib += size
  }
  return kib
}

// Old kernels copy the page that a direct read writes to when the process forks, and not every test
// machine is old: so the mapping itself is looked at. First of all, while there is no memory of other
// tests that the collector may give back meanwhile.
t.test('memory for the kernel is copied to no child', async t => {
  if (!existsSync('/proc/self/smaps')) return void t.pass('smaps', { skip: 'not on Linux' })
  // The collector may give back memory of before in between: once in three times it does not.
  const kept: IoBuffer[] = []
  const grown = [1, 2, 3].map(() => {
    const before = notForkedKib()
    kept.push(IoBuffer.alloc(LARGE_KIB << 10))
    return notForkedKib() - before
  })
  t.ok(Math.max(...grown) >= LARGE_KIB, `${grown} KiB`)
  t.ok(kept.every(({ length }) => length === LARGE_KIB << 10))
})

withRing(t, 'a SharedArrayBuffer is read into and written from, by a copy', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const shared = new Uint8Array(new SharedArrayBuffer(16), 4, 8)
  shared.set(Buffer.from('12345678'))
  const written = ring.writeAt(fd, shared, 0)
  shared.fill(0)
  t.equal(await written, 8)
  t.equal(await ring.readAt(fd, shared, 2), 6)
  t.equal(Buffer.from(shared).toString('latin1'), '345678\0\0')
  t.same([...new Uint8Array(shared.buffer, 0, 4)], [0, 0, 0, 0], 'nothing before it')
  t.equal(await ring.readv(fd, [shared.subarray(0, 2), shared.subarray(2, 4)], 0), 4)
  t.equal(Buffer.from(shared).toString('latin1', 0, 4), '1234')
})

/** Each takes the array's memory away from where it was, while the read is in flight. */
const takenAway: readonly (readonly [string, () => { array: Uint8Array; take: () => void }])[] = [
  [
    'a WebAssembly.Memory that grows',
    () => {
      const memory = new Memory({ initial: 1, maximum: 4 })
      return { array: new Uint8Array(memory.buffer, 100, 8), take: () => void memory.grow(1) }
    },
  ],
  [
    'a resizable ArrayBuffer that shrinks',
    () => {
      const memory = resizable(4096, 8192)
      return { array: new Uint8Array(memory), take: () => memory.resize(0) }
    },
  ],
  [
    'a part of a resizable ArrayBuffer that shrinks',
    () => {
      const memory = resizable(4096, 8192)
      return { array: new Uint8Array(memory, 4088, 8), take: () => memory.resize(4090) }
    },
  ],
  [
    'an array that is transferred',
    () => {
      const array = new Uint8Array(8)
      return { array, take: () => void structuredClone(array, { transfer: [array.buffer] }) }
    },
  ],
]

for (const [what, make] of takenAway) {
  withRing(t, `${what} during a read: that read says so, alone`, async t => {
    const ring = openRing(t)
    const fifo = new Fifo(t)
    const { array, take } = make()
    const outcomes = Promise.allSettled([
      ring.readAt(fifo.fd, array, 0, { length: 8 }),
      ring.timeout(1),
      ring.readv(fifo.fd, [array.subarray(0, 8)], 0),
    ])
    ring.submitAll()
    take()
    // One after the other: each reader takes what is there.
    fifo.put('x'.repeat(8))
    await ring.timeout(5)
    fifo.put('y'.repeat(8))
    const [read, other, scattered] = await notHanging(outcomes, what)
    t.equal(other.status, 'fulfilled')
    t.match(read, { status: 'rejected', reason: { code: INVALID } })
    t.match(scattered, { status: 'rejected', reason: { code: INVALID } })
    t.equal(ring.inFlight, 0)
  })
}

withRing(t, 'an array that is transferred during a read of a batch: the batch settles', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, '12345678')
  const uncaught = watchUncaught(t)
  const array = new Uint8Array(8)
  const running = ring.batch().nop().readAt(fd, array, 0).nop().submit()
  structuredClone(array, { transfer: [array.buffer] })
  const outcome = await notHanging(
    running.then(
      results => [...results],
      error => error.code,
    ),
    'the batch',
  )
  t.ok(outcome === INVALID || Array.isArray(outcome), String(outcome))
  t.same(uncaught(), [])
})

withRing(t, 'an array that is transferred during a read of a broken chain: it settles', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, '1234567')
  const uncaught = watchUncaught(t)
  const array = new Uint8Array(8)
  const running = ring.chain().readAt(fd, array, 0).nop().submit()
  structuredClone(array, { transfer: [array.buffer] })
  const error = await notHanging(chainError(running), 'the chain')
  t.equal(error.code, 'ERR_RIOLOG_CHAIN_BROKEN')
  t.same(uncaught(), [])
})

function watchUncaught(t: { teardown(run: () => void): void }): () => string[] {
  const seen: string[] = []
  const note = (error: Error) => void seen.push(error.message)
  process.prependListener('uncaughtException', note)
  t.teardown(() => process.off('uncaughtException', note))
  return () => seen
}

withRing(t, 'a resizable ArrayBuffer may grow during a read', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, '12345678')
  const memory = resizable(8, 4096)
  const array = new Uint8Array(memory)
  const reading = ring.readAt(fd, array, 0)
  memory.resize(4096)
  t.equal(await reading, 8)
  t.equal(Buffer.from(array).toString('latin1', 0, 8), '12345678')
})

withRing(t, 'what a write takes from changing memory was there when it was asked for', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  for (const [what, make] of takenAway) {
    const { array, take } = make()
    array.fill(65)
    const bytes = array.length
    const written = ring.writeAt(fd, array, 0)
    const gathered = ring.writev(fd, [array, array], 4096 * 4)
    take()
    t.equal(await written, bytes, what)
    t.equal(await gathered, 2 * bytes, what)
    const found = new Uint8Array(bytes)
    await ring.readAt(fd, found, 0)
    t.ok(found.every(byte => byte === 65))
  }
})

async function readDirectly(ring: Ring, fd: number, blocks: number): Promise<number> {
  let wrong = 0
  const buffers = Array.from({ length: 16 }, () => IoBuffer.alloc(4096))
  for (let round = 0; round < 40; round++) {
    const reads = buffers.map((buffer, i) => {
      buffer.bytes.fill(0xff)
      return ring.readAt(fd, buffer, ((round * 16 + i) % blocks) * 4096)
    })
    await Promise.all(reads)
    for (let i = 0; i < buffers.length; i++) {
      const wanted = ((round * 16 + i) % blocks) & 0x7f
      if (!buffers[i].bytes.every(byte => byte === wanted)) wrong++
    }
  }
  return wrong
}

// A fork makes private pages copy-on-write: a direct read in flight would land in the child's page.
withRing(t, 'programs started during direct reads take no bytes away', async t => {
  const ring = openRing(t, { depth: 32 })
  let fd: number
  try {
    fd = temporaryFile(t, constants.O_DIRECT)
  } catch {
    return void t.pass('O_DIRECT', { skip: 'this file system has no direct I/O' })
  }
  const blocks = 256
  const content = IoBuffer.alloc(blocks * 4096)
  for (let i = 0; i < blocks; i++) content.bytes.fill(i & 0x7f, i * 4096, (i + 1) * 4096)
  await ring.writeAt(fd, content, 0)
  let going = true
  let started = 0
  const starting = (async () => {
    while (going) {
      await new Promise(resolve => spawn('/bin/true').on('close', resolve))
      started++
    }
  })()
  const wrong = await readDirectly(ring, fd, blocks)
  going = false
  await starting
  t.equal(wrong, 0)
  t.ok(started > 0)
})

withRing(t, 'buffers dropped in mid-flight: none is freed early, all are freed late', async t => {
  const { code, stdout, stderr } = await runChild('dropped-buffers.ts')
  t.equal(code, 0, stderr)
  t.same(JSON.parse(stdout || '{}'), { keptInFlight: 32, damaged: 0, leftAtEnd: 0 })
})

/** What each operation on files and names means, and what is refused before the kernel sees it. */
import { execFileSync } from 'node:child_process'
import { constants, existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FALLOC, IoBuffer, Ring, RWF } from '../../src/ring/index.ts'
import { codeOf, Fifo, openRing, temporaryFile, temporaryFolder, withRing } from './support.ts'

const INVALID = 'ERR_RIOLOG_INVALID_ARGUMENT'
/** The types of browsers, which have it, are not loaded. */
interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): void
}
const { Memory } = (
  globalThis as unknown as { WebAssembly: { Memory: new (o: object) => WasmMemory } }
).WebAssembly

const text = (path: string) => readFileSync(path, 'utf8')

withRing(t, 'names: made, renamed, linked, removed', async t => {
  const ring = openRing(t)
  const folder = temporaryFolder(t)
  const at = (name: string) => join(folder, name)
  await ring.mkdirat(at('dir'), { mode: 0o750 })
  t.equal(statSync(at('dir')).mode & 0o777, 0o750)
  const file = await ring.openat(at('dir/a'), { flags: constants.O_RDWR | constants.O_CREAT })
  t.equal(statSync(at('dir/a')).mode & 0o777, 0o600)
  await ring.writeAt(file, Buffer.from('content'), 0)
  await file.close()
  await ring.renameat(at('dir/a'), at('b'))
  t.equal(text(at('b')), 'content')
  await ring.linkat(at('b'), at('c'))
  t.equal(statSync(at('c')).nlink, 2)
  await ring.symlinkat('b', at('d'))
  t.equal(readlinkSync(at('d')), 'b')
  await ring.unlinkat(at('b'))
  await ring.unlinkat(at('dir'), { directory: true })
  t.equal(existsSync(at('b')) || existsSync(at('dir')), false)
  const missing = await ring.openat(at('nothing')).catch(error => error)
  t.match(missing, { code: 'ERR_RIOLOG_SYSTEM', errnoName: 'ENOENT', syscall: 'openat' })
  for (const path of ['a\0b', 'x'.repeat(4096), 3]) {
    t.equal(await codeOf(() => ring.openat(path as string)), INVALID)
  }
})

withRing(t, 'names relative to a directory that is open', async t => {
  const ring = openRing(t)
  const folder = temporaryFolder(t)
  const dir = await ring.openat(folder, { flags: constants.O_RDONLY | constants.O_DIRECTORY })
  const file = await ring.openat('x', { dir, flags: constants.O_WRONLY | constants.O_CREAT })
  await file.close()
  await ring.renameat('x', 'y', { dir })
  t.ok(existsSync(join(folder, 'y')))
  t.equal((await ring.statx('y', { dir })).size, 0)
  await dir.close()
  t.equal(await codeOf(() => ring.statx('y', { dir })), 'ERR_RIOLOG_CLOSED')
})

withRing(t, 'statx tells what stat tells', async t => {
  const ring = openRing(t)
  const path = join(temporaryFolder(t), 'file')
  writeFileSync(path, 'twelve bytes')
  const found = await ring.statx(path)
  const wanted = statSync(path, { bigint: true })
  t.equal(found.size, 12)
  t.equal(found.ino, wanted.ino)
  t.equal(found.mtimeNs, wanted.mtimeNs)
  t.equal(found.mode, Number(wanted.mode))
  t.ok(found.isFile() && !found.isDirectory())
})

withRing(t, 'sizes: fallocate, ftruncate, and what lies behind the end', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const size = async () => (await ring.statx(`/proc/self/fd/${fd}`)).size
  await ring.fallocate(fd, 0, 0, 10_000)
  t.equal(await size(), 10_000)
  await ring.fallocate(fd, FALLOC.KEEP_SIZE, 0, 100_000)
  t.equal(await size(), 10_000)
  if (ring.probe().operations.ftruncate) {
    await ring.ftruncate(fd, 3)
    t.equal(await size(), 3)
  }
  await ring.writeAt(fd, Buffer.from('abcdef'), 0)
  const into = new Uint8Array(10)
  t.equal(await ring.readAt(fd, into, 4), 2, 'a short read at the end')
  await ring.fadvise(fd, 0, 0, 'dontNeed')
  await ring.syncFileRange(fd)
  t.equal(await codeOf(() => ring.fadvise(fd, 0, 0, 'soon' as 'normal')), INVALID)
})

withRing(t, 'several buffers: lent and copied ones mixed, a short end scattered right', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const lent = IoBuffer.alloc(4)
  lent.bytes.set(Buffer.from('lent'))
  t.equal(await ring.writev(fd, [Buffer.from('array'), lent, Buffer.from('!')], 2), 10)
  const first = new Uint8Array(3)
  const last = Buffer.alloc(8, '.')
  t.equal(await ring.readv(fd, [first, lent, last], 2), 10)
  t.equal(Buffer.from(first).toString(), 'arr')
  t.equal(Buffer.from(lent.bytes).toString(), 'ayle')
  t.equal(last.toString(), 'nt!.....')
  t.equal(await codeOf(() => ring.readv(fd, [], 0)), INVALID)
  t.equal(await codeOf(() => ring.readv(fd, [lent, lent], 0)), 'ERR_RIOLOG_BUFFER_LENT')
  t.equal(lent.lent, false)
})

withRing(t, 'a part of a buffer; append; a write past the limit of file sizes', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(16)
  buffer.bytes.set(Buffer.from('0123456789abcdef'))
  await ring.writeAt(fd, buffer, 0, { from: 10, length: 6 })
  await ring.writeAt(fd, Buffer.from('xyz'), 0, { from: 1, length: 1, rwFlags: RWF.APPEND })
  t.equal(readFileSync(fd, 'utf8'), 'abcdefy')
  for (const [from, length] of [
    [0, 17],
    [17, 0],
    [-1, 1],
    [0.5, 1],
    [1, NaN],
  ]) {
    t.equal(await codeOf(() => ring.writeAt(fd, buffer, 0, { from, length })), INVALID)
  }
  t.equal(buffer.lent, false)
  const far = await ring.writeAt(fd, Buffer.from('x'), Number.MAX_SAFE_INTEGER).catch(e => e)
  t.match(far, { errnoName: 'EFBIG', syscall: 'write' })
})

withRing(t, 'direct I/O: what is not aligned is refused before the kernel sees it', async t => {
  const ring = openRing(t)
  const path = join(temporaryFolder(t), 'file')
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT
  const file = await ring.openat(path, { flags }).catch(() => undefined)
  if (file === undefined) return void t.pass('O_DIRECT', { skip: 'not on this file system' })
  if (file.alignment === 1) return void t.pass('O_DIRECT', { skip: 'it asks for no alignment' })
  const step = file.alignment
  const buffer = IoBuffer.alloc(4 * step)
  const refused: [number, { from?: number; length?: number }][] = [
    [1, {}],
    [step / 2, {}],
    [0, { length: step + 1 }],
    [0, { from: 1, length: step }],
  ]
  for (const target of [file, file.fd, ring.registerFile(file), { fd: file.fd }]) {
    for (const [offset, options] of refused) {
      const code = await codeOf(() => ring.writeAt(target, buffer, offset, options))
      t.equal(code, 'ERR_RIOLOG_MISALIGNED')
    }
    t.equal(await ring.writeAt(target, buffer, step, { from: step, length: step }), step)
    // An array goes through a copy, which is aligned.
    t.equal(await ring.readAt(target, new Uint8Array(step * 2 + 1).subarray(1), 0), step * 2)
  }
  t.equal(buffer.lent, false)
  t.equal(await codeOf(() => ring.readv(file, [new Uint8Array(3)], 0)), 'ERR_RIOLOG_MISALIGNED')
  await file.close()
})

withRing(t, 'splice and tee move bytes between a pipe and a file', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const one = new Fifo(t)
  const two = new Fifo(t)
  one.put('through pipes')
  t.equal(await ring.tee(one.fd, two.fd, 100), 13)
  t.equal(await ring.splice(one.fd, fd, 100, { toOffset: 3 }), 13)
  t.equal(await ring.splice(two.fd, fd, 7, { toOffset: 16 }), 7)
  t.equal(readFileSync(fd, 'latin1').slice(3), 'through pipesthrough')
  t.equal(await ring.splice(fd, one.fd, 4, { fromOffset: 3 }), 4)
  const into = new Uint8Array(4)
  await ring.readAt(one.fd, into, 0)
  t.equal(Buffer.from(into).toString(), 'thro')
})

withRing(t, 'memory that changes its size meanwhile is told by name', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  const wasm = new Memory({ initial: 1, maximum: 2 })
  const reading = ring.readAt(fifo.fd, new Uint8Array(wasm.buffer, 0, 4), 0)
  wasm.grow(1)
  fifo.put('abcd')
  await t.rejects(reading, { code: INVALID, message: /transferred or shrunk/ })
  const shared = new Uint8Array(new SharedArrayBuffer(4))
  fifo.put('abcd')
  t.equal(await ring.readAt(fifo.fd, shared, 0), 4)
  t.equal(Buffer.from(shared).toString(), 'abcd')
  type Resizable = ArrayBuffer & { resize(length: number): void }
  const Buffers = ArrayBuffer as unknown as new (n: number, o: object) => Resizable
  const memory = new Buffers(8, { maxByteLength: 16 })
  const shrunk = ring.readAt(fifo.fd, new Uint8Array(memory), 0)
  memory.resize(2)
  fifo.put('abcd')
  await t.rejects(shrunk, { code: INVALID })
})

withRing(t, 'a program that is started meanwhile takes nothing of a direct read', async t => {
  const ring = openRing(t)
  const path = join(temporaryFolder(t), 'file')
  writeFileSync(path, Buffer.alloc(1 << 20, 0xa5))
  const flags = constants.O_RDONLY | constants.O_DIRECT
  const file = await ring.openat(path, { flags }).catch(() => undefined)
  if (file === undefined) return void t.pass('O_DIRECT', { skip: 'not on this file system' })
  for (let round = 0; round < 10; round++) {
    const buffer = IoBuffer.alloc(1 << 20)
    buffer.bytes.fill(0)
    const reading = ring.readAt(file, buffer, 0)
    ring.submitAll()
    execFileSync('true')
    t.equal(await reading, 1 << 20)
    if (!buffer.bytes.every(byte => byte === 0xa5)) t.fail('bytes of the read are lost')
  }
  await file.close()
})

withRing(
  t,
  'registered files: reused, refused when released, good when the descriptor is gone',
  async t => {
    const ring = openRing(t, { depth: 8, registeredFiles: 2 })
    const other = openRing(t)
    const path = join(temporaryFolder(t), 'file')
    writeFileSync(path, 'content')
    const handle = await ring.openat(path)
    const file = ring.registerFile(handle)
    const second = ring.registerFile(handle)
    t.equal(await codeOf(() => ring.registerFile(handle)), 'ERR_RIOLOG_SYSTEM', 'ENFILE')
    await handle.close()
    const into = new Uint8Array(7)
    t.equal(await ring.readAt(file, into, 0), 7)
    t.equal(await codeOf(() => other.readAt(file, into, 0)), INVALID)
    file.release()
    file.release()
    t.equal(await codeOf(() => ring.readAt(file, into, 0)), INVALID)
    const third = ring.registerFile(temporaryFile(t))
    t.equal(third.index, file.index, 'the place is used again')
    t.equal(await ring.readAt(third, into, 0), 0)
    t.equal(await ring.readAt(second, into, 0), 7)
  },
)

withRing(t, 'registered buffers: softly refused when there is no place', async t => {
  const ring = openRing(t, { depth: 8, registeredBuffers: 2 })
  const fd = temporaryFile(t)
  const [one, two, three] = ring.buffers(3, 4096)
  if (!one.registered) return void t.pass('registered', { skip: 'no locked memory, or < 5.19' })
  t.same([two.registered, three.registered], [true, false])
  for (const buffer of [one, two, three]) t.equal(await ring.writeAt(fd, buffer, 0), 4096)
  ring.unregisterBuffer(one)
  ring.unregisterBuffer(one)
  t.equal(one.registered, false)
  t.equal(ring.registerBuffer(three), true)
  t.equal(await ring.readAt(fd, one, 0), 4096)
})

withRing(t, 'a batch: results in order, failures among them, and once more', async t => {
  const ring = openRing(t, { depth: 4 })
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(4)
  const batch = ring.batch().writeAt(fd, buffer, 0).fsync(0x7fffffff).fdatasync(fd)
  for (let i = 0; i < 100; i++) batch.nop()
  for (let round = 0; round < 3; round++) {
    const running = batch.submit()
    t.equal(await codeOf(() => batch.submit()), INVALID, 'while it runs')
    t.equal(buffer.lent, true)
    const results = await running
    t.same([...results.subarray(0, 4)], [4, -9, 0, 0])
    t.equal(results.length, 103)
    t.equal(buffer.lent, false)
  }
  const once = ring.batch().readAt(fd, new Uint8Array(4), 0)
  t.same([...(await once.submit())], [4])
  t.equal(await codeOf(() => once.submit()), INVALID)
  t.equal(await codeOf(() => ring.batch().submit()), INVALID)
  t.equal(await codeOf(() => ring.batch().openat('x')), INVALID)
})

withRing(t, 'waitSync holds the thread; others are told when it is free', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const fifo = new Fifo(t)
  const order: string[] = []
  const other = ring.nop().then(() => order.push('other'))
  t.equal(ring.writeAt(fd, Buffer.from('abc'), 0).waitSync(), 3)
  t.same(ring.chain().fsync(fd).nop().submit().waitSync(), [undefined, undefined])
  t.same(order, [])
  await other
  t.same(order, ['other'])
  t.throws(() => ring.fsync(0x7fffffff).waitSync(), { code: 'ERR_RIOLOG_SYSTEM' })
  const reading = ring.readAt(fifo.fd, new Uint8Array(1), 0)
  t.throws(() => reading.waitSync({ timeoutMs: 5 }), { code: 'ERR_RIOLOG_TIMEOUT' })
  t.equal(reading.isDone, false)
  fifo.put('x')
  t.equal(reading.waitSync(), 1)
  t.equal(reading.waitSync(), 1)
  t.equal(await reading, 1)
  const late = ring.readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 })
  t.throws(() => late.waitSync(), { code: 'ERR_RIOLOG_TIMEOUT' })
  const chain = ring.chain().fsync(fd).readAt(fifo.fd, new Uint8Array(1), 0, { deadlineMs: 5 })
  t.throws(() => chain.submit().waitSync(), { code: 'ERR_RIOLOG_CHAIN_BROKEN' })
})

withRing(t, 'a ring that measures: each histogram has what happened', async t => {
  const ring = openRing(t, { depth: 8, profile: true })
  for (let i = 0; i < 10; i++) await Promise.all([ring.nop(), ring.timeout(1)])
  const profile = ring.profile()
  t.equal(profile?.operations.nop.count, 10)
  t.ok((profile?.operations.timeout.min ?? 0) >= 1e6, 'in nanoseconds')
  t.ok((profile?.submit.count ?? 0) >= 10)
  t.equal(profile?.batch.max, 2)
  t.ok((profile?.inFlight.max ?? 0) >= 2)
  t.equal(profile?.wait.count, 20)
  t.equal(openRing(t).profile(), undefined)
})

withRing(t, "SQPOLL: a kernel's thread submits, sleeps, and is woken", async t => {
  let ring: Ring
  try {
    ring = openRing(t, { depth: 8, sqPoll: { idleMs: 5, cpu: 0 } })
  } catch {
    return void t.pass('SQPOLL', { skip: 'refused here' })
  }
  const fd = temporaryFile(t)
  for (let round = 0; round < 5; round++) {
    t.same(await ring.chain().writeAt(fd, Buffer.from('x'), round).fsync(fd).submit(), [
      1,
      undefined,
    ])
    await Promise.all(Array.from({ length: 100 }, () => ring.nop()))
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.equal(statSync(`/proc/self/fd/${fd}`).size, 5)
  t.equal(await codeOf(() => Ring.open({ sqPoll: { idleMs: -1 } })), INVALID)
  for (const options of [
    { sqpoll: true },
    { sqPoll: { idle: 5 } },
    { sqPoll: 5 },
    { depth: 8, '': 1 },
  ]) {
    t.throws(() => Ring.open(options as never), { code: INVALID }, JSON.stringify(options))
  }
  t.throws(() => Ring.open({ sqpoll: true } as never), { message: /no option sqpoll; .*sqPoll/ })
  t.equal(await codeOf(() => Ring.open({ setupFlags: 1 << 10 })), INVALID, 'SQE128')
})

withRing(t, 'a polled ring refuses what cannot be polled, by name', async t => {
  const ring = openRing(t, { depth: 8, ioPoll: true })
  const fd = temporaryFile(t)
  t.throws(() => ring.fsync(fd), { code: 'ERR_RIOLOG_UNSUPPORTED', message: /fsync.*ioPoll/ })
  t.throws(() => ring.chain().fdatasync(fd), { code: 'ERR_RIOLOG_UNSUPPORTED' })
  t.equal(await codeOf(() => ring.readAt(fd, new Uint8Array(1), 0)), 'ERR_RIOLOG_SYSTEM')
  t.equal(await ring.nop(), undefined)
})

/** Every operation for its plain meaning, against what node:fs and node:net say of it. */
import {
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  FALLOC,
  type InternetAddress,
  IoBuffer,
  MSG,
  POLL,
  RWF,
  SYNC_FILE_RANGE,
} from '../../../src/ring/index.ts'
import { codeOf, Fifo, openRing, temporaryFile, temporaryFolder, withRing } from '../support.ts'
import {
  BAD_FD,
  connection,
  contentOf,
  failing,
  INVALID,
  notHanging,
  UNSUPPORTED,
} from './support.ts'

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_RDWR } = constants

withRing(t, 'openat: flags, mode, a directory to start at, and what is refused', async t => {
  const ring = openRing(t)
  const folder = temporaryFolder(t)
  const file = await ring.openat(join(folder, 'a'), { flags: O_RDWR | O_CREAT, mode: 0o640 })
  t.equal(fstatSync(file.fd).mode & 0o777 & ~process.umask(), 0o640 & ~process.umask())
  await ring.writeAt(file, Buffer.from('abc'), 0)
  await file.close()
  t.equal(readFileSync(join(folder, 'a'), 'utf8'), 'abc')
  const dir = await ring.openat(folder, { flags: O_DIRECTORY })
  const again = await ring.openat('a', { dir })
  t.equal(await ring.readAt(again, new Uint8Array(9), 0), 3)
  await again.close()
  const exclusive = ring.openat('a', { dir, flags: O_CREAT | O_EXCL })
  await t.rejects(exclusive, failing('EEXIST'))
  await t.rejects(ring.openat(join(folder, 'none')), failing('ENOENT'))
  const bytes = Uint8Array.from([0xff, 0xfe, 0x41])
  await (await ring.openat(bytes, { dir, flags: O_RDWR | O_CREAT })).close()
  t.ok(existsSync(Buffer.concat([Buffer.from(`${folder}/`), bytes])), 'a name that is no UTF-8')
  for (const path of ['a\0b', 'x'.repeat(4096), 7, null]) {
    t.equal(await codeOf(() => ring.openat(path as string)), INVALID)
  }
  t.equal(await codeOf(() => ring.openat('a', { flags: -1 })), INVALID)
  await dir.close()
  t.equal(dir.fd, -1)
  t.equal(await codeOf(() => ring.openat('a', { dir })), 'ERR_RIOLOG_CLOSED')
})

withRing(t, 'statx', async t => {
  const ring = openRing(t)
  const path = join(temporaryFolder(t), 'file')
  writeFileSync(path, 'x'.repeat(1234), { mode: 0o604 })
  const found = await ring.statx(path)
  const wanted = statSync(path, { bigint: true })
  const { mode, uid, gid, nlink, blocks } = statSync(path)
  t.match(found, {
    size: 1234,
    ino: wanted.ino,
    mtimeNs: wanted.mtimeNs,
    mode,
    uid,
    gid,
    nlink,
    blocks,
  })
  t.equal(found.isFile(), true)
  t.equal((await ring.statx(join(path, '..'))).isDirectory(), true)
  symlinkSync('file', `${path}-link`)
  t.equal((await ring.statx(`${path}-link`)).ino, found.ino)
  const link = await ring.statx(`${path}-link`, { noFollow: true })
  t.equal(link.ino, lstatSync(`${path}-link`, { bigint: true }).ino)
  t.equal(link.isFile(), false)
  await t.rejects(ring.statx(`${path}/x`), failing('ENOTDIR'))
})

withRing(t, 'mkdirat, linkat, symlinkat, renameat, unlinkat', async t => {
  const ring = openRing(t)
  const folder = temporaryFolder(t)
  const at = (name: string) => join(folder, name)
  await ring.mkdirat(at('dir'), { mode: 0o750 })
  t.equal(statSync(at('dir')).mode & 0o777, 0o750 & ~process.umask())
  await t.rejects(ring.mkdirat(at('dir')), failing('EEXIST'))
  writeFileSync(at('one'), 'one')
  await ring.linkat(at('one'), at('two'))
  t.equal(statSync(at('two')).ino, statSync(at('one')).ino)
  await ring.symlinkat('../one', at('dir/link'))
  t.equal(readlinkSync(at('dir/link')), '../one')
  const dir = await ring.openat(at('dir'), { flags: O_DIRECTORY })
  const top = await ring.openat(folder, { flags: O_DIRECTORY })
  await ring.renameat('one', 'moved', { dir: top, newDir: dir })
  t.equal(readFileSync(at('dir/moved'), 'utf8'), 'one')
  await ring.renameat('moved', 'again', { dir })
  t.equal(existsSync(at('dir/again')), true, 'newDir is dir unless given')
  const noReplace = ring.renameat(at('two'), at('dir/again'), { flags: 1 }) // RENAME_NOREPLACE
  await t.rejects(noReplace, failing('EEXIST'))
  await ring.unlinkat('again', { dir })
  await t.rejects(ring.unlinkat(at('dir')), failing('EISDIR'))
  await t.rejects(ring.unlinkat(at('dir'), { directory: true }), failing('ENOTEMPTY'))
  await ring.unlinkat(at('dir/link'))
  await ring.unlinkat(at('dir'), { directory: true })
  t.equal(existsSync(at('dir')), false)
  await dir.close()
  await top.close()
})

withRing(t, 'fallocate, ftruncate, fadvise, madvise, sync_file_range', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  await ring.fallocate(fd, 0, 0, 65536)
  t.equal(fstatSync(fd).size, 65536)
  await ring.fallocate(fd, FALLOC.KEEP_SIZE, 65536, 65536)
  t.equal(fstatSync(fd).size, 65536)
  await ring.writeAt(fd, Buffer.alloc(65536, 'a'), 0)
  await ring.fallocate(fd, FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE, 4096, 8192)
  const content = contentOf(fd)
  t.equal(content[4095], 'a')
  t.equal(content.slice(4096, 12288), '\0'.repeat(8192))
  t.equal(content[12288], 'a')
  if (ring.probe().operations.ftruncate) {
    await ring.ftruncate(fd, 100)
    t.equal(fstatSync(fd).size, 100)
    await ring.ftruncate(fd, 2 ** 33 + 1)
    t.equal(fstatSync(fd).size, 2 ** 33 + 1)
  } else {
    t.equal(await codeOf(() => ring.ftruncate(fd, 100)), UNSUPPORTED)
  }
  for (const advice of ['normal', 'random', 'sequential', 'willNeed', 'dontNeed'] as const) {
    t.equal(await ring.fadvise(fd, 0, 0, advice), undefined)
  }
  const buffer = IoBuffer.alloc(65536)
  buffer.bytes.fill(1)
  t.equal(await ring.madvise(buffer, 'willNeed'), undefined)
  t.equal(buffer.bytes[0], 1)
  t.equal(await ring.madvise(buffer, 'dontNeed'), undefined)
  t.ok(
    buffer.bytes.every(byte => byte === 0),
    'its pages were given back',
  )
  t.equal(await codeOf(() => ring.madvise(buffer, 'noReuse')), INVALID)
  t.equal(await codeOf(() => ring.madvise(new Uint8Array(1) as never, 'normal')), INVALID)
  const range = { offset: 0, length: 4096, flags: SYNC_FILE_RANGE.WRITE }
  t.equal(await ring.syncFileRange(fd, range), undefined)
  await t.rejects(ring.syncFileRange(fd, { flags: 64 }), failing('EINVAL'))
  await t.rejects(ring.fallocate(BAD_FD, 0, 0, 1), failing('EBADF'))
})

withRing(t, 'readv and writev: arrays and buffers mixed, in order', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const lent = IoBuffer.alloc(4)
  lent.bytes.set(Buffer.from('BBBB'))
  const written = ring.writev(fd, [Buffer.from('aa'), lent, new Uint8Array(0), Buffer.from('c')], 1)
  t.equal(lent.lent, true)
  t.equal(await written, 7)
  t.equal(lent.lent, false)
  t.equal(contentOf(fd), '\0aaBBBBc')
  const parts = [new Uint8Array(1), lent, Buffer.alloc(5, '.')]
  t.equal(await ring.readv(fd, parts, 2), 6)
  t.equal(parts[0] instanceof Uint8Array && parts[0][0], 97)
  t.equal(Buffer.from(lent.bytes).toString(), 'BBBB')
  t.equal(parts[2].toString(), 'c....')
  t.equal(await codeOf(() => ring.writev(fd, [lent, lent], 0)), 'ERR_RIOLOG_BUFFER_LENT')
  t.equal(lent.lent, false)
  for (const buffers of [[], new Array(1025).fill(new Uint8Array(1)), [1], null]) {
    t.equal(await codeOf(() => ring.writev(fd, buffers as Uint8Array[], 0)), INVALID)
  }
  const many = Array.from({ length: 1024 }, (_, i) => Buffer.from([i & 0xff]))
  t.equal(await ring.writev(fd, many, 0), 1024)
  t.equal(contentOf(fd).length, 1024)
})

withRing(t, 'RWF flags: append, no waiting, durable', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  writeSync(fd, 'start')
  t.equal(await ring.writeAt(fd, Buffer.from('+end'), 0, { rwFlags: RWF.APPEND }), 4)
  t.equal(contentOf(fd), 'start+end')
  t.equal(await ring.writeAt(fd, Buffer.from('S'), 0, { rwFlags: RWF.DSYNC }), 1)
  t.equal(await ring.writev(fd, [Buffer.from('T')], 1, { rwFlags: RWF.SYNC }), 1)
  t.equal(contentOf(fd), 'STart+end')
  const fifo = new Fifo(t)
  const nowait = ring.readAt(fifo.fd, new Uint8Array(1), 0, { rwFlags: RWF.NOWAIT })
  const refused = await notHanging(
    nowait.then(String, error => error.errnoName),
    'a read that must not wait',
  )
  t.ok(['EAGAIN', 'ENOTSUP', 'EOPNOTSUPP'].includes(refused), refused)
  const unknown = ring.readAt(fd, new Uint8Array(1), 0, { rwFlags: 1 << 30 })
  t.equal(await codeOf(() => unknown), 'ERR_RIOLOG_SYSTEM')
  const appended = await ring.openat(`/proc/self/fd/${fd}`, { flags: O_RDWR | O_APPEND })
  t.equal(await ring.writeAt(appended, Buffer.from('!'), 0), 1)
  t.equal(contentOf(fd), 'STart+end!')
  await appended.close()
})

withRing(t, 'splice and tee', async t => {
  const ring = openRing(t)
  const from = temporaryFile(t)
  const to = temporaryFile(t)
  writeSync(from, '0123456789')
  const [one, two] = [new Fifo(t), new Fifo(t)]
  t.equal(await ring.splice(from, one.fd, 4, { fromOffset: 3 }), 4)
  t.equal(await ring.tee(one.fd, two.fd, 100), 4)
  t.equal(await ring.splice(one.fd, to, 100, { toOffset: 2 }), 4)
  t.equal(contentOf(to), '\0\x003456')
  const copied = new Uint8Array(9)
  t.equal(await ring.readAt(two.fd, copied, 0), 4)
  t.equal(Buffer.from(copied).toString('latin1', 0, 4), '3456', 'a copy of what went on')
  await t.rejects(ring.splice(from, to, 4), failing('EINVAL'), 'one has to be a pipe')
})

withRing(t, 'poll and timeout', async t => {
  const ring = openRing(t)
  const fifo = new Fifo(t)
  t.equal((await ring.poll(fifo.fd, POLL.OUT)) & POLL.OUT, POLL.OUT)
  const readable = ring.poll(fifo.fd, POLL.IN)
  await ring.nop()
  t.equal(readable.isDone, false)
  fifo.put('x')
  t.equal((await readable) & POLL.IN, POLL.IN)
  const before = process.hrtime.bigint()
  t.equal(await ring.timeout(20.5), undefined)
  t.ok(process.hrtime.bigint() - before >= 20_000_000n, 'not before its time')
  for (const wrong of [0, -1, Number.NaN, Infinity, 2 ** 32, '5']) {
    t.equal(await codeOf(() => ring.timeout(wrong as number)), INVALID)
  }
  const both = [ring.timeout(40).then(() => 'late'), ring.timeout(5).then(() => 'early')]
  t.equal(await Promise.race(both), 'early')
  await Promise.all(both)
})

withRing(t, 'cancelMatching: by descriptor, by handle, by registered file, all', async t => {
  const ring = openRing(t, { depth: 32 })
  if (!ring.probe().operations.socket) return void t.pass('older than Linux 5.19')
  const [one, two, three] = [new Fifo(t), new Fifo(t), new Fifo(t)]
  const registered = ring.registerFile(two.fd)
  const outcome = (completion: PromiseLike<unknown>) =>
    completion.then(String, error => error.errnoName)
  const asked = [one.fd, one.fd, two.fd, registered, three.fd].map(file =>
    outcome(ring.readAt(file, new Uint8Array(1), 0)),
  )
  const timer = outcome(ring.timeout(600_000))
  t.equal(await ring.cancelMatching({ file: one.fd }), 2)
  t.same(await Promise.all(asked.slice(0, 2)), ['ECANCELED', 'ECANCELED'])
  t.equal(await ring.cancelMatching({ file: registered }), 2, 'one file, by both its names')
  t.same(await Promise.all(asked.slice(2, 4)), ['ECANCELED', 'ECANCELED'])
  t.equal(await ring.cancelHandle(three.fd), 1)
  t.equal(await asked[4], 'ECANCELED')
  t.equal(await ring.cancelMatching(), 1, 'all that is left, timers too')
  t.equal(await timer, 'ECANCELED')
  t.equal(await ring.cancelMatching(), 0)
})

withRing(t, 'send, recv, shutdown: both ways, parts of buffers, and the end', async t => {
  const ring = openRing(t)
  const { near, far } = await connection(t, ring)
  const buffer = IoBuffer.alloc(16)
  buffer.bytes.set(Buffer.from('0123456789abcdef'))
  t.equal(await ring.send(near, buffer, { from: 4, length: 3 }), 3)
  const into = new Uint8Array(8)
  t.equal(await ring.recv(far, into, { flags: MSG.PEEK }), 3)
  t.equal(await ring.recv(far, into, { from: 2 }), 3)
  t.equal(Buffer.from(into).toString('latin1'), '45456\0\0\0')
  t.equal(await ring.send(far, Buffer.from('back')), 4)
  t.equal(await ring.recv(near, buffer), 4)
  const waiting = ring.recv(near, buffer, { flags: MSG.DONTWAIT })
  await t.rejects(waiting, failing('EAGAIN'))
  t.equal(await ring.shutdown(near, 'write'), undefined)
  t.equal(await ring.recv(far, into), 0)
  await t.rejects(ring.send(near, into), failing('EPIPE'), 'and no signal')
  t.equal(await codeOf(() => ring.shutdown(near, 'none' as 'both')), INVALID)
  t.equal(await codeOf(() => ring.send(near, buffer, { from: 15, length: 2 })), INVALID)
})

withRing(t, 'socket, bind, listenOn, connect, accept: IPv4, IPv6 and Unix', async t => {
  const ring = openRing(t)
  if (!ring.probe().operations.bind) return void t.pass('older than Linux 6.11')
  const path = join(temporaryFolder(t), 'socket')
  const places = [
    ['IPv4', { address: '127.0.0.1', port: 0 }],
    ['IPv6', { address: '::1', port: 0 }],
    ['unix', { path }],
    ['unix', { path: `\0riolog-${process.pid}` }],
  ] as const
  for (const [family, on] of places) {
    const listening = await ring.socket(family, 'stream')
    const bound = await codeOf(() => ring.bind(listening, on))
    if (bound !== undefined && family === 'IPv6') {
      t.comment('no IPv6 here')
      await listening.close()
      continue
    }
    t.equal(bound, undefined)
    t.equal(await ring.listenOn(listening.fd, 4), undefined)
    const accepted = ring.accept(listening.fd)
    const near = await ring.dial(listening.address())
    const far = await accepted
    await ring.send(near, Buffer.from('hello'))
    t.equal(await ring.recv(far, new Uint8Array(9)), 5)
    if (family !== 'unix') t.same(near.peerAddress(), listening.address())
    await Promise.all([near.close(), far.close(), listening.close()])
  }
  await t.rejects(ring.dial({ path: `${path}-none` }), failing('ENOENT'))
  for (const wrong of [{ path: '' }, { path: 'x'.repeat(200) }, { address: 'host', port: 1 }, {}]) {
    t.equal(await codeOf(() => ring.listen({ on: wrong as { path: string } })), INVALID)
  }
})

withRing(t, 'sendmsg and recvmsg: who sent it, several buffers, what does not fit', async t => {
  const ring = openRing(t)
  const on = { address: '127.0.0.1', port: 0 }
  const [one, two] = [ring.datagram({ on }), ring.datagram({ on })]
  const to = two.address() as InternetAddress
  const parts = [Buffer.from('ab'), Buffer.from('cde')]
  t.equal(await ring.sendmsg(one, parts, to), 5)
  const into = [new Uint8Array(1), IoBuffer.alloc(8)]
  const found = await ring.recvmsg(two, into)
  t.match(found, { length: 5, truncated: false, from: one.address() })
  t.equal(Buffer.from((into[1] as IoBuffer).bytes).toString('latin1', 0, 4), 'bcde')
  await ring.sendmsg(one, [Buffer.from('too long')], to)
  const short = new Uint8Array(3)
  t.match(await ring.recvmsg(two, [short]), { length: 3, truncated: true })
  t.equal(Buffer.from(short).toString(), 'too')
  await ring.sendmsg(one, [Buffer.from('next')], to)
  const next = await ring.recvmsg(two, [new Uint8Array(9)])
  t.match(next, { length: 4, truncated: false }, 'the rest of it is lost')
  await ring.connect(one, to)
  t.equal(await ring.sendmsg(one, [Buffer.from('x')]), 1, 'to whom it is connected')
  t.match(await ring.recvmsg(two, [new Uint8Array(9)]), { length: 1 })
  t.equal(await ring.sendmsg(one, [new Uint8Array(0)]), 0)
  t.match(await ring.recvmsg(two, [new Uint8Array(9)]), { length: 0, truncated: false })
  await Promise.all([one.close(), two.close()])

  const folder = temporaryFolder(t)
  const unix = ring.datagram({ on: { path: join(folder, 'a') } })
  const from = ring.datagram({ on: { path: join(folder, 'b') } })
  await ring.sendmsg(from, [Buffer.from('unix')], { path: join(folder, 'a') })
  const path = join(folder, 'b')
  t.match(await ring.recvmsg(unix, [new Uint8Array(9)]), {
    length: 4,
    from: { family: 'unix', path },
  })
  await Promise.all([unix.close(), from.close()])
})

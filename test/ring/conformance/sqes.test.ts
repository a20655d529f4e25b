/**
 * What the kernel gets to see of each operation. The flags of an operation (fsync_flags, msg_flags,
 * accept_flags, ...) share one word of the SQE and must never stand in `flags`, where the same bits
 * mean a registered file, a drain or a link.
 */
import { constants } from 'node:fs'
import t from 'tap'
import * as abi from '../../../src/ring/abi.ts'
import {
  type Completion,
  FALLOC,
  type InternetAddress,
  IoBuffer,
  MSG,
  POLL,
  type Ring,
  RWF,
  SYNC_FILE_RANGE,
} from '../../../src/ring/index.ts'
import type { Test } from '../../support/engines.ts'
import { Fifo, openRing, temporaryFile, temporaryFolder, withRing } from '../support.ts'
import { BAD_FD, connection, queueOf } from './support.ts'

const CLOEXEC = 0o2000000

/** The SQEs that one operation became; its outcome does not matter here. */
async function sqesOf(ring: Ring, ask: () => Completion<unknown>) {
  const queue = queueOf(ring)
  queue.takeTrace()
  await ask().catch(() => {})
  return queue.takeTrace()
}

function tracedRing(t: Test): Ring {
  const ring = openRing(t, { depth: 16 })
  queueOf(ring).traceOn()
  return ring
}

withRing(t, 'SQEs of fsync, fdatasync and sync_file_range', async t => {
  const ring = tracedRing(t)
  const fd = temporaryFile(t)
  const plain = { fd, flags: 0, ioprio: 0, offset: 0, address: 0, length: 0 }
  t.match(await sqesOf(ring, () => ring.fsync(fd)), [
    { ...plain, opcode: abi.IORING_OP_FSYNC, opFlags: 0 },
  ])
  t.match(await sqesOf(ring, () => ring.fdatasync(fd)), [
    { ...plain, opcode: abi.IORING_OP_FSYNC, opFlags: abi.IORING_FSYNC_DATASYNC },
  ])
  const flags = SYNC_FILE_RANGE.WRITE | SYNC_FILE_RANGE.WAIT_BEFORE
  const range = { offset: 8192, length: 4096, flags }
  t.match(await sqesOf(ring, () => ring.syncFileRange(fd, range)), [
    {
      ...plain,
      opcode: abi.IORING_OP_SYNC_FILE_RANGE,
      offset: 8192,
      length: 4096,
      opFlags: flags,
    },
  ])
  t.match(await sqesOf(ring, () => ring.syncFileRange(fd)), [
    { ...plain, opcode: abi.IORING_OP_SYNC_FILE_RANGE, opFlags: 7 },
  ])
})

withRing(t, 'SQEs of send, recv, accept and connect', async t => {
  const ring = tracedRing(t)
  const { near, far } = await connection(t, ring)
  const [sent] = await sqesOf(ring, () => ring.send(near, Buffer.from('abc'), { flags: MSG.MORE }))
  t.match(sent, {
    opcode: abi.IORING_OP_SEND,
    fd: near.fd,
    flags: 0,
    ioprio: 0,
    offset: 0,
    length: 3,
    opFlags: MSG.MORE | MSG.NOSIGNAL,
  })
  t.ok(sent.address !== 0)
  await ring.send(near, Buffer.from('d'))
  const [received] = await sqesOf(ring, () =>
    ring.recv(far, new Uint8Array(4), { flags: MSG.PEEK | MSG.WAITALL }),
  )
  t.match(received, {
    opcode: abi.IORING_OP_RECV,
    fd: far.fd,
    flags: 0,
    ioprio: 0,
    offset: 0,
    length: 4,
    opFlags: MSG.PEEK | MSG.WAITALL,
  })
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const address = listening.address() as InternetAddress
  const fd = listening.fd
  const socket = await ring.socket('IPv4', 'stream')
  const [connected] = await sqesOf(ring, () => ring.connect(socket, address))
  t.match(connected, {
    opcode: abi.IORING_OP_CONNECT,
    fd: socket.fd,
    flags: 0,
    ioprio: 0,
    offset: 16, // sizeof(struct sockaddr_in)
    length: 0,
    opFlags: 0,
  })
  const [long] = await sqesOf(ring, () => ring.connect(socket, { address: '::1', port: 9 }))
  t.equal(long.offset, 28, 'sizeof(struct sockaddr_in6)')
  const accepting = ring.accept(listening)
  const [accepted] = await sqesOf(ring, () => accepting)
  t.match(accepted, {
    opcode: abi.IORING_OP_ACCEPT,
    fd,
    flags: 0,
    ioprio: 0,
    offset: 0,
    address: 0,
    length: 0,
    opFlags: CLOEXEC,
  })
  await Promise.all([accepting.then(one => one.close()), socket.close(), listening.close()])
})

withRing(t, 'SQEs of multishot accept, recv and poll', async t => {
  const ring = tracedRing(t)
  const { far } = await connection(t, ring)
  const fifo = new Fifo(t)
  const group = ring.bufferGroup(4, 64)
  const second = ring.bufferGroup(4, 64)
  const listening = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const queue = queueOf(ring)
  queue.takeTrace()
  const all = [ring.acceptAll(listening), ring.recvAll(far, second), ring.pollAll(fifo.fd, POLL.IN)]
  ring.submitAll()
  t.match(queue.takeTrace(), [
    {
      opcode: abi.IORING_OP_ACCEPT,
      ioprio: abi.IORING_ACCEPT_MULTISHOT,
      flags: 0,
      opFlags: CLOEXEC,
    },
    {
      opcode: abi.IORING_OP_RECV,
      ioprio: abi.IORING_RECV_MULTISHOT,
      flags: abi.IOSQE_BUFFER_SELECT,
      opFlags: 0,
      length: 0,
      address: 0,
    },
    {
      opcode: abi.IORING_OP_POLL_ADD,
      ioprio: 0,
      flags: 0,
      opFlags: POLL.IN,
      length: abi.IORING_POLL_ADD_MULTI,
    },
  ])
  for (const one of all) await one.return()
  group.release()
  second.release()
  await listening.close()
})

withRing(
  t,
  'SQEs: the bits of `flags` come from ordering, async, deadlines and registration',
  async t => {
    const ring = tracedRing(t)
    const fd = temporaryFile(t)
    const nop = async (options: object) => (await sqesOf(ring, () => ring.nop(options)))[0]
    t.match(await nop({}), { flags: 0, opFlags: 0 })
    t.match(await nop({ ordering: 'drain' }), { flags: abi.IOSQE_IO_DRAIN, opFlags: 0 })
    t.match(await nop({ async: true }), { flags: abi.IOSQE_ASYNC, opFlags: 0 })
    const registered = ring.registerFile(fd)
    t.match(await sqesOf(ring, () => ring.fdatasync(registered)), [
      { flags: abi.IOSQE_FIXED_FILE, fd: registered.index, opFlags: abi.IORING_FSYNC_DATASYNC },
    ])
    const bytes = new Uint8Array(1)
    t.match(await sqesOf(ring, () => ring.writeAt(fd, bytes, 0, { deadlineMs: 60_000 })), [
      { opcode: abi.IORING_OP_WRITE, flags: abi.IOSQE_IO_LINK },
      { opcode: abi.IORING_OP_LINK_TIMEOUT, flags: 0, length: 1, offset: 0, opFlags: 0 },
    ])
    // On a worker of the kernel a linked timer is of no use.
    t.match(await sqesOf(ring, () => ring.fsync(fd, { deadlineMs: 60_000 })), [
      { opcode: abi.IORING_OP_FSYNC, flags: 0 },
    ])
    t.match(await sqesOf(ring, () => ring.chain().nop().fdatasync(fd).submit()), [
      { flags: abi.IOSQE_IO_LINK },
      { flags: 0, opFlags: abi.IORING_FSYNC_DATASYNC },
    ])
    t.match(await sqesOf(ring, () => ring.chain({ hard: true }).nop().nop().submit()), [
      { flags: abi.IOSQE_IO_HARDLINK },
      { flags: 0 },
    ])
  },
)

withRing(t, 'SQEs of reads, writes and what else works on files', async t => {
  const ring = tracedRing(t)
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(8192)
  const one = async (ask: () => Completion<unknown>) => (await sqesOf(ring, ask))[0]
  const options = { from: 4096, length: 100, rwFlags: RWF.DSYNC }
  const written = await one(() => ring.writeAt(fd, buffer, 512, options))
  const wholly = await one(() => ring.writeAt(fd, buffer, 0))
  t.match(written, {
    opcode: abi.IORING_OP_WRITE,
    fd,
    flags: 0,
    ioprio: 0,
    offset: 512,
    length: 100,
    opFlags: RWF.DSYNC,
  })
  t.equal(written.address - wholly.address, 4096, 'the place in the buffer')
  t.match(await one(() => ring.readAt(fd, buffer, 2 ** 40)), {
    opcode: abi.IORING_OP_READ,
    offset: 2 ** 40,
    length: 8192,
    opFlags: 0,
  })
  const two = [Buffer.from('ab'), Buffer.from('c')]
  t.match(await one(() => ring.writev(fd, two, 7, { rwFlags: RWF.SYNC })), {
    opcode: abi.IORING_OP_WRITEV,
    offset: 7,
    length: 2,
    opFlags: RWF.SYNC,
    flags: 0,
  })
  t.match(await one(() => ring.fallocate(fd, FALLOC.KEEP_SIZE, 4096, 12288)), {
    opcode: abi.IORING_OP_FALLOCATE,
    offset: 4096,
    address: 12288,
    length: FALLOC.KEEP_SIZE,
    opFlags: 0,
    flags: 0,
  })
  t.match(await one(() => ring.fadvise(fd, 4096, 8192, 'dontNeed')), {
    opcode: abi.IORING_OP_FADVISE,
    offset: 4096,
    length: 8192,
    opFlags: 4,
    flags: 0,
  })
  t.match(await one(() => ring.madvise(buffer, 'willNeed')), {
    opcode: abi.IORING_OP_MADVISE,
    length: 8192,
    opFlags: 3,
    address: wholly.address,
  })
  if (ring.probe().operations.ftruncate) {
    t.match(await one(() => ring.ftruncate(fd, 1000)), {
      opcode: abi.IORING_OP_FTRUNCATE,
      offset: 1000,
      length: 0,
      opFlags: 0,
    })
  }
  t.match(await one(() => ring.poll(BAD_FD, POLL.IN | POLL.RDHUP)), {
    opcode: abi.IORING_OP_POLL_ADD,
    opFlags: POLL.IN | POLL.RDHUP,
    length: 0,
    flags: 0,
  })
  t.match(await one(() => ring.timeout(1)), {
    opcode: abi.IORING_OP_TIMEOUT,
    length: 1,
    offset: 0,
    opFlags: 0,
  })
  t.match(await one(() => ring.cancelMatching()), {
    opcode: abi.IORING_OP_ASYNC_CANCEL,
    opFlags: abi.IORING_ASYNC_CANCEL_ALL | abi.IORING_ASYNC_CANCEL_ANY,
    flags: 0,
  })
  t.match(await one(() => ring.cancelMatching({ file: fd })), {
    fd,
    opFlags: abi.IORING_ASYNC_CANCEL_ALL | abi.IORING_ASYNC_CANCEL_FD,
    flags: 0,
  })
  const registered = ring.registerFile(fd)
  const fixed = abi.IORING_ASYNC_CANCEL_FD | abi.IORING_ASYNC_CANCEL_FD_FIXED
  t.match(await one(() => ring.cancelMatching({ file: registered })), {
    fd: registered.index,
    opFlags: abi.IORING_ASYNC_CANCEL_ALL | fixed,
    flags: 0,
  })
})

withRing(t, 'SQEs of what works on names and makes sockets', async t => {
  const ring = tracedRing(t)
  const folder = temporaryFolder(t)
  const one = async (ask: () => Completion<unknown>) => (await sqesOf(ring, ask))[0]
  const flags = constants.O_RDWR | constants.O_CREAT
  const opening = ring.openat(`${folder}/a`, { flags, mode: 0o640 })
  t.match(await one(() => opening), {
    opcode: abi.IORING_OP_OPENAT,
    fd: abi.AT_FDCWD,
    flags: 0,
    length: 0o640,
    opFlags: flags | CLOEXEC,
  })
  await (await opening).close()
  t.match(await one(() => ring.statx(`${folder}/a`, { mask: 0x200, noFollow: true })), {
    opcode: abi.IORING_OP_STATX,
    length: 0x200,
    opFlags: abi.AT_SYMLINK_NOFOLLOW,
    flags: 0,
  })
  t.match(await one(() => ring.renameat(`${folder}/a`, `${folder}/b`, { flags: 1 })), {
    opcode: abi.IORING_OP_RENAMEAT,
    fd: abi.AT_FDCWD,
    length: abi.AT_FDCWD >>> 0,
    opFlags: 1,
    flags: 0,
  })
  t.match(await one(() => ring.mkdirat(`${folder}/d`, { mode: 0o750 })), {
    opcode: abi.IORING_OP_MKDIRAT,
    length: 0o750,
    flags: 0,
  })
  t.match(await one(() => ring.unlinkat(`${folder}/d`, { directory: true })), {
    opcode: abi.IORING_OP_UNLINKAT,
    opFlags: abi.AT_REMOVEDIR,
    flags: 0,
  })
  const socket = await ring.socket('IPv4', 'datagram')
  queueOf(ring).takeTrace()
  const making = ring.socket('unix', 'stream')
  t.match(await one(() => making), {
    opcode: abi.IORING_OP_SOCKET,
    fd: 1,
    offset: 1 | CLOEXEC,
    length: 0,
    opFlags: 0,
    flags: 0,
  })
  t.match(await one(() => ring.shutdown(socket.fd, 'write')), {
    opcode: abi.IORING_OP_SHUTDOWN,
    length: 1,
    opFlags: 0,
  })
  await Promise.all([socket.close(), making.then(made => made.close())])
})

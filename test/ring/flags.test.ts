/**
 * The SQEs as the kernel gets them: each flag in the field that its opcode reads. The Rust crate rio
 * put those of fdatasync and sync_file_range into sqe.flags, where they mean something else.
 */
import t from 'tap'
import {
  IORING_OP_ACCEPT,
  IORING_OP_CONNECT,
  IORING_OP_FSYNC,
  IORING_OP_NOP,
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_RECV,
  IORING_OP_SEND,
  IORING_OP_SYNC_FILE_RANGE,
  IORING_OP_WRITE,
  IOSQE_ASYNC,
  IOSQE_BUFFER_SELECT,
  IOSQE_FIXED_FILE,
  IOSQE_IO_DRAIN,
  IOSQE_IO_HARDLINK,
  IOSQE_IO_LINK,
  MSG,
  RWF,
} from '../../src/ring/abi.ts'
import { IoBuffer, Ring } from '../../src/ring/index.ts'
import type { RequestQueue } from '../../src/ring/request-queue.ts'
import type { Test } from '../support/engines.ts'
import { temporaryFile, withRing } from './support.ts'

const SOCK_CLOEXEC = 0o2000000

/** A ring that keeps what it hands over. */
function tracingRing(t: Test): { ring: Ring; queue: RequestQueue } {
  const ring = Ring.open({ depth: 16 })
  t.teardown(() => ring.close({ cancel: true }))
  const { queue } = (ring as unknown as { context: { queue: RequestQueue } }).context
  queue.traceOn()
  return { ring, queue }
}

withRing(
  t,
  'fsync, fdatasync and syncFileRange: flags stand in the word of the opcode',
  async t => {
    const { ring, queue } = tracingRing(t)
    const fd = temporaryFile(t)
    await ring.fsync(fd)
    await ring.fdatasync(fd)
    await ring.syncFileRange(fd, { offset: 4096, length: 8192, flags: 2 })
    t.match(queue.takeTrace(), [
      { opcode: IORING_OP_FSYNC, fd, flags: 0, opFlags: 0, offset: 0, length: 0, address: 0 },
      { opcode: IORING_OP_FSYNC, fd, flags: 0, opFlags: 1, offset: 0, length: 0, address: 0 },
      { opcode: IORING_OP_SYNC_FILE_RANGE, fd, flags: 0, opFlags: 2, offset: 4096, length: 8192 },
    ])
  },
)

withRing(t, 'reads and writes: rw_flags, registered files and buffers', async t => {
  const { ring, queue } = tracingRing(t)
  const fd = temporaryFile(t)
  const buffer = IoBuffer.alloc(4096)
  const file = ring.registerFile(fd)
  await ring.writeAt(fd, buffer, 8, { rwFlags: RWF.DSYNC, from: 16, length: 32 })
  await ring.readAt(file, buffer, 0)
  const registered = ring.registerBuffer(buffer)
  await ring.readAt(fd, buffer, 0)
  const [write, fixedFile, fixedBuffer] = queue.takeTrace()
  t.match(write, { opcode: IORING_OP_WRITE, opFlags: 2, offset: 8, length: 32, flags: 0 })
  t.equal(write.address % 4096, 16)
  t.match(fixedFile, { opcode: IORING_OP_READ, fd: file.index, flags: IOSQE_FIXED_FILE })
  t.equal(fixedBuffer.opcode, registered ? IORING_OP_READ_FIXED : IORING_OP_READ)
})

withRing(t, 'sockets: accept, connect, send and recv', async t => {
  const { ring, queue } = tracingRing(t)
  const server = ring.listen({ on: { address: '127.0.0.1', port: 0 } })
  const [accepted, client] = await Promise.all([ring.accept(server), ring.dial(server.address())])
  const listening = server.fd
  t.match(
    queue.takeTrace().sort((a, b) => a.opcode - b.opcode),
    [
      { opcode: IORING_OP_ACCEPT, fd: listening, opFlags: SOCK_CLOEXEC, flags: 0, ioprio: 0 },
      { opcode: IORING_OP_CONNECT, fd: client.fd, offset: 16, flags: 0, opFlags: 0, length: 0 },
    ],
  )
  await ring.send(client, Buffer.from('hello'), { flags: MSG.MORE })
  await ring.recv(accepted, new Uint8Array(5), { flags: MSG.WAITALL })
  t.match(queue.takeTrace(), [
    { opcode: IORING_OP_SEND, opFlags: MSG.MORE | MSG.NOSIGNAL, flags: 0, length: 5, ioprio: 0 },
    { opcode: IORING_OP_RECV, opFlags: MSG.WAITALL, flags: 0, length: 5, ioprio: 0 },
  ])
  const group = ring.bufferGroup(4, 64)
  const received = ring.recvAll(accepted, group)
  const connections = ring.acceptAll(server)
  ring.submitAll()
  t.match(queue.takeTrace(), [
    { opcode: IORING_OP_RECV, ioprio: 2, flags: IOSQE_BUFFER_SELECT, length: 0, address: 0 },
    { opcode: IORING_OP_ACCEPT, ioprio: 1, opFlags: SOCK_CLOEXEC },
  ])
  await Promise.all([received.return(), connections.return()])
  await Promise.all([accepted.close(), client.close(), server.close()])
})

withRing(t, 'ordering stands in sqe.flags', async t => {
  const { ring, queue } = tracingRing(t)
  await Promise.all([
    ring.nop({ ordering: 'drain' }),
    ring.nop({ async: true }),
    ring.chain().nop().nop().submit(),
    ring.chain({ hard: true }).nop().nop().submit(),
  ])
  const flags = queue.takeTrace().map(sqe => [sqe.opcode, sqe.flags])
  t.same(flags, [
    [IORING_OP_NOP, IOSQE_IO_DRAIN],
    [IORING_OP_NOP, IOSQE_ASYNC],
    [IORING_OP_NOP, IOSQE_IO_LINK],
    [IORING_OP_NOP, 0],
    [IORING_OP_NOP, IOSQE_IO_HARDLINK],
    [IORING_OP_NOP, 0],
  ])
})

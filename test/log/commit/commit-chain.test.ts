/** What the kernel is asked for when a record is made durable, read from the SQEs themselves. */
import { readFileSync, readlinkSync } from 'node:fs'
import t from 'tap'
import { UringDisk } from '../../../src/disk/uring.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_WRITE,
  IOSQE_IO_LINK,
} from '../../../src/ring/abi.ts'
import { temporaryDirectory, whyNoRing } from '../../support/engines.ts'

const O_DIRECT = 0o40000

t.test('a durable append is one linked chain: write, then fdatasync', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const disk = new UringDisk()
  const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions({}))
  await log.appendDurable(Buffer.from('the first append of an opening also starts a segment'))

  disk.queue.traceOn()
  for (const bytes of [0, 100, 5000, 1 << 20]) {
    disk.queue.takeTrace()
    const lsn = await log.appendDurable(Buffer.alloc(bytes))
    // A segment may be on its way beside the commit; its writes are not linked.
    const trace = disk.queue.takeTrace()
    const head = trace.findIndex(sqe => (sqe.flags & IOSQE_IO_LINK) !== 0)
    const [write, sync] = trace.slice(head, head + 2)
    t.equal(write.opcode, IORING_OP_WRITE)
    t.equal(write.flags, IOSQE_IO_LINK)
    t.equal(sync.opcode, IORING_OP_FSYNC)
    t.equal(sync.flags, 0)
    t.equal(sync.opFlags, IORING_FSYNC_DATASYNC, 'in fsync_flags')
    t.equal(write.opFlags, 0)
    t.equal(write.enterCall, sync.enterCall, 'submitted together')
    t.equal(write.fd, sync.fd)
    for (const field of ['address', 'length', 'offset'] as const) {
      t.equal(write[field] % 4096, 0, `${field} of ${write[field]} is aligned`)
    }
    t.ok(write.length >= bytes)
    const segment = log.info().segments.find(({ firstLsn }) => firstLsn <= lsn)!
    t.equal(write.offset, lsn - 64 - (segment.firstLsn - 4096), 'at the place that the LSN names')
    t.match(readlinkSync(`/proc/self/fd/${write.fd}`), /\d{16}\.seg$/)
    const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${write.fd}`, 'utf8'))!
    t.equal(Number.parseInt(flags[1], 8) & O_DIRECT, O_DIRECT, 'opened O_DIRECT')
  }
  await log.close()
})

t.test('concurrent callers share one chain', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const disk = new UringDisk()
  const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions({}))
  await log.appendDurable(Buffer.from('warm'))
  disk.queue.traceOn()
  const deep = async (levels: number): Promise<number> => {
    if (levels > 0) return deep(levels - 1)
    return log.appendDurable(Buffer.alloc(128))
  }
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 64 }, (_, i) => deep(i % 4)))
  }
  const syncs = disk.queue.takeTrace().filter(({ opcode }) => opcode === IORING_OP_FSYNC)
  t.equal(syncs.length, 3, 'one sync a round, though the callers are several promises deep')
  await log.close()
})

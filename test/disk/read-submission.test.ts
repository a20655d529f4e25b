/** When reads go to the kernel: within a turn that does not end before the bytes are needed. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { allocateBuffer } from '../../src/disk/buffer.ts'
import { UringDisk } from '../../src/disk/uring.ts'
import { IORING_OP_READ } from '../../src/ring/abi.ts'
import { temporaryDirectory, whyNoRing } from '../support/engines.ts'

const KIB = 1024

t.test('a long read begins at once, short ones begin eight at a time', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const disk = new UringDisk()
  const directory = await disk.openDirectory(temporaryDirectory(t), undefined)
  const file = await directory.open('file', 'createNew', 0o600)
  const buffer = allocateBuffer(512 * KIB)
  buffer.bytes.forEach((_, i) => {
    buffer.bytes[i] = i % 251
  })
  const wanted = Buffer.from(buffer.bytes)
  await file.write(buffer, 0, 512 * KIB, 0)
  buffer.bytes.fill(0)

  const { binding } = disk.queue
  binding.setTracing(true)
  const begun = () => binding.takeTrace().filter(({ opcode }) => opcode === IORING_OP_READ).length
  const reads: Promise<number>[] = [file.read(buffer, 0, 256 * KIB, 0)]
  t.equal(begun(), 1, 'a scan goes on with what it has, and has the next bytes when it needs them')
  for (let i = 0; i < 20; i++) {
    const at = (256 + 4 * i) * KIB
    reads.push(file.read(buffer, at, 4 * KIB, at))
    t.equal(begun(), i % 8 === 7 ? 8 : 0, `short read ${i}`)
  }
  t.same(await Promise.all(reads), [256 * KIB, ...new Array(20).fill(4 * KIB)])
  t.equal(begun(), 4, 'the rest at the end of the turn')
  const length = (256 + 80) * KIB
  t.ok(wanted.subarray(0, length).equals(buffer.bytes.subarray(0, length)))
  file.close()
  directory.close()
  await disk.close()
})

t.test('a read whose ring is closed between two pieces of it is told', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const folder = temporaryDirectory(t)
  writeFileSync(join(folder, 'short'), Buffer.alloc(4096))
  const disk = new UringDisk()
  const file = await (await disk.openDirectory(folder, undefined)).open('short', 'read', 0)
  const read = file.read(allocateBuffer(8192), 0, 8192, 0)
  await Promise.all([disk.close(), t.rejects(read, { code: 'ERR_RIOLOG_CLOSED' })])
  file.close()
})

/** A worker with reads that never end, and writers that never rest. */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-worker-'))
execFileSync('mkfifo', [join(folder, 'fifo')])
const fifo = openSync(join(folder, 'fifo'), constants.O_RDWR)
const file = openSync(join(folder, 'file'), 'w+')
rmSync(folder, { recursive: true })

const ring = Ring.open({ depth: 32 })
for (let i = 0; i < 8; i++) {
  ring.readAt(fifo, IoBuffer.alloc(1 << 16), 0).catch(() => {})
  ring.readAt(fifo, new Uint8Array(1 << 16), 0).catch(() => {})
}
let commits = 0
async function writer(offset: number): Promise<void> {
  const buffer = IoBuffer.alloc(1 << 14)
  for (;;) {
    await ring.chain().writeAt(file, buffer, offset).fdatasync(file).submit()
    await ring.writeAt(file, new Uint8Array(5000), offset)
    if (++commits === 10) parentPort?.postMessage('in full flight')
  }
}
for (let i = 0; i < 8; i++) writer(i << 14)
// What is in flight has its own hold on the files: closing them early must not matter.
setTimeout(() => closeSync(fifo), 1)
if (workerData === 'exit') setTimeout(() => process.exit(0), 30)
if (workerData === 'throw') {
  setTimeout(() => {
    throw new Error('on purpose')
  }, 30)
}

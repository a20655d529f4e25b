/** Ends the process in full flight, in the way that its first argument names. */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-exit-'))
execFileSync('mkfifo', [join(folder, 'fifo')])
const fifo = openSync(join(folder, 'fifo'), constants.O_RDWR)
const file = openSync(join(folder, 'file'), 'w+')
rmSync(folder, { recursive: true })

const ring = Ring.open({ depth: 64 })
for (let i = 0; i < 16; i++) {
  ring.readAt(fifo, IoBuffer.alloc(1 << 16), 0)
  ring.readAt(fifo, new Uint8Array(1 << 16), 0)
}
async function writer(offset: number): Promise<void> {
  const buffer = IoBuffer.alloc(1 << 16)
  for (;;) await ring.chain().writeAt(file, buffer, offset).fdatasync(file).submit()
}
for (let i = 0; i < 8; i++) writer(i << 16)

setTimeout(() => {
  if (process.argv[2] === 'throw') throw new Error('on purpose')
  if (process.argv[2] === 'kill') process.kill(process.pid, 'SIGTERM')
  else process.exit(7)
}, 20)

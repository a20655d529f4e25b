/** Drops rings and buffers, idle and in flight, and has them collected (--expose-gc). */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { addon } from '../../../src/native.ts'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'
import { openDescriptors } from '../../support/descriptors.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-collect-'))
execFileSync('mkfifo', [join(folder, 'fifo')])
const fifo = openSync(join(folder, 'fifo'), constants.O_RDWR)
rmSync(folder, { recursive: true })

async function collect(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    global.gc?.()
    await delay(5)
  }
}

let settled = 0
const RINGS = 10
const READS = 4

function drop(inFlight: boolean): void {
  for (let i = 0; i < RINGS; i++) {
    const ring = Ring.open({ depth: 8 })
    for (let k = 0; inFlight && k < READS; k++) {
      const bytes = k % 2 === 0 ? IoBuffer.alloc(8192) : new Uint8Array(8192)
      ring.readAt(fifo, bytes, 0).then(() => settled++)
    }
  }
}

await collect()
const before = openDescriptors()
drop(false)
await collect()
const afterIdle = openDescriptors() - before
drop(true)
await collect()
const whileInFlight = { files: openDescriptors() - before, memory: addon().liveMemoryCount() }
for (let i = 0; i < RINGS * READS; i++) {
  writeSync(fifo, 'x')
  await delay(1)
}
await collect()
const atEnd = { files: openDescriptors() - before, memory: addon().liveMemoryCount(), settled }
console.log(JSON.stringify({ afterIdle, whileInFlight, atEnd }))

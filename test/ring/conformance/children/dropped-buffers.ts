/**
 * Drops every reference to lent buffers, has them collected while the kernel still writes to them,
 * and fills the heap anew: memory that was freed early would be damaged by what arrives.
 */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { addon } from '../../../../src/native.ts'
import { IoBuffer, Ring } from '../../../../src/ring/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-dropped-'))
execFileSync('mkfifo', [join(folder, 'fifo')])
const fifo = openSync(join(folder, 'fifo'), constants.O_RDWR)
rmSync(folder, { recursive: true })

async function collect(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    global.gc?.()
    await delay(2)
  }
}

const before = addon().liveMemoryCount()
const ring = Ring.open({ depth: 64 })
let settled = 0
function drop(): void {
  for (let i = 0; i < 32; i++) ring.readAt(fifo, IoBuffer.alloc(4096), 0).then(() => settled++)
}
drop()
await delay(5)
await collect()
const keptInFlight = addon().liveMemoryCount() - before

/** Were the kernel's memory free, these would get its addresses. */
async function damagedByArrival(): Promise<number> {
  const fresh = Array.from({ length: 64 }, () => IoBuffer.alloc(4096))
  for (const buffer of fresh) buffer.bytes.fill(1)
  for (let i = 0; i < 32; i++) {
    writeSync(fifo, 'x'.repeat(4096))
    await delay(1)
  }
  while (settled < 32) await delay(1)
  return fresh.filter(buffer => !buffer.bytes.every(byte => byte === 1)).length
}

const damaged = await damagedByArrival()
await ring.close()
await collect()
const leftAtEnd = addon().liveMemoryCount() - before
console.log(JSON.stringify({ keptInFlight, damaged, leftAtEnd }))

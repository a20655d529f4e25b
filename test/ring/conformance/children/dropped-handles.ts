/** Drops handles: in use, closed, and neither; counts descriptors and warnings. */
import { execFileSync } from 'node:child_process'
import { constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Ring } from '../../../../src/ring/index.ts'
import { openDescriptors } from '../../../support/descriptors.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-handles-'))
const path = join(folder, 'fifo')
execFileSync('mkfifo', [path])

const codes = new Set<string>()
let warnings = 0
process.on('warning', warning => {
  const { code } = warning as Error & { code?: string }
  if (code === undefined) return
  codes.add(code)
  warnings++
})

async function collect(): Promise<void> {
  for (let i = 0; i < 20; i++) {
    global.gc?.()
    await delay(2)
  }
}

const ring = Ring.open({ depth: 16 })
await ring.nop()
await collect()
const before = openDescriptors()

// In use: the read keeps it, though nobody else does.
const reads: PromiseLike<number>[] = []
async function readAndDrop(): Promise<void> {
  const fifo = await ring.openat(path, { flags: constants.O_RDWR })
  reads.push(ring.readAt(fifo, new Uint8Array(1), 0))
}
await readAndDrop()
await collect()
const whileInUse = openDescriptors() - before - 1
writeFileSync(path, 'x')
await reads.pop()
await collect()
const first = warnings

async function closeAndDrop(): Promise<void> {
  for (let i = 0; i < 5; i++) await (await ring.openat('/dev/null')).close()
}
await closeAndDrop()
await collect()
const closed = openDescriptors() - before

const counted = openDescriptors()
let most = 0
async function drop(): Promise<void> {
  for (let i = 0; i < 5; i++) await ring.openat('/dev/null')
  most = openDescriptors() - counted
}
await drop()
await collect()
await ring.close()
rmSync(folder, { recursive: true })
const dropped = first + most - (openDescriptors() + 1 - counted)
console.log(JSON.stringify({ whileInUse, closed, dropped, warnings, codes: [...codes] }))

/** Opens and closes 1,000 rings; prints what is left of them. */
import { mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { addon } from '../../../src/native.ts'
import { IoBuffer, Ring } from '../../../src/ring/index.ts'
import { openDescriptors } from '../../support/descriptors.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-cycles-'))
const fd = openSync(join(folder, 'file'), 'w+')
rmSync(folder, { recursive: true })

async function cycle(): Promise<void> {
  const ring = Ring.open({ depth: 4 })
  await ring.chain().writeAt(fd, IoBuffer.alloc(4096), 0).nop().submit()
  await ring.writeAt(fd, new Uint8Array(100), 0)
  await ring.close()
}

async function state(): Promise<{ files: number; memory: number }> {
  for (let i = 0; i < 10; i++) {
    global.gc?.()
    await delay(5)
  }
  return { files: openDescriptors(), memory: addon().liveMemoryCount() }
}

await cycle()
const before = await state()
for (let i = 0; i < 1000; i++) await cycle()
const after = await state()
console.log(
  JSON.stringify({ files: after.files - before.files, memory: after.memory - before.memory }),
)

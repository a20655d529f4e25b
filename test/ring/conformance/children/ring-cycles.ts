/** Opens, uses and closes rings of many kinds; prints what is left of them. */
import { mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IoBuffer, Ring } from '../../../../src/ring/index.ts'
import { growthSince, state } from './state.ts'

const folder = mkdtempSync(join(tmpdir(), 'riolog-cycles-'))
const fd = openSync(join(folder, 'file'), 'w+')
rmSync(folder, { recursive: true })
const buffer = IoBuffer.alloc(4096)

async function cycle(i: number): Promise<void> {
  const sqPoll = i % 200 === 1 ? { idleMs: 1 } : false
  const ring = Ring.open({ depth: 2, sqPoll })
  if (i % 4 === 0) ring.registerBuffer(buffer)
  if (i % 8 === 0) ring.registerFile(fd)
  if (i % 8 === 4) ring.bufferGroup(2, 64)
  if (i % 16 === 0) await ring.writeAt(fd, buffer, 0)
  if (i % 16 === 8) await (await ring.openat('/dev/null')).close()
  if (i % 16 === 12) ring.timeout(60_000).catch(() => {})
  await ring.close({ cancel: true })
  ring.unregisterBuffer(buffer)
}

for (let i = 0; i < 400; i++) await cycle(i)
const before = await state()
const count = Number(process.argv[2])
for (let i = 0; i < count; i++) await cycle(i)
console.log(JSON.stringify(await growthSince(before)))

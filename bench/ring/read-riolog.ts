/** node --import=tsx read-riolog.ts FILE DEPTH SECONDS: random reads through the ring. */
import { constants, statSync } from 'node:fs'
import { Ring } from '../../src/ring/index.ts'
import { BLOCK, runRandomReads } from './random-reads.ts'

const [path, depthArgument, seconds] = process.argv.slice(2)
const depth = Number(depthArgument)

// Few at a time: many disks work while they are fed, and a submission of 32 comes back as one.
const ring = Ring.open({ depth: 4, cqDepth: 128 })
const opened = await ring.openat(path, { flags: constants.O_RDONLY | constants.O_DIRECT })
const file = ring.registerFile(opened)
const buffers = ring.buffers(depth, BLOCK)

async function read(worker: number, position: number): Promise<number> {
  const buffer = buffers[worker]
  if ((await ring.readAt(file, buffer, position)) !== BLOCK) throw new Error('a short read')
  return new DataView(buffer.bytes.buffer).getInt32(0, true)
}

await runRandomReads(read, statSync(path).size, depth, Number(seconds))
await opened.close()
await ring.close()

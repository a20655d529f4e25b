/**
 * Past the page cache: `o-direct.ts [--chunks N] [--size BYTES] FILE`. Each chunk is written and then
 * read back by one chain, on a file that is open with O_DIRECT, and what came back is compared.
 */
import { randomFillSync } from 'node:crypto'
import { constants } from 'node:fs'
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog/ring'.
import { Ring } from '../../src/ring/index.ts'

const { O_RDWR, O_CREAT, O_TRUNC, O_DIRECT } = constants
const WORKERS = 4

async function main(path: string, chunks: number, size: number): Promise<void> {
  await using ring = Ring.open({ depth: 2 * WORKERS })
  const flags = O_RDWR | O_CREAT | O_TRUNC | O_DIRECT
  await using file = await ring.openat(path, { flags })
  let next = 0
  const work = async () => {
    // O_DIRECT wants aligned memory, which an IoBuffer always is.
    const [written, back] = ring.buffers(2, size)
    while (next < chunks) {
      const offset = next++ * size
      randomFillSync(written.bytes)
      await ring.chain().writeAt(file, written, offset).readAt(file, back, offset).submit()
      if (Buffer.compare(written.bytes, back.bytes) !== 0) {
        throw new Error(`other bytes came back at ${offset}`)
      }
    }
  }
  await Promise.all(Array.from({ length: WORKERS }, work))
  console.log(`${chunks} chunks of ${size} bytes written, read back and compared`)
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      chunks: { type: 'string', default: '256' },
      size: { type: 'string', default: '65536' },
    },
  })
  if (positionals.length !== 1) {
    throw new Error('usage: o-direct.ts [--chunks N] [--size BYTES] FILE')
  }
  const chunks = Number(values.chunks)
  if (!Number.isSafeInteger(chunks)) throw new Error('--chunks takes a number')
  await main(positionals[0], chunks, Number(values.size))
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

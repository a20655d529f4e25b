/**
 * Standard input to a file, which is durable when this ends: `file-write.ts FILE < INPUT`.
 */
import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog/ring'.
import { Ring } from '../../src/ring/index.ts'

const { O_WRONLY, O_CREAT, O_TRUNC, O_DIRECTORY } = constants

async function main(path: string): Promise<number> {
  await using ring = Ring.open({ depth: 8 })
  await using file = await ring.openat(path, { flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644 })
  let offset = 0
  let held = new Uint8Array(0) // The last chunk is known for the last only when the input ends.
  for await (const chunk of process.stdin) {
    // A chain fails when a write is short, so that even a chain of one is all or an error.
    await ring.chain().writeAt(file, held, offset).submit()
    offset += held.length
    held = chunk
  }
  // The fsync starts when the write is done, without a way back here between the two.
  await ring.chain().writeAt(file, held, offset).fsync(file).submit()
  // The file is durable; its name is when its directory is.
  await using directory = await ring.openat(dirname(path), { flags: O_DIRECTORY })
  await ring.fsync(directory)
  return offset + held.length
}

try {
  const { positionals } = parseArgs({ allowPositionals: true })
  if (positionals.length !== 1) throw new Error('usage: file-write.ts FILE < INPUT')
  console.log(`${await main(positionals[0])} bytes are durable`)
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

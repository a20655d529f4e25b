/**
 * A whole file to standard output, several reads in flight: `file-read.ts FILE > COPY`.
 */
import { parseArgs } from 'node:util'
// Your own code imports from 'riolog/ring'.
import { type IoBuffer, Ring, type RingFile } from '../../src/ring/index.ts'

const READS = 8
const CHUNK = 64 * 1024

/** Fills the buffer, but for the end of the file: a read may give fewer bytes than asked for. */
async function fill(ring: Ring, file: RingFile, buffer: IoBuffer, offset: number): Promise<number> {
  let done = 0
  while (done < buffer.length) {
    const got = await ring.readAt(file, buffer, offset + done, { from: done })
    if (got === 0) break
    done += got
  }
  return done
}

/** The buffer is read into again after this, so it waits until the stream has no more use for it. */
function print(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, error => (error ? reject(error) : resolve()))
  })
}

async function main(path: string): Promise<void> {
  await using ring = Ring.open({ depth: READS })
  await using file = await ring.openat(path)
  let offset = 0
  const start = (buffer: IoBuffer) => {
    const read = { buffer, length: fill(ring, file, buffer, offset) }
    read.length.catch(() => {}) // When several fail, only the first is awaited: that one throws.
    offset += CHUNK
    return read
  }
  const reads = ring.buffers(READS, CHUNK).map(start)
  for (;;) {
    const { buffer, length: read } = reads.shift()!
    const length = await read
    await print(buffer.bytes.subarray(0, length))
    if (length < CHUNK) return
    reads.push(start(buffer))
  }
}

process.stdout.on('error', () => {}) // print() rejects with it
try {
  const { positionals } = parseArgs({ allowPositionals: true })
  if (positionals.length !== 1) throw new Error('usage: file-read.ts FILE')
  await main(positionals[0])
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

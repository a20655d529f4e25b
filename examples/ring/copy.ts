/**
 * Copies a file: `copy.ts FROM TO`. Eight buffers go round, each read into and written from, so that
 * reads and writes are in flight together. TO is the old file or the whole new one, also if the power
 * goes: the copy has another name until it is durable.
 */
import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { SingleBar } from 'cli-progress'
// Your own code imports from 'riolog/ring'.
import { type Completion, type IoBuffer, Ring, type RingFile } from '../../src/ring/index.ts'

const { O_WRONLY, O_CREAT, O_EXCL, O_DIRECTORY } = constants
const BUFFERS = 8
const CHUNK = 256 * 1024

/** Goes on where a read or write was short. */
async function whole(length: number, step: (done: number) => Completion<number>): Promise<void> {
  for (let done = 0; done < length; ) {
    const moved = await step(done)
    if (moved === 0) throw new Error('the file became shorter meanwhile')
    done += moved
  }
}

async function copy(
  ring: Ring,
  from: RingFile,
  to: RingFile,
  size: number,
  onProgress: (bytes: number) => void,
): Promise<void> {
  let next = 0
  const work = async (buffer: IoBuffer) => {
    while (next < size) {
      const at = next
      const length = Math.min(CHUNK, size - at)
      next += length
      await whole(length, done =>
        ring.readAt(from, buffer, at + done, { from: done, length: length - done }),
      )
      await whole(length, done =>
        ring.writeAt(to, buffer, at + done, { from: done, length: length - done }),
      )
      onProgress(length)
    }
  }
  // Registered buffers: the kernel looks up their pages once, and not for each read and write.
  await Promise.all(ring.buffers(BUFFERS, CHUNK).map(work))
}

async function main(source: string, target: string, interrupt: AbortSignal): Promise<number> {
  await using ring = Ring.open({ depth: BUFFERS })
  await using from = await ring.openat(source)
  // By the descriptor: the name may be that of another file by now.
  const stat = await ring.statx(`/proc/self/fd/${from.fd}`)
  if (!stat.isFile()) throw new Error(`${source} is not a file`)
  const part = `${target}.${process.pid}.part`
  const flags = O_WRONLY | O_CREAT | O_EXCL
  await using to = await ring.openat(part, { flags, mode: stat.mode & 0o777 })
  // A standard error that is no terminal gets no bar.
  const bar = new SingleBar({ stream: process.stderr, clearOnComplete: true })
  if (process.stderr.isTTY) bar.start(stat.size, 0)
  try {
    await copy(ring, from, to, stat.size, bytes => {
      interrupt.throwIfAborted()
      bar.increment(bytes)
    })
    await ring.fsync(to)
    await ring.renameat(part, target)
  } catch (error) {
    await ring.unlinkat(part).catch(() => {}) // what is told is why
    throw error
  } finally {
    bar.stop()
  }
  await using directory = await ring.openat(dirname(target), { flags: O_DIRECTORY })
  await ring.fsync(directory) // Only then is the new name durable too.
  return stat.size
}

const interrupt = new AbortController()
process.once('SIGINT', () => interrupt.abort(new Error('interrupted')))
try {
  const { positionals } = parseArgs({ allowPositionals: true })
  if (positionals.length !== 2) throw new Error('usage: copy.ts FROM TO')
  const [source, target] = positionals
  console.log(`${await main(source, target, interrupt.signal)} bytes copied`)
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

// Two logs of one thread, whose commits come back together: the callback of the first holds up the thread for the second.
// Prints how far it came.
//
//   node --import=tsx two-logs.ts <directory> <directory> <engine>
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Log } from '../../../src/log/log.ts'

/** Longer than both commits take: the ring is looked at behind it. */
const BUSY_MS = 200

const [first, second, engine] = process.argv.slice(2)
const open = (path: string) =>
  Log.open(path, { engine: engine as 'uring' | 'threadpool', idleStampMs: 0 })
const [a, b] = [await open(first), await open(second)]
for (const log of [a, b]) await log.appendDurable(Buffer.from('first'))
await sleep(100)
a.append(Buffer.from('a'), () => {
  console.log('a is durable')
  b.append(Buffer.from('because of a'))
  b.flushSync()
  console.log('b is flushed')
})
b.append(Buffer.from('b'))
// Behind the cut of both, which comes at the end of this turn; system calls let io_uring do its part.
let ticks = 3
const work = () => {
  if (--ticks > 0) return process.nextTick(work)
  for (const end = Date.now() + BUSY_MS; Date.now() < end; ) existsSync('/')
}
process.nextTick(work)
await Promise.all([a.flush(), b.flush()])
await Promise.all([a.close(), b.close()])
console.log('closed')

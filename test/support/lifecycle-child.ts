/**
 * Opens a log, appends, and ends without closing it. Runs as a process of its own or as a worker.
 * Arguments (or workerData): directory, engine, how to end: `idle`, `exit`, `throw`, `flight`.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { Log } from '../../src/index.ts'

const [directory, engine, ending] = (workerData ?? process.argv.slice(2)) as [
  string,
  'uring' | 'threadpool',
  string,
]
const log = await Log.open(directory, { engine })
await log.appendDurable(Buffer.from('acknowledged'))
parentPort?.postMessage('acknowledged')

const appendForEver = async () => {
  for (;;) await log.appendDurable(Buffer.alloc(10_000))
}
if (ending !== 'idle') {
  for (let i = 0; i < 16; i++) void appendForEver()
  await new Promise(resolve => setTimeout(resolve, 50))
}
if (ending === 'exit') process.exit(0)
if (ending === 'throw')
  setImmediate(() => {
    throw new Error('on purpose')
  })

/** What ends while the event loop is kept awake: `wait` by itself, `exit` by process.exit, `worker` in a worker that is terminated. */
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { EVENT_LOOP_BUSY_POLL } from '../../src/busy-poll.ts'

/** On Node 20 a worker does not take `--import=tsx` over. */
const LOAD_THIS = `import('tsx/esm/api').then(({ register }) => {
  register()
  return import(${JSON.stringify(import.meta.url)})
})`

/** Until the process or its thread ends: it is awaited for ever. */
async function pollOn(): Promise<never> {
  for (;;) {
    EVENT_LOOP_BUSY_POLL.begin()
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function main(how: string): Promise<void> {
  if (how === 'wait') {
    EVENT_LOOP_BUSY_POLL.begin()
    await setTimeout(5)
    EVENT_LOOP_BUSY_POLL.begin()
  } else if (how === 'exit') {
    pollOn()
    await setTimeout(5)
    process.exit(0)
  } else {
    const worker = new Worker(LOAD_THIS, { eval: true })
    await once(worker, 'message')
    await worker.terminate()
  }
}

if (isMainThread) await main(process.argv[2])
else {
  parentPort!.postMessage('polls')
  pollOn()
}

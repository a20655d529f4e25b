/** Ends workers in full flight, in the way that the first argument names; prints what is left. */
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { addon } from '../../../src/native.ts'
import { openDescriptors } from '../../support/descriptors.ts'

const how = process.argv[2]
const rounds = Number(process.argv[3])

async function round(number: number): Promise<void> {
  // A worker does not inherit the loader of TypeScript.
  const start = `import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(tsx => {
    tsx.register()
    return import(${JSON.stringify(import.meta.resolve('./worker.ts'))})
  })`
  const worker = new Worker(start, { eval: true, workerData: how })
  const ended = new Promise<void>(resolve => worker.once('exit', () => resolve()))
  const onPurpose = (error: Error) => {
    if (error.message !== 'on purpose') throw error
  }
  worker.on('error', onPurpose)
  // On a busy machine a worker may end by itself before it is in full flight.
  const inFlight = new Promise<void>(resolve => worker.once('message', () => resolve()))
  await Promise.race([inFlight, ended])
  if (how === 'terminate') {
    await delay((number * 7) % 20)
    await worker.terminate()
  }
  await ended
}

await round(0)
const before = openDescriptors()
for (let i = 1; i < rounds; i++) await round(i)
console.log(
  JSON.stringify({ files: openDescriptors() - before, memory: addon().liveMemoryCount() }),
)

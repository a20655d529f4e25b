/** Ends threads in the midst of everything, as the first argument says; prints what is left. */
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { growthSince, state } from './state.ts'

const how = process.argv[2]

async function round(number: number): Promise<void> {
  // A worker does not inherit the loader of TypeScript.
  const start = `import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(tsx => {
    tsx.register()
    return import(${JSON.stringify(import.meta.resolve('./thread.ts'))})
  })`
  const worker = new Worker(start, { eval: true, workerData: how })
  const ended = new Promise<void>(resolve => worker.once('exit', () => resolve()))
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve())
    worker.once('error', reject)
  })
  if (how === 'terminate') {
    await delay((number * 7) % 20)
    await worker.terminate()
  }
  await ended
}

await round(0)
const before = await state()
for (let i = 1; i < Number(process.argv[3]); i++) await round(i)
console.log(JSON.stringify(await growthSince(before)))

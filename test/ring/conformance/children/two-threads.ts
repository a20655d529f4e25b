/** Two threads, each with a ring: one sends numbers to the other's ring, and gets answers. */
import { setTimeout as delay } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Ring } from '../../../../src/ring/index.ts'

const COUNT = 500
const ring = Ring.open({ depth: 8, cqDepth: 8 })

async function answer(): Promise<void> {
  parentPort?.postMessage(ring.fd)
  let received = 0
  let sum = 0
  let inOrder = true
  for await (const { value, data } of ring.messages()) {
    inOrder &&= value === received && data === 0xffff0000 + value
    received++
    sum += value
    await ring.message(workerData, value, 1)
    if (received === COUNT) break
  }
  parentPort?.postMessage({ received, sum, inOrder, overflow: ring.kernelOverflow })
  await ring.close()
}

async function ask(): Promise<void> {
  const start = `import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(tsx => {
    tsx.register()
    return import(${JSON.stringify(import.meta.url)})
  })`
  const worker = new Worker(start, { eval: true, workerData: ring.fd })
  const next = () => new Promise<never>(resolve => worker.once('message', resolve))
  const otherFd: number = await next()
  const told: Promise<object> = next()
  let answers = 0
  const reading = (async () => {
    for await (const _ of ring.messages()) if (++answers === COUNT) break
  })()
  for (let i = 0; i < COUNT; i++) {
    await ring.message(otherFd, i, 0xffff0000 + i)
    if (i % 100 === 0) await delay(1)
  }
  await reading
  console.log(JSON.stringify({ ...(await told), answers }))
  await ring.close()
}

if (!isMainThread) await answer()
else if (ring.probe().operations.msg_ring === true) await ask()
else console.log(JSON.stringify({ unsupported: true }))

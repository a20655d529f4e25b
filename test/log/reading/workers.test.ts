/** Worker threads that read the log which the main thread writes. */
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { Log } from '../../../src/index.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { KIB } from '../../support/simulated.ts'

const CHILD = fileURLToPath(new URL('../../support/reading-worker.ts', import.meta.url))
/** On Node 20 a worker does not take `--import=tsx` over. */
const LOAD_CHILD = `import('tsx/esm/api').then(({ register }) => {
  register()
  return import(${JSON.stringify(CHILD)})
})`
const WORKERS = 3

interface Seen {
  readonly wrong: string[]
  readonly tailed: number[]
  readonly scanned: number[]
  readonly segments: number
  readonly reads: number
}
const RECORDS = 120

onEachEngine(t, 'workers see what is durable, through rotation', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: 64 * KIB, idleStampMs: 5 })
  const workerData = [directory, engine, RECORDS]
  const workers = Array.from(
    { length: WORKERS },
    () => new Worker(LOAD_CHILD, { eval: true, workerData }),
  )
  const answers = workers.map(worker => once(worker, 'message'))
  for (const [answer] of await Promise.all(answers)) t.equal(answer, 'open')
  const results = workers.map(
    worker =>
      new Promise<Seen>((resolve, reject) => {
        worker.once('message', resolve)
        worker.once('error', reject)
      }),
  )
  const lsns: number[] = []
  for (let i = 0; i < RECORDS; i++) {
    lsns.push(await log.appendDurable(payloadOf(i, 3000)))
    // The group behind it proves it, so each worker must find it from now on.
    if (i === 0) continue
    const known = { lsn: lsns[i - 1], id: i - 1, bytes: 3000 }
    workers[i % WORKERS].postMessage(known)
  }
  for (const { wrong, tailed, scanned, segments, reads } of await Promise.all(results)) {
    t.same(wrong, [])
    t.same(tailed, lsns)
    t.same(scanned, lsns)
    t.ok(reads > 0, `${reads} reads`)
    t.ok(segments >= 5, `${segments} segments`)
  }
  await Promise.all(workers.map(worker => worker.terminate()))
  await log.close()
})

/** A thread in the midst of everything. */
import { parentPort, workerData } from 'node:worker_threads'
import { doEverything } from './all-at-once.ts'

await doEverything()
parentPort?.postMessage('in full flight')
if (workerData === 'exit') setTimeout(() => process.exit(0), 20)

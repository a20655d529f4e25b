/** A worker that reads the log which the main thread writes. workerData: directory, engine, records. */
import { parentPort, workerData } from 'node:worker_threads'
import { Log } from '../../src/index.ts'
import { payloadOf } from './oracle.ts'

const [directory, engine, records] = workerData as [string, 'uring' | 'threadpool', number]
const log = await Log.open(directory, { engine, readOnly: true })
const wrong: string[] = []

/** LSNs that the main thread was told to be durable, and that something proves by now. */
const reads: Promise<void>[] = []
parentPort!.on('message', known => reads.push(read(known)))
async function read({ lsn, id, bytes }: { lsn: number; id: number; bytes: number }): Promise<void> {
  try {
    const data = await log.read(lsn)
    if (!data.equals(payloadOf(id, bytes))) wrong.push(`LSN ${lsn} reads other bytes`)
  } catch (error) {
    wrong.push(`LSN ${lsn}: ${error}`)
  }
}
parentPort!.postMessage('open')

const tailed: number[] = []
for await (const { lsn } of log.tail({ pollMs: 1 })) {
  tailed.push(lsn)
  if (tailed.length === records) break
}
const scanned: number[] = []
for await (const { lsn } of log.scan()) scanned.push(lsn)
await Promise.all(reads)
const segments = log.info().segments.length
await log.close()
parentPort!.postMessage({ wrong, tailed, scanned, segments, reads: reads.length })

/** Worker threads, each with a log of its own and callers in a closed loop. */
import { once } from 'node:events'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Log } from 'riolog'
import { type Result, runClosedLoop } from '../../closed-loop.ts'
import { Latencies } from '../../latencies.ts'
import type { Session } from '../contender.ts'
import { measured, type Outcome } from '../usage.ts'

export interface WorkerSettings {
  readonly directory: string
  readonly threads: number
  readonly callers: number
  readonly bytes: number
  readonly milliseconds: number
}

export async function startWorkers(settings: WorkerSettings): Promise<Session> {
  const { threads, bytes, directory } = settings
  const workers = Array.from({ length: threads }, (_, i) => {
    const data = { ...settings, directory: join(directory, String(i)) }
    return new Worker(new URL(import.meta.url), { workerData: data })
  })
  await Promise.all(workers.map(worker => once(worker, 'message')))
  const run = async (): Promise<Outcome> => {
    const results = await Promise.all(
      workers.map(async worker => {
        const answered = once(worker, 'message')
        worker.postMessage('measure')
        return (await answered)[0] as Result
      }),
    )
    const operations = results.reduce((sum, { records }) => sum + records, 0)
    const seconds = Math.max(...results.map(result => result.seconds))
    // Of the slowest one.
    const worst = (name: 'p50Us' | 'p99Us') => Math.max(...results.map(result => result[name]))
    const percentiles = { p50Us: worst('p50Us'), p99Us: worst('p99Us') }
    return { operations, seconds, bytes: operations * bytes, ...percentiles }
  }
  await run()
  return {
    measure: async () => {
      await run() // what waited for its turn is slow at first
      return measured(run, undefined)
    },
    close: async () => {
      const ended = workers.map(worker => once(worker, 'exit'))
      for (const worker of workers) worker.postMessage('close')
      await Promise.all(ended)
    },
  }
}

async function work({ directory, callers, bytes, milliseconds }: WorkerSettings): Promise<void> {
  const port = parentPort!
  const log = await Log.open(directory)
  const latencies = new Latencies()
  const store = { append: (record: Uint8Array) => log.appendDurable(record) }
  port.on('message', async (order: 'measure' | 'close') => {
    if (order === 'measure') {
      port.postMessage(await runClosedLoop(store, callers, bytes, milliseconds, latencies))
      return
    }
    await log.close()
    port.close()
  })
  port.postMessage('ready')
}

// The script is one file: in a worker thread it is here that it begins.
if (!isMainThread) await work(workerData as WorkerSettings)

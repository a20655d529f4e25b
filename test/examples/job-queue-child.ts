/**
 * The victim of the queue's kill test: some enqueue jobs, some do them, until the process is killed. What happens is
 * told on standard output, a line of JSON each.
 *
 * Arguments: directory, engine, seed.
 */
import { JobQueue } from '../../examples/job-queue/job-queue.ts'
import { Random } from '../support/random.ts'
import { tellLine } from '../support/tell.ts'
import { dataOf, nameOf, type Report } from './job-ledger.ts'

const [directory, engine, seed] = process.argv.slice(2)
const random = new Random(Number(seed))
const PRODUCERS = 6
const WORKERS = 6
/** Some producers wait while there are so many jobs. */
const SIZE_MAX = 60

function tell(report: Report): void {
  tellLine(JSON.stringify(report))
}

const queue = await JobQueue.open(directory, {
  leaseMs: 50,
  trimBytes: 128 * 1024,
  logOptions: { engine: engine as 'uring' | 'threadpool', segmentSize: 1 << 20 },
})
tellLine('ready')

async function produce(producer: number): Promise<void> {
  for (let count = 0; ; count++) {
    while (queue.size > SIZE_MAX) await new Promise(resolve => setTimeout(resolve, 1))
    const name = `${seed}-${producer}-${count}`
    tell({ kind: 'enqueuing', name })
    await queue.enqueue(dataOf(name))
    tell({ kind: 'enqueued', name })
  }
}

async function work(): Promise<void> {
  for (;;) {
    const job = await queue.take()
    const name = nameOf(job.data)
    tell({ kind: 'taken', name, attempt: job.attempt })
    if (random.chance(0.75)) {
      tell({ kind: 'completing', name })
      if (await queue.complete(job)) tell({ kind: 'completed', name })
    } else if (random.chance(0.8)) {
      tell({ kind: 'retrying', name })
      if (await queue.retry(job)) tell({ kind: 'retried', name })
    }
    // Else it is forgotten: its lease runs out.
  }
}

await Promise.all([
  ...Array.from({ length: PRODUCERS }, (_, producer) => produce(producer)),
  ...Array.from({ length: WORKERS }, work),
])

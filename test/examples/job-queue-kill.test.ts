/**
 * A process with a job queue is killed at a random time, again and again: no job that was acknowledged is lost, none
 * that was completed comes again. RIOLOG_RUNS is how often, RIOLOG_SEED reproduces.
 */
import t from 'tap'
import { JobQueue } from '../../examples/job-queue/job-queue.ts'
import { bundle, startBundle } from '../support/bundled.ts'
import { onEachEngine, type RealEngine, temporaryDirectory } from '../support/engines.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { type Found, Ledger, nameOf, type Report } from './job-ledger.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 5)
/** The kill comes behind so many reports at most: a time would be too short on a busy machine. */
const REPORTS_MAX = 2500
const CHILD = bundle('test/examples/job-queue-child.ts')

async function oneLife(args: readonly string[], reports: number): Promise<Report[]> {
  const child = startBundle(CHILD, args)
  let output = ''
  let errors = ''
  let lines = 0
  child.stderr.on('data', chunk => (errors += chunk))
  child.stdout.on('data', chunk => {
    output += chunk
    lines += String(chunk).split('\n').length - 1
    if (lines > reports) child.kill('SIGKILL')
  })
  const signal = await new Promise(resolve => child.on('close', (_, signal) => resolve(signal)))
  if (signal !== 'SIGKILL') throw new Error(`the child ended by itself: ${errors}`)
  const told = output.split('\n').slice(1, -1)
  return told.map(line => JSON.parse(line))
}

/** All that a new start delivers. @param completes whether they are done then */
async function deliveredOf(directory: string, engine: RealEngine, completes = false) {
  const queue = await JobQueue.open(directory, { logOptions: { engine } })
  const found: Found[] = []
  try {
    for (let left = queue.size; left > 0; left--) {
      const job = await queue.take()
      found.push({ name: nameOf(job.data), attempt: job.attempt })
      if (completes) await queue.complete(job)
    }
  } finally {
    await queue.close()
  }
  return found
}

onEachEngine(t, 'SIGKILL loses no job, and brings none back', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const first = chooseSeed() % 1_000_000
  const random = new Random(first)
  const ledger = new Ledger()
  for (let seed = first; seed < first + RUNS; seed++) {
    const args = [directory, engine, String(seed)]
    const reports = await oneLife(args, random.int(0, REPORTS_MAX))
    for (const report of reports) ledger.report(report)
    const jobs = await deliveredOf(directory, engine)
    const wrong = ledger.judge(jobs)
    if (wrong !== undefined) {
      t.fail(`RIOLOG_SEED=${first}, life ${seed - first}: ${wrong}`)
      return
    }
    ledger.report({ kind: 'found', jobs })
  }
  const { enqueued, completed, retried } = ledger
  t.comment(`${RUNS} kills from seed ${first}: ${enqueued} enqueued, ${completed} completed`)
  t.ok(enqueued > 0, 'the killed processes had enqueued something')
  t.ok(completed > 0, 'and completed something')
  t.ok(retried > 0, 'and retried something')
  const left = await deliveredOf(directory, engine, true)
  t.equal(ledger.judge(left), undefined)
  t.same(await deliveredOf(directory, engine), [], 'once they are done nothing is left')
})

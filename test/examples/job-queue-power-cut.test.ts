/**
 * The power is cut under a job queue at random moments, and under its recovery: no job that was acknowledged is lost,
 * none that was completed comes again. Then safeguards are taken out, and the test must fail.
 */
import t from 'tap'
import { type Job, JobQueue } from '../../examples/job-queue/job-queue.ts'
import {
  type CrashContext,
  type CrashTestOptions,
  crashTest,
  type Random,
} from '../../src/crash/index.ts'
import type { Log } from '../../src/index.ts'
import { chooseSeed } from '../support/random.ts'
import { but } from '../support/simulated.ts'
import { dataOf, Ledger, nameOf, type Report } from './job-ledger.ts'
import { testPowerCuts, trimLater } from './power-cuts.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 500)
const FAULTY_RUNS = 3 * RUNS

/** What is done in one turn, side by side. */
type Step = readonly ('enqueue' | 'take' | 'complete' | 'retry')[]

const KINDS = ['enqueue', 'enqueue', 'take', 'take', 'complete', 'complete', 'retry'] as const

function stepsOf(random: Random): Step[] {
  const step = () => Array.from({ length: random.int(1, 4) }, () => random.pick(KINDS))
  return Array.from({ length: 16 }, step)
}

class User {
  readonly #queue: JobQueue
  readonly #context: CrashContext
  readonly #jobs: Job[] = []
  /** Taken and not settled, or about to be taken: nobody waits for one that does not come. */
  #held = 0

  constructor(queue: JobQueue, context: CrashContext) {
    this.#queue = queue
    this.#context = context
  }

  do(kind: Step[number]): Promise<unknown> {
    switch (kind) {
      case 'enqueue':
        return this.#enqueue()
      case 'take':
        return this.#take()
      case 'complete':
        return this.#settle('completing', 'completed', job => this.#queue.complete(job))
      case 'retry':
        return this.#settle('retrying', 'retried', job => this.#queue.retry(job))
    }
  }

  async #enqueue(): Promise<void> {
    const name = `job ${this.#context.history.length}`
    this.#note({ kind: 'enqueuing', name })
    await this.#queue.enqueue(dataOf(name))
    this.#note({ kind: 'enqueued', name })
  }

  async #take(): Promise<void> {
    if (this.#queue.size <= this.#held) return
    this.#held++
    const job = await this.#queue.take()
    this.#jobs.push(job)
    this.#note({ kind: 'taken', name: nameOf(job.data), attempt: job.attempt })
  }

  async #settle(
    before: 'completing' | 'retrying',
    after: 'completed' | 'retried',
    run: (job: Job) => Promise<boolean>,
  ): Promise<void> {
    const job = this.#jobs.shift()
    if (job === undefined) return
    const name = nameOf(job.data)
    this.#note({ kind: before, name })
    if (!(await run(job))) throw new Error(`${name} was not its taker's any more`)
    this.#held--
    this.#note({ kind: after, name })
  }

  #note(report: Report): void {
    this.#context.note(report)
  }
}

/** @param tampered a log as it is, or not quite */
function scenario(tampered = (log: Log) => log): CrashTestOptions<Step> {
  // Leases that do not run out: timers are not of the simulated time.
  const options = { leaseMs: Number.POSITIVE_INFINITY, trimBytes: 1 }
  const openQueue = async ({ open }: CrashContext) => JobQueue.on(tampered(await open()), options)
  return {
    runs: RUNS,
    steps: stepsOf,
    async workload(context) {
      const queue = await openQueue(context)
      const user = new User(queue, context)
      for (const step of context.steps) await Promise.all(step.map(kind => user.do(kind)))
      if (context.random.chance(0.5)) await queue.close()
    },
    async verify(context) {
      const ledger = new Ledger()
      for (const report of context.history as readonly Report[]) ledger.report(report)
      const queue = await openQueue(context)
      const jobs = []
      for (let left = queue.size; left > 0; left--) {
        const job = await queue.take()
        jobs.push({ name: nameOf(job.data), attempt: job.attempt })
      }
      const wrong = ledger.judge(jobs)
      if (wrong !== undefined) throw new Error(wrong)
      context.note({ kind: 'found', jobs } satisfies Report)
    },
  }
}

t.test('no job is lost by a power cut, and none comes back', async t => {
  const trimmed = new Set<number>()
  const watched = scenario(log =>
    but(log, {
      trim: async lsn => {
        trimmed.add(lsn)
        return log.trim(lsn)
      },
    }),
  )
  const { runs, points, seed } = await crashTest({ ...watched, seed: chooseSeed() })
  t.comment(`${runs} crashes at ${points} moments from seed ${seed}, ${trimmed.size} trims`)
  t.ok(runs >= RUNS)
  t.ok(points > 10)
  t.ok(trimmed.size > 0, 'the log was trimmed meanwhile')
})

testPowerCuts(scenario, RUNS, FAULTY_RUNS)

const TAMPERINGS: Record<string, (log: Log) => Log> = {
  'answers before it is durable': log =>
    but(log, { appendDurable: async record => log.append(record), ...trimLater(log) }),
  'trims up to the durable LSN': log => but(log, { trim: () => log.trim(log.durableLsn) }),
}

for (const [what, tampered] of Object.entries(TAMPERINGS)) {
  t.test(`this test fails where it ${what}`, async t => {
    const options = { ...scenario(tampered), seed: 1, runs: 3000, shrinkAttempts: 0 }
    const error = await crashTest(options).then(
      () => undefined,
      thrown => thrown,
    )
    t.equal(error?.code, 'ERR_RIOLOG_CRASH_TEST')
    t.comment(String(error?.message).split('\n').slice(0, 2).join(' ').slice(0, 300))
  })
}

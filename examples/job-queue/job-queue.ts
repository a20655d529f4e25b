/**
 * A durable queue of jobs, each of which is delivered at least once:
 *
 * ```ts
 * const queue = await JobQueue.open('data')
 * await queue.enqueue(Buffer.from('resize 42.png'))    // durable when it resolves
 *
 * const job = await queue.take()                       // waits for one, and has it for `leaseMs`
 * try {
 *   await work(job.data)
 *   await queue.complete(job)                          // durable when it resolves: it never comes again
 * } catch {
 *   if (job.attempt < 5) await queue.retry(job)        // at the end of the queue
 *   else await queue.complete(job)
 * }
 * ```
 *
 * ```
 *   enqueue ──► ready ──take──► leased ──complete──► gone
 *                 ▲               │
 *                 └───────────────┘  retry, the lease runs out, or the process ends
 * ```
 *
 * What is durable is that a job is there, and how often it was retried; who has it is not, so a new start delivers
 * again what was not completed. Work must bear to be done twice: a process can end between `work` and `complete`.
 *
 * The data stays in the log and is read when a job is taken; in memory there are two numbers for each job. The log is
 * trimmed up to the oldest job that is not completed, so one that nobody completes or retries keeps all behind it.
 */

// Your own code imports from 'riolog'.
import { Log, type LogOptions } from '../../src/index.ts'
import { decode, encode, type QueueRecord } from './record.ts'

export interface Job {
  readonly id: number
  readonly data: Buffer
  /** 1 for the first; one more for each retry. A lease that ran out and a process that ended do not count. */
  readonly attempt: number
}

export interface JobQueueOptions {
  /** How long a job is its taker's, in milliseconds, before it is delivered to another one; 30000. */
  readonly leaseMs?: number
  /** How much of the log is given up at a time, in bytes; 16 MiB. */
  readonly trimBytes?: number
  readonly logOptions?: LogOptions
}

/** A job that is not completed. */
interface Stored {
  /** Of the record that has its data. */
  readonly lsn: number
  /** How often it was retried. */
  readonly attempts: number
}

interface Lease {
  readonly id: number
  readonly timer: NodeJS.Timeout | undefined
  /** Once it is read. */
  job?: Job
}

interface Waiter {
  readonly resolve: (lease: Lease) => void
  readonly reject: (error: unknown) => void
}

/** The longest that a timer of Node's can wait; a longer lease does not run out. */
const TIMER_MS_MAX = 2 ** 31 - 1

export class JobQueue {
  readonly #log: Log
  readonly #leaseMs: number
  readonly #trimBytes: number
  /** By id, in the order of their LSNs: what is retried is put behind all others. */
  readonly #jobs = new Map<number, Stored>()
  /** Those that nobody has; a Set keeps them in their order. */
  readonly #ready = new Set<number>()
  readonly #leases = new Map<number, Lease>()
  /** Those with a record on its way that says what becomes of them. */
  readonly #settling = new Set<number>()
  readonly #waiters: Waiter[] = []
  #appliedLsn = -1
  #trimming: Promise<unknown> | undefined
  #isClosed = false

  private constructor(log: Log, { leaseMs = 30_000, trimBytes = 16 * 2 ** 20 }: JobQueueOptions) {
    this.#log = log
    this.#leaseMs = leaseMs
    this.#trimBytes = trimBytes
  }

  /**
   * Opens or creates the queue in a directory. All that was not completed is ready, in its order.
   * @throws an error of the log
   */
  static async open(path: string, options: JobQueueOptions = {}): Promise<JobQueue> {
    return JobQueue.on(await Log.open(path, options.logOptions), options)
  }

  /** The same on a log that is open already; it closes it, also when it fails. */
  static async on(log: Log, options: JobQueueOptions = {}): Promise<JobQueue> {
    try {
      const queue = new JobQueue(log, options)
      for await (const { lsn, data } of log.scan()) queue.#apply(lsn, decode(data))
      return queue
    } catch (error) {
      await log.close()
      throw error
    }
  }

  /** Jobs that are not completed. */
  get size(): number {
    return this.#jobs.size
  }

  /** Those of them that nobody has. */
  get ready(): number {
    return this.#ready.size
  }

  get log(): Log {
    return this.#log
  }

  /**
   * Resolves to the job's id when it is durable, and only then anybody can take it.
   * @throws ERR_RIOLOG_POISONED: the next opening decides whether it is there
   * @throws ERR_RIOLOG_RECORD_TOO_LARGE, ERR_RIOLOG_NO_SPACE, ERR_RIOLOG_CLOSED: it is not
   */
  enqueue(data: Uint8Array): Promise<number> {
    return this.#append({ kind: 'enqueued', data })
  }

  /**
   * The next job; waits for one. Another one gets it when it is neither completed nor retried by the end of the lease.
   * @throws the signal's reason, Error when the queue is closed, or what `log.read` throws
   */
  async take(signal?: AbortSignal): Promise<Job> {
    const lease = await this.#next(signal)
    const { id } = lease
    // It cannot be gone by now: a record that says so takes the disk's time.
    const { lsn, attempts } = this.#jobs.get(id)!
    try {
      const { data } = decode(await this.#log.read(lsn)) as { data: Buffer }
      lease.job = { id, data, attempt: attempts + 1 }
      return lease.job
    } catch (error) {
      if (this.#leases.get(id) === lease) this.#release(id)
      throw error
    }
  }

  /**
   * Resolves when it is durable that the job is done; false: it was so already. Whoever has done it may say so, also
   * when the lease has run out and the job was given to another one.
   * @throws ERR_RIOLOG_POISONED: the next opening decides, and may deliver it again
   * @throws ERR_RIOLOG_NO_SPACE, ERR_RIOLOG_CLOSED: it is not done
   */
  complete({ id }: Job): Promise<boolean> {
    return this.#settle(id, { kind: 'completed', id })
  }

  /**
   * Gives the job back, behind all others; it resolves when that is durable. False: it is no longer the caller's.
   * @throws what {@link complete} throws
   */
  async retry(job: Job): Promise<boolean> {
    const { id, data, attempt } = job
    if (this.#leases.get(id)?.job !== job) return false
    return this.#settle(id, { kind: 'retried', id, attempts: attempt, data })
  }

  /** Waits for what is on its way, and lets go. Whoever waits for a job is told. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const { reject } of this.#waiters.splice(0)) reject(closed())
    for (const { timer } of this.#leases.values()) clearTimeout(timer)
    await this.#trimming
    await this.#log.close()
  }

  // ---- what is durable -----------------------------------------------------------------------

  /** The one way in which jobs come and go: by a record that is durable, in the order of the LSNs. */
  #apply(lsn: number, record: QueueRecord): void {
    // Else a trim could take what was not applied yet.
    if (lsn <= this.#appliedLsn) throw new Error(`LSN ${lsn} is behind ${this.#appliedLsn}`)
    this.#appliedLsn = lsn
    const id = record.kind === 'enqueued' ? lsn : record.id
    this.#unlease(id)
    this.#ready.delete(id)
    this.#settling.delete(id)
    // Behind the others, where it is a retry.
    this.#jobs.delete(id)
    if (record.kind === 'completed') return
    this.#jobs.set(id, { lsn, attempts: record.kind === 'retried' ? record.attempts : 0 })
    this.#release(id)
  }

  async #append(record: QueueRecord): Promise<number> {
    const lsn = await this.#log.appendDurable(encode(record))
    this.#apply(lsn, record)
    this.#trimIfDue()
    return lsn
  }

  /** One record for each job at a time: what is in the log is what was possible. */
  async #settle(id: number, record: QueueRecord): Promise<boolean> {
    if (!this.#jobs.has(id) || this.#settling.has(id)) return false
    this.#settling.add(id)
    this.#ready.delete(id) // Where the lease has run out, nobody gets it while this is on its way.
    try {
      await this.#append(record)
      return true
    } catch (error) {
      this.#settling.delete(id)
      if (!this.#leases.has(id)) this.#release(id)
      throw error
    }
  }

  /**
   * Up to the oldest job, or to the last record that was applied; not to the durable LSN, for a job that has just
   * become durable may be before that, and unknown here.
   */
  #trimIfDue(): void {
    const [oldest] = this.#jobs.values()
    const lsn = Math.min(oldest?.lsn ?? this.#appliedLsn, this.#appliedLsn)
    if (this.#trimming !== undefined || lsn - this.#log.trimLsn < this.#trimBytes) return
    this.#trimming = this.#log
      .trim(lsn)
      // It only costs space; that the log is poisoned is told to whoever writes the next record.
      .catch(error => {
        if (this.#isClosed || error.code === 'ERR_RIOLOG_POISONED') return
        process.emitWarning(`no trim of the queue: ${error}`)
      })
      .finally(() => {
        this.#trimming = undefined
      })
  }

  // ---- who has what --------------------------------------------------------------------------

  #next(signal?: AbortSignal): Promise<Lease> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closed())
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        reject(signal?.reason)
      }
      const off = () => signal?.removeEventListener('abort', onAbort)
      const waiter: Waiter = {
        resolve: lease => {
          off()
          resolve(lease)
        },
        reject: error => {
          off()
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiters.push(waiter)
      this.#deliver()
    })
  }

  #deliver(): void {
    for (const id of this.#ready) {
      const waiter = this.#waiters.shift()
      if (waiter === undefined) return
      this.#ready.delete(id)
      waiter.resolve(this.#lease(id))
    }
  }

  #lease(id: number): Lease {
    const ends = this.#leaseMs <= TIMER_MS_MAX
    const timer = ends ? setTimeout(() => this.#release(id), this.#leaseMs) : undefined
    const lease: Lease = { id, timer }
    this.#leases.set(id, lease)
    return lease
  }

  #unlease(id: number): void {
    clearTimeout(this.#leases.get(id)?.timer)
    this.#leases.delete(id)
  }

  /** Nobody has it any more. */
  #release(id: number): void {
    this.#unlease(id)
    if (!this.#jobs.has(id) || this.#settling.has(id) || this.#isClosed) return
    this.#ready.add(id)
    this.#deliver()
  }
}

function closed(): Error {
  return new Error('the queue is closed')
}

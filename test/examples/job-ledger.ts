/**
 * What must be in a job queue, by what its users were told: whoever is killed cannot be asked any more, so each call
 * is reported before it begins and when it was answered. Jobs are known by names, which their data begins with.
 */
export type Report =
  | { readonly kind: 'enqueuing' | 'enqueued'; readonly name: string }
  | { readonly kind: 'taken'; readonly name: string; readonly attempt: number }
  | { readonly kind: 'completing' | 'completed'; readonly name: string }
  | { readonly kind: 'retrying' | 'retried'; readonly name: string }
  | { readonly kind: 'found'; readonly jobs: readonly Found[] }

export interface Found {
  readonly name: string
  readonly attempt: number
}

interface Known {
  isEnqueued: boolean
  attempt: number
  /** Somebody has asked for that, and was not told that it is so: it may have come to the disk. */
  mayBeDone: boolean
  mayBeRetried: boolean
}

export class Ledger {
  /** Jobs that are there, or may be. */
  readonly #jobs = new Map<string, Known>()
  readonly #gone = new Set<string>()
  enqueued = 0
  completed = 0
  retried = 0

  /** @throws when the queue has done what it must not */
  report(report: Report): void {
    if (report.kind === 'found') this.#found(report.jobs)
    else if (report.kind === 'enqueuing') this.#jobs.set(report.name, known(false, 1))
    else this.#happened(report)
  }

  #happened(report: Exclude<Report, { kind: 'found' | 'enqueuing' }>): void {
    const { kind, name } = report
    const job = this.#jobs.get(name)
    if (job === undefined) {
      throw new Error(`${kind} ${name}, which was ${this.#gone.has(name) ? 'done' : 'never there'}`)
    }
    switch (kind) {
      case 'enqueued':
        job.isEnqueued = true
        this.enqueued++
        break
      case 'taken':
        // Durable, or nobody could have it.
        if (job.attempt !== report.attempt) {
          throw new Error(`${name} is at attempt ${job.attempt}, not ${report.attempt}`)
        }
        break
      case 'completed':
        this.#jobs.delete(name)
        this.#gone.add(name)
        this.completed++
        break
      case 'retried':
        job.attempt++
        job.mayBeRetried = false
        this.retried++
        break
      case 'completing':
        job.mayBeDone = true
        break
      case 'retrying':
        job.mayBeRetried = true
        break
    }
  }

  /** What is wrong with the jobs that a new start has; undefined: nothing. */
  judge(found: readonly Found[]): string | undefined {
    const names = new Set(found.map(({ name }) => name))
    if (names.size < found.length) return 'a job is there twice'
    for (const { name, attempt } of found) {
      const job = this.#jobs.get(name)
      if (this.#gone.has(name)) return `${name} was completed, and is there again`
      if (job === undefined) return `${name} was never enqueued`
      const isRetried = job.mayBeRetried && attempt === job.attempt + 1
      if (attempt !== job.attempt && !isRetried) return `${name} is at attempt ${attempt}`
    }
    for (const [name, { isEnqueued, mayBeDone }] of this.#jobs) {
      if (isEnqueued && !mayBeDone && !names.has(name)) return `${name} is lost`
    }
    return undefined
  }

  /** From now on this is what is there: what one start has shown, the next one must show. */
  #found(jobs: readonly Found[]): void {
    const attempts = new Map(jobs.map(({ name, attempt }) => [name, attempt]))
    for (const name of this.#jobs.keys()) if (!attempts.has(name)) this.#gone.add(name)
    this.#jobs.clear()
    for (const [name, attempt] of attempts) {
      this.#jobs.set(name, known(true, attempt))
    }
  }
}

function known(isEnqueued: boolean, attempt: number): Known {
  return { isEnqueued, attempt, mayBeDone: false, mayBeRetried: false }
}

/** The data of a job, which says for itself whether it is whole. */
export function dataOf(name: string): Buffer {
  const length = [...name].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 5003, 7)
  return Buffer.from(`${name}\n${name.repeat(Math.ceil(length / name.length))}`)
}

/** @throws when it is not what {@link dataOf} made */
export function nameOf(data: Buffer): string {
  const name = String(data.subarray(0, data.indexOf('\n')))
  if (!data.equals(dataOf(name))) throw new Error(`the data of ${name} has changed`)
  return name
}

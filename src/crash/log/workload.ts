/** Runs steps on a log, and notes what it promised. */
import { RiologError } from '../../errors.ts'
import type { Log } from '../../log/log.ts'
import type { LogOptions } from '../../log/options.ts'
import { isOfMedium } from '../faults.ts'
import type { WorkloadContext } from '../scenario.ts'
import { type LogEvent, Oracle } from './oracle.ts'
import { DEFAULTS, type LogStep, logOptionsOf, payloadOf } from './steps.ts'

/** Numbers the appends of all lives: each life begins with one of its own. */
const LIFE_IDS = 100_000

class Program {
  readonly #context: WorkloadContext<LogStep>
  #log: Log
  #options: LogOptions
  #nextId: number
  #lastLsn = -1
  #flushes: Promise<void>[] = []

  constructor(context: WorkloadContext<LogStep>, log: Log, options: LogOptions) {
    this.#context = context
    this.#log = log
    this.#options = options
    this.#nextId = context.life * LIFE_IDS
  }

  async run(steps: readonly LogStep[]): Promise<void> {
    for (const step of steps) {
      try {
        await this.#step(step)
      } catch (error) {
        if (isExpected(error)) continue
        throw error
      }
    }
    await this.#wait()
  }

  #note(event: LogEvent): void {
    this.#context.note(event)
  }

  async #step(step: LogStep): Promise<void> {
    switch (step.do) {
      case 'open':
        return
      case 'append':
        return this.#append([step.bytes], ([data]) => [this.#log.append(data)])
      case 'batch':
        return this.#append(step.bytes, batch => this.#log.appendBatch(batch))
      case 'flush':
        return this.#flush()
      case 'wait':
        return this.#wait()
      case 'flushSync':
        return this.#note({ kind: 'durable', end: this.#log.flushSync() })
      case 'trim':
        return this.#trim(step.at)
      case 'rewind':
        return this.#rewind(step.at)
      case 'sleep':
        return this.#context.sleep(step.ms)
      case 'reopen':
        return this.#reopen()
      case 'scan':
        for await (const _ of this.#log.scan());
    }
  }

  /** Waits for room once. */
  async #append(bytes: readonly number[], append: (batch: Buffer[]) => number[]): Promise<void> {
    const batch = bytes.map(length => payloadOf(this.#nextId++, length))
    for (let attempt = 0; ; attempt++) {
      try {
        const lsns = append(batch)
        for (const [i, lsn] of lsns.entries()) {
          this.#note({ kind: 'appended', lsn, data: batch[i], batch: lsns[0] })
          this.#lastLsn = lsn
        }
        return
      } catch (error) {
        if (
          attempt > 0 ||
          !(error instanceof RiologError) ||
          error.code !== 'ERR_RIOLOG_BACKPRESSURE'
        )
          throw error
        await this.#log.drain()
      }
    }
  }

  /** Once it resolves, all that was appended before is promised, whatever LSN it tells. */
  #flush(): void {
    const appended = this.#lastLsn + 1
    this.#flushes.push(
      this.#log.flush().then(
        end => this.#note({ kind: 'durable', end: Math.max(end, appended) }),
        error => {
          if (!isExpected(error)) throw error
        },
      ),
    )
  }

  async #wait(): Promise<void> {
    this.#flush()
    await Promise.all(this.#flushes.splice(0))
  }

  async #trim(at: number): Promise<void> {
    const lsn = this.#pick(this.#oracle().acknowledgedLsns(), at)
    if (lsn === undefined) return
    this.#note({ kind: 'trim asked', lsn })
    this.#note({ kind: 'trimmed', lsn: await this.#log.trim(lsn) })
  }

  async #rewind(at: number): Promise<void> {
    await this.#wait()
    // A poisoned log refuses: it may have a rewind that is undecided, and begins no other one.
    await this.#log.flush()
    const lsn = this.#pick(this.#oracle().firstLsns(), at)
    if (lsn === undefined) return
    this.#note({ kind: 'rewind asked', lsn })
    try {
      await this.#log.rewind(lsn)
      this.#note({ kind: 'rewound', lsn })
    } catch (error) {
      // Poisoned: whether it is in force is undecided.
      const isRefused = error instanceof RiologError && error.code !== 'ERR_RIOLOG_POISONED'
      if (isRefused) this.#note({ kind: 'rewind refused' })
      throw error
    }
  }

  /** What the new opening shows is judged as after a crash. */
  async #reopen(): Promise<void> {
    await Promise.all(this.#flushes.splice(0))
    try {
      const end = await this.#log.flush()
      this.#note({ kind: 'durable', end })
      await this.#log.close()
    } catch (error) {
      if (!isExpected(error)) throw error
      await this.#log.close().catch(() => {})
    }
    await this.#openAgain()
  }

  /** A fault may meet the opening, too: then the program is started once more. */
  async #openAgain(): Promise<void> {
    const { faults } = this.#context
    for (let attempt = 0; ; attempt++) {
      try {
        this.#log = await this.#context.open(this.#options)
        const found = []
        for await (const record of this.#log.scan()) found.push(record)
        // What the medium has lost is for the verification to tell.
        const wrong = faults.some(isOfMedium) ? [] : this.#oracle().judge(found)
        if (wrong.length > 0) throw new Error(`reopened: ${wrong.join('; ')}`)
        return this.#note({ kind: 'found', lsns: found.map(({ lsn }) => lsn) })
      } catch (error) {
        if (attempt > faults.length || !isExpected(error)) throw error
        await this.#log.close().catch(() => {})
      }
    }
  }

  #oracle(): Oracle {
    return new Oracle(this.#context.history)
  }

  #pick(lsns: readonly number[], at: number): number | undefined {
    return lsns[Math.min(lsns.length - 1, Math.floor((at / 1000) * lsns.length))]
  }
}

/** What a log may answer after a fault: the program goes on, and asks for other things. */
const EXPECTED = new Set([
  'ERR_RIOLOG_POISONED',
  'ERR_RIOLOG_NO_SPACE',
  'ERR_RIOLOG_BACKPRESSURE',
  'ERR_RIOLOG_TRIMMED',
  'ERR_RIOLOG_NOT_FOUND',
  'ERR_RIOLOG_REWOUND',
  'ERR_RIOLOG_INVALID_ARGUMENT',
  'ERR_RIOLOG_BATCH_TOO_LARGE',
  'ERR_RIOLOG_RECORD_TOO_LARGE',
  'ERR_RIOLOG_SYSTEM',
  // It could not be opened again.
  'ERR_RIOLOG_CLOSED',
])

function isExpected(error: unknown): boolean {
  return error instanceof RiologError && EXPECTED.has(error.code)
}

export async function workload(context: WorkloadContext<LogStep>): Promise<void> {
  const [first] = context.steps
  const asked = first?.do === 'open' ? first.options : DEFAULTS
  const wasPacked = new Oracle(context.history).isPacked
  // Once there are encrypted records, every opening needs the key.
  const isPacked = asked.isPacked || wasPacked
  if (isPacked && !wasPacked) context.note({ kind: 'packed' } satisfies LogEvent)
  const options = logOptionsOf({ ...asked, isPacked })
  const log = await context.open(options)
  await new Program(context, log, options).run(context.steps)
}

/** One log that is written and killed again and again; every life must find all that came before. */
import { Log } from '../../src/index.ts'
import type { RealEngine } from '../support/engines.ts'
import { Random } from '../support/random.ts'
import { type Found, Judge } from './judge.ts'
import type { Kind, Order } from './order.ts'
import { IDS_A_LIFE, makeRecord } from './payload.ts'
import type { Death, Victims } from './victims.ts'

const KIB = 1024
const SEGMENT_SIZES = [64 * KIB, 256 * KIB, 1024 * KIB, 4096 * KIB]

/** What a log that was just closed opens with. */
const SETTLED = ['clean end', 'empty']

export interface Life {
  readonly wrong: string[]
  readonly acknowledged: number
  /** Records that the opening found. */
  readonly found: number
  readonly verdict: string
}

const BUSY_POLLS = ['auto', 'always', 'never'] as const

export class KilledLog {
  readonly #directory: string
  readonly #engine: RealEngine
  readonly #random: Random
  readonly #seed: number
  readonly #judge = new Judge()
  readonly #segmentSize: number
  #lives = 0

  constructor(directory: string, engine: RealEngine, seed: number) {
    this.#directory = directory
    this.#engine = engine
    this.#seed = seed
    this.#random = new Random(seed)
    this.#segmentSize = SEGMENT_SIZES[this.#random.int(0, SEGMENT_SIZES.length - 1)]
  }

  /** One life and what became of it. @param lifeMs it lasts at most so long */
  async live(victims: Victims, kind: Kind, lifeMs: number): Promise<Life> {
    const order = this.#order(kind, lifeMs)
    const death = await victims.send(order)
    const isOrdered = order.style === 'flush'
    const heard = this.#judge.hear(death.lines, { number: order.life, isOrdered })
    const wrong = [...wrongEnd(kind, death), ...heard.wrong]
    const { acknowledged } = heard
    try {
      const first = await this.#open('first opening', false, wrong)
      const second = await this.#open('second opening', true, wrong, order.life + 1)
      if (!SETTLED.includes(second.verdict)) wrong.push(`second opening: ${second.verdict}`)
      return { wrong, acknowledged, found: first.found, verdict: first.verdict }
    } catch (error) {
      wrong.push(`an opening failed: ${(error as Error).stack}`)
      return { wrong, acknowledged, found: 0, verdict: 'none' }
    }
  }

  #order(kind: Kind, lifeMs: number): Order {
    const random = this.#random
    // Some die while they open.
    const from = random.chance(0.2) ? 'go' : 'open'
    // Each life has an id space of its own, and so has what the judge appends behind it.
    const life = this.#lives
    this.#lives += 2
    return {
      directory: this.#directory,
      engine: this.#engine,
      seed: this.#seed + life,
      life,
      kind,
      from,
      afterMs: random.int(0, lifeMs),
      segmentSize: this.#segmentSize,
      largestBytes: random.chance(0.5) ? 8 * KIB : 1024 * KIB,
      callers: random.int(1, 16),
      style: random.chance(0.5) ? 'flush' : 'durable',
      commitsInFlight: random.chance(0.7) ? 1 : random.int(2, 4),
      overlap: random.chance(0.5) ? 'auto' : 'always',
      busyPoll: BUSY_POLLS[random.int(0, BUSY_POLLS.length - 1)],
      compression: random.chance(0.8) ? 'none' : 'deflate',
    }
  }

  /** Opens, reads all and compares; with `life` it appends one record, which the next life must find. */
  async #open(when: string, isSettled: boolean, wrong: string[], life?: number) {
    // A writer that died at once has left no log.
    const options = { engine: this.#engine, segmentSize: this.#segmentSize }
    const log = await Log.open(this.#directory, options)
    try {
      const found: Found[] = []
      for await (const record of log.scan()) found.push(record)
      const { trimLsn, durableLsn, recovery } = log
      const problems = this.#judge.judge(found, { trimLsn, durableLsn }, isSettled)
      wrong.push(...problems.map(problem => `${when}: ${problem}`))
      if (life !== undefined) await this.#appendOne(log, life)
      return { found: found.length, verdict: recovery.verdict }
    } finally {
      await log.close()
    }
  }

  async #appendOne(log: Log, life: number): Promise<void> {
    const id = life * IDS_A_LIFE
    const record = makeRecord({ id, batchFirst: id, batchCount: 1 }, 100)
    this.#judge.mustFind(await log.appendDurable(record), id)
  }
}

/** A victim that ended in another way than it was meant to has found something by itself. */
function wrongEnd(kind: Kind, { signal, code, errors, isOutOfMemory }: Death): string[] {
  const wanted: Record<Kind, boolean> = {
    SIGKILL: signal === 'SIGKILL',
    SIGTERM: signal === 'SIGTERM',
    exit: code === 0,
    abort: signal === 'SIGABRT',
    worker: code === 0,
    'OOM kill': signal === 'SIGKILL' && isOutOfMemory,
  }
  return wanted[kind] ? [] : [`the writer ended by itself (${signal ?? code}): ${errors}`]
}

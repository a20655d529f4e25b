/**
 * What callers of a log do, wherever their code runs: from outside, and from each place at which the log calls them.
 * Whatever it is, the log must answer each in the end, and may only tell them what is true.
 */
import { mixedSeed, Random } from '../../src/crash/random.ts'
import { SimulatedDevice, SimulatedDisk, type VirtualTime } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions } from '../../src/log/options.ts'
import { KIB } from '../support/simulated.ts'
import { type Entry, type History, type Rewinding, recordOf } from './history.ts'

/** A caller's code inside a caller's code, and so on. */
const DEPTH_MAX = 3
const LONG_RECORD_BYTES = 150_000

/** What callers throw on purpose. */
export class Thrown extends Error {}

/** Refusals that callers must expect of a log that is in order. */
const REFUSALS = new Set([
  'ERR_RIOLOG_BACKPRESSURE',
  'ERR_RIOLOG_BATCH_TOO_LARGE',
  'ERR_RIOLOG_CANCELED',
  'ERR_RIOLOG_CLOSED',
  'ERR_RIOLOG_INVALID_ARGUMENT',
  'ERR_RIOLOG_NO_SPACE',
  'ERR_RIOLOG_NOT_FOUND',
  'ERR_RIOLOG_RECORD_TOO_LARGE',
  'ERR_RIOLOG_REWOUND',
  'ERR_RIOLOG_TRIMMED',
])
/** Whoever is told one of these knows that nothing was taken. */
const NOTHING_TAKEN = new Set([
  'ERR_RIOLOG_CLOSED',
  'ERR_RIOLOG_NO_SPACE',
  'ERR_RIOLOG_RECORD_TOO_LARGE',
])

export interface Stage {
  readonly history: History
  readonly time: VirtualTime
  readonly device: SimulatedDevice
  /** Undefined while there is none, or none any more. */
  readonly log: Log | undefined
  /** The disk has failed somewhere in this life. */
  readonly isFaulty: boolean
  /** Holds what the log says of itself against what it said before. */
  look(): void
  note(text: string): void
}

export interface Choices {
  readonly seed: number
  /** The numbers of the actions that are done; undefined: all. */
  readonly kept: ReadonlySet<number> | undefined
}

const codeOf = (error: unknown) => (error as { code?: string }).code ?? ''

export class Callers {
  /** Actions begun, in all lives. */
  actions = 0
  /** In this life no more than up to this one. */
  most = 0
  readonly #stageNow: () => Stage
  readonly #choices: Choices
  #visits = 0
  #depth = 0
  /** Of this life, by name: asked for and not answered. */
  #unanswered = new Map<string, number>()
  /** Of the promise that went on last. */
  #lastResolved = 0
  /** Within a turn in which callers' code has held up the thread, who had to wait for room goes on behind later ones. */
  #isOrderOpen = false
  #other: Log | undefined

  /** @param stage the life that it is now */
  constructor(stage: () => Stage, choices: Choices) {
    this.#stageNow = stage
    this.#choices = choices
  }

  get #stage(): Stage {
    return this.#stageNow()
  }

  beginLife(actions: number): void {
    this.most = this.actions + actions
    this.#unanswered = new Map()
    this.#lastResolved = 0
    this.#other = undefined
  }

  /** What ought to have been answered by now. A tail has no end. */
  get unanswered(): string[] {
    return [...this.#unanswered]
      .filter(([name, n]) => n > 0 && name !== 'tail')
      .map(([name]) => name)
  }

  /** A place at which the log runs callers' code, which may come back into the log and may throw. */
  visit(site: string): void {
    const { log, device } = this.#stage
    if (this.#depth >= DEPTH_MAX || this.actions >= this.most) return
    if (log === undefined || device.isOff) return
    this.#stage.look()
    const random = new Random(mixedSeed(this.#choices.seed, 40_000 + this.#visits++))
    if (!random.chance(0.5)) return
    for (let i = random.int(1, 3); i > 0; i--) this.act(site)
    if (random.chance(0.05)) throw new Thrown(site)
  }

  act(site: string): void {
    const index = this.actions++
    const { log, device } = this.#stage
    if (log === undefined || device.isOff || this.#choices.kept?.has(index) === false) return
    const random = new Random(mixedSeed(this.#choices.seed, 100_000 + index))
    const name = random.pick(NAMES)
    if (site === 'top') this.#isOrderOpen = false
    this.#stage.note(`${'  '.repeat(this.#depth)}${index} ${site} → ${name}`)
    this.#depth++
    try {
      const [, act] = ACTIONS[name]
      act(this, log, random)
    } catch (error) {
      this.#judgeError(name, error)
    } finally {
      this.#depth--
    }
    this.#stage.look()
  }

  #judgeError(name: string, error: unknown): void {
    const { device, log, isFaulty, history, note } = this.#stage
    const code = codeOf(error)
    note(`${name} threw ${code || error}`)
    if (device.isOff || error instanceof Thrown || REFUSALS.has(code)) return
    if (code === 'ERR_RIOLOG_SYSTEM' && isFaulty) return
    if (code === 'ERR_RIOLOG_POISONED' && log?.poison !== undefined) return
    history.bad(`${name} threw ${(error as Error).stack}`)
  }

  /** Follows a promise, which must be settled some day; behind it, callers' code runs. */
  follow<T>(
    name: string,
    promise: Promise<T>,
    done: (value: T) => void = () => {},
    failed: (code: string) => void = () => {},
  ): void {
    const { history } = this.#stage
    const { life } = history
    const counts = this.#unanswered
    counts.set(name, (counts.get(name) ?? 0) + 1)
    const isOver = () => life !== history.life || this.#stage.log === undefined
    const answered = () => counts.set(name, counts.get(name)! - 1)
    promise
      .then(
        value => {
          answered()
          if (isOver() || this.#stage.device.isOff) return
          done(value)
          this.visit(`${name}.then`)
        },
        error => {
          answered()
          if (isOver()) return
          this.#stage.look()
          failed(codeOf(error))
          this.#judgeError(name, error)
          this.visit(`${name}.catch`)
        },
      )
      .catch(error => {
        if (!(error instanceof Thrown)) history.bad(`behind ${name}: ${(error as Error).stack}`)
      })
  }

  make(random: Random, longOnes: number): { entry: Entry; data: Buffer } {
    const { history, log } = this.#stage
    const longest = Math.min(log!.maxRecordBytes, LONG_RECORD_BYTES)
    const entry = history.add(
      random.chance(longOnes)
        ? random.int(1, longest)
        : random.pick([4, 20, 100, 1000, 3000, 3900, 9000]),
    )
    return { entry, data: recordOf(entry) }
  }

  makeSome(random: Random, count: number, longOnes: number) {
    return Array.from({ length: count }, () => this.make(random, longOnes))
  }

  append(log: Log, random: Random): void {
    const { entry, data } = this.make(random, 0.05)
    const { history, device } = this.#stage
    const whenDurable = (error: unknown, lsn: number) => {
      entry.calls!++
      if (entry.life !== history.life) return
      if (lsn !== (entry.lsn ?? lsn)) history.bad(`told of ${lsn}, appended at ${entry.lsn}`)
      const now = this.#stage.log
      if (now === undefined || device.isOff) return
      if (error === undefined) {
        entry.isDurable = true
        if (now.durableLsn <= lsn) history.bad(`told of ${lsn}, durable is ${now.durableLsn}`)
      } else if (now.poison !== error) history.bad(`whenDurable with ${error}`)
      else if (lsn < now.poison!.durableLsn) history.bad(`${lsn} is durable, and told ${error}`)
      this.visit('whenDurable')
    }
    if (random.chance(0.6)) entry.calls = 0
    try {
      const record = random.chance(0.1) ? this.withGetter(data, random) : data
      const lsn = log.append(record, entry.calls === 0 ? whenDurable : undefined)
      history.place(entry, lsn)
    } catch (error) {
      entry.isRefused = true
      throw error
    }
    if (random.chance(0.3)) data.fill(0)
  }

  appendDurable(log: Log, random: Random): void {
    const { history } = this.#stage
    const { entry, data } = this.make(random, 0.05)
    const asked = log.appendDurable(data)
    if (random.chance(0.3)) data.fill(0)
    this.follow(
      'appendDurable',
      asked,
      lsn => {
        history.placeDurable(entry, lsn)
        if (lsn < this.#lastResolved && !this.#isOrderOpen)
          history.bad(`a promise of ${lsn} goes on behind one of ${this.#lastResolved}`)
        this.#lastResolved = lsn
        const { durableLsn } = log
        if (durableLsn <= lsn) history.bad(`resolved with ${lsn}, durable is ${durableLsn}`)
      },
      code => {
        if (NOTHING_TAKEN.has(code)) entry.isRefused = true
      },
    )
  }

  appendBatch(log: Log, random: Random): void {
    const { history } = this.#stage
    const made = this.makeSome(random, random.pick([2, 3, 5, 10]), random.chance(0.4) ? 1 : 0)
    const batch = made.map(({ entry }) => entry)
    const hasGetters = random.chance(0.1)
    const records = made.map(({ data }) => (hasGetters ? this.withGetter(data, random) : data))
    const inOnePiece = !hasGetters && random.chance(0.5)
    try {
      const lsns = inOnePiece ? appendSlices(log, records) : log.appendBatch(records)
      for (const [i, entry] of batch.entries()) {
        history.place(entry, lsns[i])
        entry.batch = batch
      }
    } catch (error) {
      // What a poison has met in the middle may be there, whole or not at all.
      for (const entry of batch) entry.isRefused = log.poison === undefined
      throw error
    }
  }

  appendBatchDurable(log: Log, random: Random): void {
    const { history } = this.#stage
    const made = this.makeSome(random, random.int(2, 6), 0.2)
    const batch = made.map(({ entry }) => entry)
    this.follow(
      'appendBatchDurable',
      log.appendBatchDurable(made.map(({ data }) => data)),
      lsns => {
        for (const [i, entry] of batch.entries()) {
          history.placeDurable(entry, lsns[i])
          entry.batch = batch
        }
      },
    )
  }

  flushed(before: readonly Entry[], durableLsn: number): void {
    for (const entry of before) {
      if (entry.lsn! >= durableLsn)
        this.#stage.history.bad(`flushed to ${durableLsn}, appended at ${entry.lsn} before`)
      entry.isDurable = true
    }
  }

  flush(log: Log): void {
    const before = this.#stage.history.taken()
    this.follow('flush', log.flush(), durableLsn => this.flushed(before, durableLsn))
  }

  flushSync(log: Log): void {
    const before = this.#stage.history.taken()
    this.#isOrderOpen = true
    this.flushed(before, log.flushSync())
  }

  trim(log: Log, random: Random): void {
    const { history } = this.#stage
    const lsn = this.someLsn(log, random)
    history.trimmedTo = Math.max(history.trimmedTo, Math.min(lsn, log.durableLsn))
    this.follow('trim', log.trim(lsn))
  }

  rewind(log: Log, random: Random): void {
    const { history } = this.#stage
    const rewinding: Rewinding = { target: this.someLsn(log, random), state: 'under way' }
    history.rewinds.push(rewinding)
    this.follow(
      'rewind',
      log.rewind(rewinding.target),
      () => {
        const fork = log.info().segments.find(({ firstLsn }) => firstLsn > rewinding.target)
        history.rewound(rewinding, fork?.firstLsn)
      },
      code => {
        rewinding.state = code === 'ERR_RIOLOG_POISONED' ? 'undecided' : 'refused'
      },
    )
  }

  read(log: Log, random: Random): void {
    const { history } = this.#stage
    const lsn = this.someLsn(log, random)
    const entry = history.at(lsn)
    this.follow(
      'read',
      log.read(lsn),
      data => {
        if (!history.isIntact(entry, data)) history.bad(`read of ${lsn}: not what ${entry?.id} was`)
      },
      code => {
        const isThere = entry !== undefined && !entry.isGone && history.rewinds.length === 0
        if (code === 'ERR_RIOLOG_NOT_FOUND' && isThere && log.poison === undefined)
          history.bad(`read of ${entry.id} at ${lsn}: not found`)
      },
    )
  }

  scan(log: Log, random: Random): void {
    const { history } = this.#stage
    const scan = log.scan({ reverse: random.chance(0.3) })
    const most = random.int(1, 60)
    const go = async () => {
      let count = 0
      for await (const { lsn, data } of scan) {
        if (!history.isOurs(data)) history.bad(`a scan finds at ${lsn} what was never appended`)
        if (++count === most) break
      }
    }
    this.follow('scan', go())
  }

  tail(log: Log, random: Random): void {
    const { history, time } = this.#stage
    const { life } = history
    const abort = new AbortController()
    const tail = log.tail({ from: log.durableLsn, signal: abort.signal })
    abort.signal.addEventListener('abort', () => {
      if (life === history.life) this.visit('abort')
    })
    const go = async () => {
      let last = -1
      for await (const { lsn } of tail) {
        if (lsn <= last) history.bad(`a tail gives ${lsn} behind ${last}`)
        last = lsn
      }
    }
    if (random.chance(0.7)) time.setTimer(() => abort.abort(), random.int(1, 40) / 20)
    this.follow('tail', go())
  }

  pin(log: Log, random: Random): void {
    const { history, time } = this.#stage
    const lsn = this.someLsn(log, random)
    const pin = log.pin('pin', lsn)
    const entry = history.at(lsn)
    if (entry?.life === history.life) {
      time.setTimer(() => {
        const now = this.#stage.log
        if (now === undefined || entry.life !== history.life || pin.released) return
        if (lsn < now.trimLsn) history.bad(`pinned at ${lsn}, and trimmed to ${now.trimLsn}`)
      }, random.int(1, 10) / 20)
    }
    if (random.chance(0.6)) time.setTimer(() => pin.release(), random.int(1, 20) / 20)
  }

  metrics(log: Log): void {
    const { bufferBytesInUse, bufferBytes } = log.metrics()
    if (bufferBytesInUse < 0 || bufferBytesInUse > bufferBytes)
      this.#stage.history.bad(`${bufferBytesInUse} bytes in use of ${bufferBytes}`)
  }

  /** The disk is full for a while. */
  fillDisk(random: Random): void {
    const { device, time } = this.#stage
    let used = 0
    for (const name of device.names()) used += device.bytesOf(name)!.length
    device.capacityBytes = used + random.pick([0, 0, 64 * KIB])
    time.setTimer(() => {
      device.capacityBytes = Number.POSITIVE_INFINITY
    }, random.int(1, 60) / 20)
  }

  cutPower(): void {
    this.#stage.note('power cut')
    this.#stage.device.cutPower()
  }

  /** Another log in the same thread. */
  useOther(random: Random): void {
    const { time } = this.#stage
    if (this.#other !== undefined) {
      this.#other.append(Buffer.from('other'), () => this.visit('other.whenDurable'))
      if (random.chance(0.5)) this.#other.flushSync()
      return
    }
    const disk = new SimulatedDisk(new SimulatedDevice(), {
      scheduler: time,
      randomBytes: count => random.bytes(count),
    })
    const options = checkOptions({ segmentSize: 64 * KIB })
    this.follow('other', Log.openOn(disk, 'other', options), log => {
      this.#other = log
    })
  }

  someLsn(log: Log, random: Random): number {
    const living = this.#stage.history.living()
    if (living.length === 0 || random.chance(0.1)) return log.durableLsn
    // One of the newest more often.
    const newest = living[Math.max(0, living.length - 1 - random.int(0, 8))]
    return (random.chance(0.6) ? newest : random.pick(living)).lsn!
  }

  /** A record whose length is asked of the caller, who does something else then. */
  withGetter(data: Buffer, random: Random): Uint8Array {
    const at = random.int(1, 12)
    let looks = 0
    const visit = () => {
      if (++looks === at) this.visit('getter')
    }
    class Record extends Uint8Array {
      override get length(): number {
        visit()
        return super.length
      }
    }
    return new Record(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
  }
}

type Action = (callers: Callers, log: Log, random: Random) => void

const times = (count: number, act: () => void) => {
  for (let i = 0; i < count; i++) act()
}

function appendSlices(log: Log, records: readonly Uint8Array[]): number[] {
  let end = 0
  const bounds = records.flatMap(({ length }) => [end, (end += length)])
  return log.appendSlices(Buffer.concat(records), Uint32Array.from(bounds))
}

/** What is done, and how often beside the others. */
const ACTIONS: Record<string, readonly [weight: number, Action]> = {
  append: [
    5,
    (callers, log, random) =>
      times(random.pick([1, 1, 2, 5, 20]), () => callers.append(log, random)),
  ],
  flushSync: [5, (callers, log) => callers.flushSync(log)],
  appendDurable: [
    4,
    (callers, log, random) =>
      times(random.pick([1, 1, 3, 10, 40]), () => callers.appendDurable(log, random)),
  ],
  appendBatch: [3, (callers, log, random) => callers.appendBatch(log, random)],
  flush: [3, (callers, log) => callers.flush(log)],
  rewind: [3, (callers, log, random) => callers.rewind(log, random)],
  appendBatchDurable: [2, (callers, log, random) => callers.appendBatchDurable(log, random)],
  drain: [2, (callers, log) => callers.follow('drain', log.drain())],
  trim: [2, (callers, log, random) => callers.trim(log, random)],
  read: [2, (callers, log, random) => callers.read(log, random)],
  fillDisk: [2, (callers, _, random) => callers.fillDisk(random)],
  useOther: [2, (callers, _, random) => callers.useOther(random)],
  scan: [1, (callers, log, random) => callers.scan(log, random)],
  tail: [1, (callers, log, random) => callers.tail(log, random)],
  pin: [1, (callers, log, random) => callers.pin(log, random)],
  metrics: [1, (callers, log) => callers.metrics(log)],
  info: [1, (_, log) => log.info()],
  close: [
    1,
    (callers, log, random) =>
      times(random.chance(0.15) ? 1 : 0, () => callers.follow('close', log.close())),
  ],
  cutPower: [
    1,
    (callers, _, random) => times(random.chance(0.05) ? 1 : 0, () => callers.cutPower()),
  ],
  throw: [
    1,
    (_, __, random) =>
      times(random.chance(0.3) ? 1 : 0, () => {
        throw new Thrown('throw')
      }),
  ],
}
const NAMES = Object.entries(ACTIONS).flatMap(([name, [weight]]) =>
  Array<string>(weight).fill(name),
)

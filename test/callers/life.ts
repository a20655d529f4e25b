/** One life of a log on a simulated disk, in a virtual time: faults, listeners, what it says of itself, and its end. */
import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import { mixedSeed, Random } from '../../src/crash/random.ts'
import {
  type Effect,
  type SimulatedDevice,
  SimulatedDisk,
  type SimulatedOperation,
  type VirtualTime,
} from '../../src/disk/simulated.ts'
import { SystemError } from '../../src/errors.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import { KIB } from '../support/simulated.ts'
import type { Callers, Stage } from './callers.ts'
import type { FoundRecord, History } from './history.ts'

const PATH = 'simulated'
const KEY = Buffer.alloc(32, 7)
const EIO = -5
/** Of the virtual time, in which something takes microseconds or milliseconds: then it hangs. */
const EVENTS_MAX = 400_000
/** Milliseconds of the virtual time in which everything that was asked for is answered. */
const QUIET_MS = 1000
const CHANNELS = ['flush', 'trim', 'rewind', 'close']
const MOMENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const
/** The same in all lives of a program. */
export interface Place {
  readonly seed: number
  readonly segmentSize: number
  readonly isEncrypted: boolean
}

type End = 'close' | 'kill' | 'cut' | 'anywhere'

export class Life implements Stage {
  readonly history: History
  readonly time: VirtualTime
  readonly device: SimulatedDevice
  readonly note: (text: string) => void
  log: Log | undefined
  isFaulty = false
  readonly #place: Place
  readonly #random: Random
  readonly #end: End
  /** Some operations take long; some are never answered. */
  readonly #isSlow: boolean
  readonly #isStuck: boolean
  #durableLsn = 0
  #poisonedAt: number | undefined
  #lastSealed = -1
  #lastHeard = 0

  constructor(
    place: Place,
    history: History,
    time: VirtualTime,
    device: SimulatedDevice,
    note: (text: string) => void,
  ) {
    this.#place = place
    this.history = history
    this.time = time
    this.device = device
    this.note = text => note(`${time.now().toFixed(3)} ${text}`)
    this.#random = this.#source(500)
    this.#end = this.#random.pick(['close', 'close', 'kill', 'cut', 'anywhere'])
    this.#isSlow = this.#random.chance(0.2)
    this.#isStuck = this.#random.chance(0.05)
  }

  /** @returns the device as the next life finds it */
  async live(callers: Callers): Promise<SimulatedDevice> {
    this.#interfere()
    const options = this.#options(callers)
    this.note(
      `life ${this.history.life}, then ${this.#end}: ${JSON.stringify({ ...options, logger: options.logger !== undefined })}`,
    )
    const unsubscribers = this.#random.chance(0.7) ? this.#subscribe(callers) : []
    try {
      await this.#open(options)
      if (this.log !== undefined) {
        this.history.opened()
        callers.beginLife(this.#random.int(5, 60))
        if (this.#random.chance(0.5)) this.#listen(callers)
        await this.#act(callers)
        if (this.#end === 'close') await this.#close(callers)
      }
    } finally {
      for (const unsubscribe of unsubscribers) unsubscribe()
    }
    return this.#crash()
  }

  look(): void {
    const { log, history } = this
    if (log === undefined || this.device.isOff) return
    const { durableLsn, poison } = log
    if (durableLsn < this.#durableLsn)
      history.bad(`the durable LSN went from ${this.#durableLsn} to ${durableLsn}`)
    this.#durableLsn = durableLsn
    if (poison !== undefined) {
      this.#poisonedAt ??= poison.durableLsn
      if (durableLsn !== this.#poisonedAt)
        history.bad(`durable LSN ${durableLsn} beside a poison at ${this.#poisonedAt}`)
      if (!this.isFaulty) history.bad(`poisoned without a fault: ${poison.cause ?? poison.stack}`)
      history.leaveRewindsUndecided()
    }
    history.durableBelow(durableLsn)
  }

  #source(purpose: number): Random {
    return new Random(mixedSeed(this.#place.seed, purpose + this.history.life))
  }

  #options(callers: Callers): LogOptions {
    const random = this.#random
    const visit = (site: string) => this.#visit(callers, site)
    const logger = {
      info: () => visit('logger.info'),
      warn: () => visit('logger.warn'),
      error: () => visit('logger.error'),
    } as unknown as NonNullable<LogOptions['logger']>
    const key = () => {
      visit('key')
      return KEY
    }
    return {
      segmentSize: this.#place.segmentSize,
      maxBufferedBytes: 2048 * KIB,
      maxGroupBytes: random.pick([4, 8, 16, 1024]) * KIB,
      sync: random.pick(['fdatasync', 'dsync']),
      busyPoll: 'always',
      commitsInFlight: random.pick([undefined, 1, 2, 4]),
      overlap: random.pick(['never', 'always', 'always']),
      maxDelayMs: random.pick([0, 0, 0.02, 1]),
      idleStampMs: random.pick([0, 0.05, 1000]),
      recycledSegments: random.pick([0, 2]),
      zeroedSegments: random.pick([0, 1, 2]),
      commitTimeoutMs: this.#isStuck ? 5 : random.pick(this.#isSlow ? [0, 30] : [0, 0, 5]),
      compression: random.chance(0.15) ? 'deflate' : 'none',
      ...(this.#place.isEncrypted ? { encryption: { keyId: 1, key } } : {}),
      ...(random.chance(0.6) ? { logger } : {}),
    }
  }

  #visit(callers: Callers, site: string): void {
    if (this.log !== undefined) callers.visit(site)
  }

  #interfere(): void {
    const random = this.#source(900)
    const { device } = this
    const cutAt =
      this.#end === 'anywhere' ? device.operations + random.int(10, 400) : Number.POSITIVE_INFINITY
    const rate = random.chance(0.25) ? random.pick([0.001, 0.004, 0.02]) : 0
    device.capacityBytes = Number.POSITIVE_INFINITY
    device.failedSync = () => random.pick(['reached', 'dropped', 'kept'])
    device.interference = operation => {
      if (operation.index >= cutAt) {
        if (!device.isOff) this.note('power cut')
        device.cutPower()
      }
      if (device.isOff || this.log === undefined) return undefined
      if (random.chance(rate)) return this.#fault(operation, random)
      const isCommit = operation.kind === 'write' || operation.kind === 'sync'
      if (this.#isStuck && isCommit && /seg/.test(operation.name) && random.chance(0.003)) {
        this.isFaulty = true
        this.note(`stuck: ${operation.kind} ${operation.name}`)
        return { kind: 'stuck' }
      }
      if (this.#isSlow && random.chance(0.1))
        return { kind: 'slow', milliseconds: random.int(1, 20) / 10 }
      return undefined
    }
  }

  #fault({ kind, name }: SimulatedOperation, random: Random): Error | Effect | undefined {
    const fault = random.pick(['error', 'error', 'again', 'slow', 'short'])
    if (fault === 'again') return { kind: 'again' }
    if (fault === 'slow') return { kind: 'slow', milliseconds: 0.1 }
    if (fault === 'short')
      return kind === 'write' ? { kind: 'short', bytes: 512 * random.int(0, 3) } : undefined
    if (kind === 'list') return undefined
    this.isFaulty = true
    this.note(`EIO: ${kind} ${name}`)
    return new SystemError(EIO, kind)
  }

  async #open(options: LogOptions): Promise<void> {
    let failure: unknown
    const opening = Log.openOn(this.#disk(this.device, 1000), PATH, checkOptions(options))
    const ends = await this.#drive(
      opening.then(
        log => {
          this.log = log
        },
        error => {
          failure = error
        },
      ),
    )
    if (this.device.isOff) return
    if (!ends) this.history.bad('an opening hangs')
    if (failure !== undefined && !this.isFaulty) this.#failed('open', failure)
  }

  #failed(what: string, error: unknown): void {
    this.history.bad(`${what}: ${(error as Error).stack}`)
  }

  #disk(device: SimulatedDevice, purpose: number): SimulatedDisk {
    const random = this.#source(purpose)
    return new SimulatedDisk(device, {
      scheduler: this.time,
      randomBytes: count => random.bytes(count),
    })
  }

  /** Lets the time pass until a promise is settled. @returns false when it never is */
  async #drive(promise: Promise<void>): Promise<boolean> {
    let isSettled = false
    void promise.then(() => {
      isSettled = true
    })
    const { device } = this
    await this.time.drive(() => isSettled || device.isOff, EVENTS_MAX)
    return isSettled
  }

  async #pass(milliseconds: number): Promise<void> {
    let isOver = false
    this.time.setTimer(() => {
      isOver = true
    }, milliseconds)
    await this.time.drive(() => isOver || this.device.isOff, EVENTS_MAX)
  }

  #subscribe(callers: Callers): (() => void)[] {
    const random = this.#random
    const unsubscribers: (() => void)[] = []
    if (random.chance(0.5)) {
      const listen = (event: unknown) => {
        if ((event as { path: string }).path === PATH) this.#visit(callers, 'riolog:commit')
      }
      subscribe('riolog:commit', listen)
      unsubscribers.push(() => unsubscribe('riolog:commit', listen))
    }
    for (const name of CHANNELS) {
      if (!random.chance(0.25)) continue
      const moment = random.pick(MOMENTS)
      const channel = tracingChannel(`riolog:${name}`)
      const listeners = { [moment]: () => this.#visit(callers, `${name}:${moment}`) }
      channel.subscribe(listeners as never)
      unsubscribers.push(() => channel.unsubscribe(listeners as never))
    }
    return unsubscribers
  }

  /** Two listeners for the durable LSN: the second one hears of it behind what callers did in the first. */
  #listen(callers: Callers): void {
    const log = this.log!
    const { history } = this
    log.onDurable(durableLsn => {
      if (this.log === undefined) return
      if (this.#poisonedAt !== undefined && durableLsn > this.#poisonedAt)
        history.bad(`durable ${durableLsn} is told behind a poison at ${this.#poisonedAt}`)
      history.durableBelow(durableLsn)
      callers.visit('onDurable')
    })
    log.onDurable(durableLsn => {
      if (this.log === undefined) return
      if (durableLsn < this.#lastHeard)
        history.bad(`a second listener hears ${durableLsn} behind ${this.#lastHeard}`)
      this.#lastHeard = durableLsn
    })
    log.onSealed(({ number }) => {
      if (this.log === undefined) return
      if (number <= this.#lastSealed && history.rewinds.length === 0)
        history.bad(`segment ${number} is told sealed behind ${this.#lastSealed}`)
      this.#lastSealed = number
      callers.visit('onSealed')
    })
  }

  async #act(callers: Callers): Promise<void> {
    const goesOn = () => this.history.violations.length === 0 && !this.device.isOff
    while (callers.actions < callers.most && goesOn()) {
      callers.act('top')
      const wait = this.#random.pick([0, 0, 0.005, 0.02, 0.1, 1])
      if (wait > 0 || this.#random.chance(0.5)) await this.#pass(wait)
      this.look()
    }
  }

  async #close(callers: Callers): Promise<void> {
    const log = this.log!
    const { history, device } = this
    if (history.violations.length > 0 || device.isOff) return
    callers.most = callers.actions
    device.capacityBytes = Number.POSITIVE_INFINITY
    await this.#pass(QUIET_MS)
    if (device.isOff) return
    // What a disk never answers is waited for by a close: the memory is the kernel's.
    const unanswered = callers.unanswered.filter(name => name !== 'close' || !this.#isStuck)
    if (unanswered.length > 0) history.bad(`no answer: ${unanswered.join(', ')}`)
    this.#judgeMemory(log)
    let failure: unknown
    const ends = await this.#drive(
      log.close().catch(error => {
        failure = error
      }),
    )
    if (device.isOff) return
    if (!ends && !this.#isStuck) history.bad('close hangs')
    if (failure !== undefined && log.poison === undefined && !this.isFaulty)
      this.#failed('close', failure)
    this.look()
    history.judgeCalls()
  }

  /** With nothing under way, no memory for records is in use. */
  #judgeMemory(log: Log): void {
    if (log.poison !== undefined) return
    let inUse = 0
    try {
      inUse = log.metrics().bufferBytesInUse
    } catch {
      // A caller has closed it.
    }
    if (inUse > 0) this.history.bad(`${inUse} bytes of buffers in use, and nothing under way`)
  }

  #crash(): SimulatedDevice {
    this.look()
    this.log = undefined
    this.history.endLife()
    const random = this.#source(300)
    const isKill =
      this.#end === 'kill' ||
      (this.#end === 'close' && random.chance(0.5)) ||
      (this.#end === 'anywhere' && random.chance(0.3))
    this.note(isKill ? 'killed' : 'power cut')
    if (isKill) return this.device.afterKill()
    const survival = random.pick([0, 0.5, 0.5, 1])
    return this.device.afterPowerCut({
      survives: () => random.chance(survival),
      fate: () => {
        if (random.chance(0.03)) return random.pick(['zeros', 'garbage', 'between', 'stale'])
        return random.chance(survival) ? 'new' : 'old'
      },
      garbage: () => random.int(0, 255),
    })
  }

  /** What an opening of a copy of this device finds. @returns undefined where it fails */
  async find(device: SimulatedDevice): Promise<readonly FoundRecord[] | undefined> {
    const { segmentSize, isEncrypted } = this.#place
    const encryption = isEncrypted ? { encryption: { keyId: 1, key: () => KEY } } : {}
    const options = checkOptions({ segmentSize, idleStampMs: 0, ...encryption })
    const found: FoundRecord[] = []
    let failure: unknown
    const check = async () => {
      const log = await Log.openOn(this.#disk(device.snapshot(), 2000), PATH, options)
      for await (const { lsn, data } of log.scan()) found.push({ lsn, data: Buffer.from(data) })
      await log.close()
    }
    let isDone = false
    check()
      .catch(error => {
        failure = error
      })
      .then(() => {
        isDone = true
      })
    await this.time.drive(() => isDone, EVENTS_MAX)
    if (!isDone) this.history.bad('an opening behind it hangs')
    if (failure !== undefined) this.#failed('an opening behind it', failure)
    return isDone && failure === undefined ? found : undefined
  }
}

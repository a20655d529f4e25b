/**
 * The log's whole interface against a model in memory: random commands (fast-check) on each engine, with
 * reopening among them, and on the simulated disk kills and power cuts. RIOLOG_SEED makes a failure come
 * again, RIOLOG_RUNS is the number of commands for each engine.
 */
import { rmSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { Log, type LogOptions, type LogRecord, Replica } from '../../src/index.ts'
import { type Test, temporaryDirectory, whyNoRing } from '../support/engines.ts'
import { payloadOf } from '../support/oracle.ts'
import { chooseSeed } from '../support/random.ts'
import { follow, openReplica } from '../support/replication.ts'
import { batchedRecordsOf, KIB, openSimulated } from '../support/simulated.ts'

const COMMANDS = Number(process.env.RIOLOG_RUNS ?? 1200)
const [LEAST, MOST] = [5, 80]
const KEY = Buffer.alloc(32, 5)
const PACKED: LogOptions = {
  compression: 'deflate',
  encryption: { keyId: 1, key: () => KEY },
}
const OPTIONS = { segmentSize: 64 * KIB }

interface Known {
  readonly lsn: number
  readonly data: Buffer
  /** Where the batch begins that it was appended with. */
  readonly batch: number
}

/** Where logs are opened and closed; a crash is one that only a simulated disk can have. */
interface Place {
  open(options?: LogOptions): Promise<Log>
  /** A copy, in a place beside it; a fresh one, or the one there was. */
  openCopy(fresh: boolean): Promise<Replica>
  openCopyToRead(): Promise<Log>
  /** The power fails, or the process is killed. */
  crash?(random: number): void
}

class World {
  readonly place: Place
  log!: Log
  /** What lives, in order. */
  known: Known[] = []
  readonly rewound: number[] = []
  trimLsn = 0
  #tail: AsyncIterableIterator<LogRecord> | undefined
  #tailed = 0
  #id = 0
  #copy: Replica | undefined
  #hasCopy = false
  readonly #options: LogOptions
  #lastDurable = 0

  constructor(place: Place, options: LogOptions) {
    this.place = place
    this.#options = options
  }

  async open(): Promise<void> {
    this.log = await this.place.open(this.#options)
    this.#lastDurable = this.log.durableLsn
    this.log.onDurable(lsn => {
      if (lsn <= this.#lastDurable) throw new Error(`durable LSN ${lsn} after ${this.#lastDurable}`)
      this.#lastDurable = lsn
    })
  }

  /** The copy, which begins anew where trims have overtaken it. */
  async copyFollows(): Promise<void> {
    for (let fresh = !this.#hasCopy; ; fresh = true) {
      if (fresh) await this.#copy?.close()
      if (fresh) this.#copy = undefined
      this.#copy ??= await this.place.openCopy(fresh)
      this.#hasCopy = true
      const code = await codeOf(() => follow(this.log, this.#copy!, () => 1 + (this.#id % 40_000)))
      if (code === undefined) break
      if (code !== 'ERR_RIOLOG_TRIMMED' || fresh) throw new Error(`the copy: ${code}`)
    }
    const end = this.log.durableLsn
    const [ends, hash] = [this.#copy.end, end === 0 ? undefined : await this.log.hashAt(end)]
    if (ends !== end) throw new Error(`the copy ends at ${ends}, not ${end}`)
    if (this.#copy.hash !== hash) throw new Error(`the copy has another hash at ${end}`)
    if (end === 0) return
    const reader = await this.place.openCopyToRead()
    const found = (await all(reader.scan())).filter(({ lsn }) => lsn >= this.trimLsn)
    same(found, this.known.slice(0, found.length), 'the copy')
    await reader.close()
  }

  async closeCopy(): Promise<void> {
    await this.#copy?.close()
    this.#copy = undefined
  }

  payload(by: number): Buffer {
    // Some longer than a group: they stand in fragments.
    const bytes = by % 13 === 0 ? by % (this.log.maxRecordBytes + 1) : by % 400
    const long = by % 11 === 0 ? this.log.maxRecordBytes - (by % 3000) : bytes
    return payloadOf(this.#id++, long)
  }

  add(lsns: readonly number[], data: readonly Buffer[]): void {
    const last = this.known.at(-1)?.lsn ?? 0
    for (const [i, lsn] of lsns.entries()) {
      if (lsn <= (lsns[i - 1] ?? last)) throw new Error(`LSN ${lsn} after ${lsns[i - 1] ?? last}`)
      this.known.push({ lsn, data: data[i], batch: lsns[0] })
    }
  }

  pick(by: number): Known | undefined {
    return this.known[by % Math.max(1, this.known.length)]
  }

  async checkScan(from: number): Promise<void> {
    // It moves meanwhile.
    const durable = (end = this.log.durableLsn) =>
      this.known.filter(({ lsn }) => lsn >= from && lsn < end)
    let wanted = durable()
    same(await all(this.log.scan({ from })), wanted, `a scan from ${from}`)
    wanted = durable()
    same(await batchedRecordsOf(this.log, from), wanted, `a scan by the batch from ${from}`)
    const end = this.log.durableLsn
    const before = this.known.filter(({ lsn }) => lsn < end && (from === 0 || lsn <= from))
    const back = await all(this.log.scan(from === 0 ? { reverse: true } : { from, reverse: true }))
    same(back, before.reverse(), `a reverse scan from ${from}`)
  }

  /** One record of a tail that goes on over the whole program. */
  async tailOn(): Promise<void> {
    this.#tail ??= this.log.tail()
    const wanted = this.known.find(({ lsn }) => lsn > this.#tailed)
    if (wanted === undefined || wanted.lsn >= this.log.durableLsn) return
    const { value } = await this.#tail.next()
    if (value?.lsn !== wanted.lsn) throw new Error(`the tail gave ${value?.lsn}, not ${wanted.lsn}`)
    this.#tailed = wanted.lsn
  }

  endTail(): void {
    void this.#tail?.return?.()
    this.#tail = undefined
    this.#tailed = 0
  }

  /** What a crash left: a part from the front on, with all that was acknowledged. */
  async afterCrash(acknowledgedLsn: number): Promise<void> {
    this.endTail()
    await this.open()
    const found = await all(this.log.scan())
    const lost = this.known.slice(found.length)
    const kept = this.known.slice(0, found.length)
    same(found, kept, 'after a crash')
    const promised = lost.find(({ lsn }) => lsn < acknowledgedLsn)
    if (promised !== undefined) throw new Error(`LSN ${promised.lsn} was acknowledged and is lost`)
    if (lost.length > 0 && lost[0].batch === kept.at(-1)?.batch) {
      throw new Error(`a part of the batch at LSN ${lost[0].batch} is lost`)
    }
    this.known = kept
  }
}

async function all(records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  for await (const record of records) found.push(record)
  return found
}

function same(found: readonly LogRecord[], wanted: readonly LogRecord[], what: string): void {
  const at = Array.from({ length: Math.max(found.length, wanted.length) }).findIndex(
    (_, i) =>
      found[i]?.lsn !== wanted[i]?.lsn ||
      found[i] === undefined ||
      !found[i].data.equals(wanted[i].data),
  )
  if (at < 0) return
  const [have, want] = [found[at]?.lsn, wanted[at]?.lsn]
  throw new Error(`${what}: record ${at} of ${wanted.length} is LSN ${have}, not ${want}`)
}

async function codeOf(run: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}

async function expectCode(what: string, run: () => Promise<unknown>, ...codes: string[]) {
  const code = await codeOf(run)
  if (!codes.includes(code ?? '')) throw new Error(`${what}: ${code}, not ${codes.join(' or ')}`)
}

type Command = (world: World, a: number, b: number) => Promise<void>

/** Takes what append has no room for as soon as it has. */
async function untilTaken<T>(world: World, take: () => T): Promise<T> {
  for (;;) {
    try {
      return take()
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
      await world.log.drain()
    }
  }
}

const commands: Record<string, Command> = {
  async append(world, a) {
    const data = world.payload(a)
    world.add([await untilTaken(world, () => world.log.append(data))], [data])
  },
  async appendDurable(world, a, b) {
    const data = Array.from({ length: 1 + (b % 4) }, () => world.payload(a))
    const lsns = await Promise.all(data.map(one => world.log.appendDurable(one)))
    for (const [i, lsn] of lsns.entries()) world.add([lsn], [data[i]])
    if (lsns.at(-1)! >= world.log.durableLsn) throw new Error('told durable and is not')
  },
  async appendBatch(world, a, b) {
    const data = Array.from({ length: b % 14 }, (_, i) => world.payload(((a + i) % 2000) * 143 + 1))
    world.add(await untilTaken(world, () => world.log.appendBatch(data)), data)
  },
  async appendSlices(world, a, b) {
    const data = Array.from({ length: b % 14 }, (_, i) => world.payload(((a + i) % 2000) * 143 + 1))
    // Behind each other, with a byte between.
    const memory = Buffer.concat(data.flatMap(each => [each, Buffer.of(10)]))
    const bounds = new Uint32Array(2 * data.length)
    for (let i = 0, at = 0; i < data.length; i++, at++) {
      bounds[2 * i] = at
      at += data[i].length
      bounds[2 * i + 1] = at
    }
    world.add(await untilTaken(world, () => world.log.appendSlices(memory, bounds)), data)
  },
  async flush(world) {
    const end = await world.log.flush()
    const last = world.known.at(-1)
    if (last !== undefined && last.lsn >= end) throw new Error(`flush stopped at ${end}`)
  },
  async flushSync(world) {
    const end = world.log.flushSync()
    const last = world.known.at(-1)
    if (last !== undefined && last.lsn >= end) throw new Error(`flushSync stopped at ${end}`)
    if (end !== world.log.durableLsn) throw new Error('flushSync and durableLsn differ')
  },
  async appendBatchDurable(world, a, b) {
    const data = Array.from({ length: 1 + (b % 5) }, () => world.payload(a))
    const code = await codeOf(async () => world.add(await world.log.appendBatchDurable(data), data))
    if (code !== undefined && code !== 'ERR_RIOLOG_BATCH_TOO_LARGE') throw new Error(code)
  },
  async readMany(world, a, b) {
    const some = [world.pick(a), world.pick(b), world.pick(a + b)].flatMap(each => each ?? [])
    const found = await world.log.readMany(some.map(({ lsn }) => lsn))
    if (found.some((data, i) => !data.equals(some[i].data))) throw new Error('other bytes')
  },
  async pin(world, a) {
    const at = a % Math.max(1, world.known.length)
    const [held, asked] = [world.known[at], world.known.at(-1)]
    if (held === undefined || asked === undefined) return
    await world.log.flush()
    const pin = world.log.pin('model', held.lsn)
    await world.log.trim(asked.lsn)
    pin.release()
    // The trim stopped at the pin.
    world.known = world.known.slice(at)
    world.trimLsn = Math.max(world.trimLsn, held.lsn)
    if (world.log.trimLsn !== world.trimLsn) throw new Error(`trimmed to ${world.log.trimLsn}`)
    world.endTail()
  },
  async 'copy follows'(world) {
    await world.log.flush()
    await world.copyFollows()
  },
  async 'copy closes'(world) {
    await world.closeCopy()
  },
  async read(world, a) {
    const record = world.pick(a)
    if (record === undefined) return
    const data = await world.log.read(record.lsn)
    if (!data.equals(record.data)) throw new Error(`LSN ${record.lsn} reads other bytes`)
    const { lsn } = record
    await expectCode('inside a record', () => world.log.read(lsn + 1), 'ERR_RIOLOG_NOT_FOUND')
    const end = lsn + record.data.length
    const inside = lsn + 8 * (1 + (a % (1 + Math.floor((end - lsn) / 8))))
    // One that is compressed is shorter than what it holds.
    if (inside < end && !world.known.some(other => other.lsn === inside)) {
      const codes = ['ERR_RIOLOG_NOT_FOUND', 'ERR_RIOLOG_REWOUND'] // the latter behind a segment's end
      await expectCode('inside a record', () => world.log.read(inside), ...codes)
    }
  },
  async 'read what is gone'(world, a) {
    if (world.trimLsn > 0) {
      const before = a % world.trimLsn
      await expectCode('trimmed', () => world.log.read(before), 'ERR_RIOLOG_TRIMMED')
    }
    const rewound = world.rewound[a % Math.max(1, world.rewound.length)]
    if (rewound === undefined) return
    const codes = ['ERR_RIOLOG_REWOUND', 'ERR_RIOLOG_TRIMMED']
    await expectCode('rewound', () => world.log.read(rewound), ...codes)
  },
  async scan(world, a, b) {
    await world.checkScan(b % 2 === 0 ? 0 : (world.pick(a)?.lsn ?? 0))
  },
  async tail(world, a) {
    for (let i = 0; i < a % 5; i++) await world.tailOn()
  },
  async trim(world, a) {
    const at = a % Math.max(1, world.known.length)
    const record = world.known[at]
    if (record === undefined || record.lsn >= world.log.durableLsn) return
    await world.log.trim(record.lsn)
    world.known = world.known.slice(at)
    world.trimLsn = record.lsn
    world.endTail()
  },
  async rewind(world, a) {
    const at = a % Math.max(1, world.known.length)
    const record = world.known[at]
    if (record === undefined || record.lsn !== record.batch) return
    await world.log.rewind(record.lsn)
    world.rewound.push(...world.known.splice(at).map(({ lsn }) => lsn))
    world.endTail()
  },
  async 'rewind to the end'(world) {
    await world.log.flush()
    await world.log.rewind(world.log.durableLsn)
    await expectCode(
      'beyond the end',
      () => world.log.trim(world.log.durableLsn + 1),
      'ERR_RIOLOG_INVALID_ARGUMENT',
    )
  },
  async reopen(world) {
    world.endTail()
    await world.log.close()
    await expectCode('closed', () => world.log.flush(), 'ERR_RIOLOG_CLOSED')
    await world.open()
    if (world.log.recovery.verdict === 'torn tail') throw new Error('torn after a clean close')
    await world.checkScan(0)
    if (world.log.trimLsn !== world.trimLsn) throw new Error(`trim LSN ${world.log.trimLsn}`)
  },
  async 'read only'(world) {
    const reader = await world.place.open({ readOnly: true })
    const found = await all(reader.scan())
    const batched = await batchedRecordsOf(reader)
    same(batched, world.known.slice(0, batched.length), 'a read-only opening, by the batch')
    same(found, world.known.slice(0, found.length), 'a read-only opening')
    const next = world.known[found.length]
    if (
      next !== undefined &&
      found.length > 0 &&
      next.batch === world.known[found.length - 1].batch
    ) {
      throw new Error('a read-only opening shows a part of a batch')
    }
    await expectCode('read only', () => reader.flush(), 'ERR_RIOLOG_READ_ONLY')
    await reader.close()
  },
  async crash(world, a) {
    if (world.place.crash === undefined) return
    const acknowledged = world.log.durableLsn
    world.place.crash(a)
    await world.afterCrash(acknowledged)
  },
}

const step = fc.record({
  command: fc.constantFrom(...Object.keys(commands)),
  a: fc.nat(),
  b: fc.nat(),
})
const options = fc.record({
  commitsInFlight: fc.constantFrom(1, 1, 2, 4),
  sync: fc.constantFrom('fdatasync' as const, 'dsync' as const, 'auto' as const),
  maxDelayMs: fc.constantFrom(0, 0, 0, 1),
  overlap: fc.constantFrom('auto' as const, 'always' as const),
  busyPoll: fc.constantFrom('never' as const, 'always' as const, 'auto' as const),
  recycledSegments: fc.constantFrom(2, 2, 1, 0),
  zeroedSegments: fc.constantFrom(2, 2, 1, 0),
  maxGroupBytes: fc.constantFrom(8 * KIB, 8 * KIB, 4 * KIB, 16 * KIB),
  idleStampMs: fc.constantFrom(0, 1, 1000),
})
const program = fc.tuple(
  options,
  fc.array(step, { minLength: LEAST, maxLength: MOST, size: 'max' }),
)

async function run(t: Test, makePlace: () => Place): Promise<void> {
  const seed = chooseSeed()
  let ran = 0
  const property = fc.asyncProperty(program, async ([options, steps]) => {
    const world = new World(makePlace(), options)
    await world.open()
    for (const { command, a, b } of steps) {
      await commands[command](world, a, b)
      ran++
    }
    await world.log.flush()
    await world.checkScan(0)
    await world.closeCopy()
    await world.log.close()
  })
  const numRuns = Math.max(1, Math.round((COMMANDS * 2.2) / (LEAST + MOST)))
  const details = await fc.check(property, { seed, numRuns, includeErrorInReport: true })
  const report = details.failed ? await fc.asyncDefaultReportMessage(details) : undefined
  t.equal(report, undefined)
  t.comment(`${ran} commands, RIOLOG_SEED=${seed}`)
}

for (const engine of ['uring', 'threadpool'] as const) {
  t.test(`the log does what a model does (${engine})`, async t => {
    const reason = engine === 'uring' ? await whyNoRing() : undefined
    if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
    const base = temporaryDirectory(t)
    let count = 0
    await run(t, () => {
      rmSync(`${base}/${count}`, { recursive: true, force: true })
      const directory = `${base}/${++count}/log`
      const copy = `${base}/${count}/copy`
      return {
        open: options => Log.open(directory, { ...OPTIONS, engine, ...options }),
        openCopy: async fresh => {
          if (fresh) rmSync(copy, { recursive: true, force: true })
          return Replica.open(copy, { engine })
        },
        openCopyToRead: () => Log.open(copy, { engine, readOnly: true }),
      }
    })
  })
}

for (const [name, more] of [
  ['simulated, with crashes', {}],
  ['the same, compressed and encrypted', PACKED],
] as const) {
  t.test(`the log does what a model does (${name})`, t => run(t, () => crashing(more)))
}

function crashing(more: LogOptions): Place {
  let device = new SimulatedDevice()
  let copy = new SimulatedDevice()
  return {
    open: options => openSimulated(device, { ...OPTIONS, ...more, ...options }),
    openCopy: fresh => {
      if (fresh) copy = new SimulatedDevice()
      return openReplica(copy)
    },
    openCopyToRead: () => openSimulated(copy, { ...more, readOnly: true }),
    crash: by => {
      let bits = by
      const survives = () => {
        bits = (bits * 1103515245 + 12345) % 2 ** 31
        return bits % 100 < by % 100
      }
      device = by % 3 === 0 ? device.afterKill() : device.afterPowerCut(survives)
    },
  }
}

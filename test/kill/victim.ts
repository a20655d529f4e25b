/**
 * The process that is killed: it waits for an {@link Order}, appends records and batches from concurrent
 * callers, trims and rewinds now and then, and says on standard output, a line each:
 *
 *   go                  it begins, with opening the log
 *   open                the log is open
 *   + LSN ID            this record is acknowledged; ID -1: it has no bytes
 *   t LSN, T LSN        a trim is asked for; it is done
 *   r LSN FROM NEXT     a rewind is asked for, which drops the ids of this life from FROM up to NEXT
 *   R LSN END           it is done: nothing from LSN to END is found any more
 */
import { readSync } from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Log } from '../../src/index.ts'
import { Random } from '../support/random.ts'
import { tellLine } from '../support/tell.ts'
import type { Order } from './order.ts'
import { IDS_A_LIFE, makeRecord, STAMP_BYTES } from './payload.ts'

const STDIN = 0
const HOARD_BYTES = 4 << 20

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown }).code
}

class Writer {
  readonly #log: Log
  readonly #order: Order
  readonly #random: Random
  #nextId: number
  /** Acknowledged: what a trim may name, and a rewind where it is alone or the first of its batch. */
  #done: { lsn: number; id: number; isStart: boolean }[] = []

  constructor(log: Log, order: Order) {
    this.#log = log
    this.#order = order
    this.#random = new Random(order.seed)
    this.#nextId = order.life * IDS_A_LIFE
  }

  async write(): Promise<void> {
    const callers = Array.from({ length: this.#order.callers }, async () => {
      for (;;) await this.#append()
    })
    const changes = async () => {
      for (;;) await this.#change()
    }
    await Promise.all([...callers, changes()])
  }

  async #append(): Promise<void> {
    if (this.#random.chance(0.02)) return this.#appendEmpty()
    const count = this.#random.chance(0.15) ? this.#random.int(2, 6) : 1
    const large = this.#random.chance(0.05)
    const most = Math.min(this.#order.largestBytes, this.#log.maxRecordBytes) / (2 * count)
    const sizes = Array.from({ length: count }, () =>
      this.#random.int(STAMP_BYTES, large ? Math.max(2000, Math.floor(most)) : 2000),
    )
    const first = this.#nextId
    const records = sizes.map((bytes, i) =>
      makeRecord({ id: first + i, batchFirst: first, batchCount: count }, bytes),
    )
    const lsns = await (this.#order.style === 'flush'
      ? this.#appendAndFlush(records)
      : this.#appendDurable(records))
    if (lsns === undefined) return
    lsns.forEach((lsn, i) => {
      this.#done.push({ lsn, id: first + i, isStart: i === 0 })
    })
    // One write for all of a batch, which is acknowledged as one.
    tellLine(lsns.map((lsn, i) => `+ ${lsn} ${first + i}`).join('\n'))
  }

  async #appendEmpty(): Promise<void> {
    tellLine(`+ ${await this.#log.appendDurable(Buffer.alloc(0))} -1`)
  }

  async #appendDurable(records: Buffer[]): Promise<number[]> {
    this.#nextId += records.length
    if (records.length > 1) return this.#log.appendBatchDurable(records)
    return [await this.#log.appendDurable(records[0])]
  }

  /** Undefined when there was no room, and nothing was taken: then no id is used either. */
  async #appendAndFlush(records: Buffer[]): Promise<number[] | undefined> {
    let lsns: number[]
    try {
      lsns = records.length > 1 ? this.#log.appendBatch(records) : [this.#log.append(records[0])]
    } catch (error) {
      if (codeOf(error) !== 'ERR_RIOLOG_BACKPRESSURE') throw error
      await this.#log.drain()
      return undefined
    }
    this.#nextId += records.length
    await this.#log.flush()
    return lsns
  }

  async #change(): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, this.#random.int(0, 30)))
    if (this.#done.length === 0) return
    const isTrim = this.#random.chance(0.5)
    // Trims near the beginning and rewinds near the end, so that something is left between them.
    const place = this.#random.int(0, Math.floor(this.#done.length / 4))
    const record = this.#done.at(isTrim ? place : -1 - place)!
    if (isTrim) await this.#trim(record.lsn)
    else if (record.isStart) await this.#rewind(record)
  }

  async #trim(lsn: number): Promise<void> {
    tellLine(`t ${lsn}`)
    await this.#log.trim(lsn)
    this.#done = this.#done.filter(record => record.lsn >= lsn)
    tellLine(`T ${lsn}`)
  }

  async #rewind({ lsn, id }: { lsn: number; id: number }): Promise<void> {
    tellLine(`r ${lsn} ${id} ${this.#nextId}`)
    await this.#log.rewind(lsn)
    this.#done = this.#done.filter(record => record.lsn < lsn)
    tellLine(`R ${lsn} ${this.#log.durableLsn}`)
  }
}

/** @param reached is told `go` and `open` */
async function live(order: Order, reached: (what: Order['from']) => void): Promise<never> {
  reached('go')
  const { directory, engine, segmentSize, commitsInFlight, overlap, busyPoll, compression } = order
  const given = { engine, segmentSize, commitsInFlight, overlap, busyPoll, compression }
  const options = { ...given, idleStampMs: 5 }
  const log = await Log.open(directory, options)
  reached('open')
  await new Writer(log, order).write()
  throw new Error('writers never end')
}

function readOrder(): Order {
  const bytes = Buffer.alloc(4096)
  let length = 0
  while (!bytes.subarray(0, length).includes('\n')) {
    const got = readSync(STDIN, bytes, length, bytes.length - length, null)
    // Who would have given the order is gone.
    if (got === 0) process.exit(0)
    length += got
  }
  return JSON.parse(bytes.toString('utf8', 0, length))
}

/** Takes memory until the kernel ends this process for it. */
function hoard(held: Buffer[] = []): void {
  held.push(Buffer.alloc(HOARD_BYTES, 1))
  setImmediate(hoard, held)
}

/** The way in which this process ends itself; undefined when somebody else does it. */
function wayToEnd(kind: Order['kind'], worker?: Worker): (() => void) | undefined {
  const ways: Partial<Record<Order['kind'], () => void>> = {
    exit: () => process.exit(0),
    abort: () => process.abort(),
    worker: () => worker!.terminate(),
    'OOM kill': () => hoard(),
  }
  return ways[kind]
}

function begin(order: Order): void {
  const worker =
    order.kind === 'worker'
      ? new Worker(new URL(import.meta.url), { workerData: order })
      : undefined
  const end = wayToEnd(order.kind, worker)
  const reached = (what: Order['from']) => {
    tellLine(what)
    if (what === order.from && end !== undefined) setTimeout(end, order.afterMs)
  }
  if (worker !== undefined) worker.on('message', reached)
  else void live(order, reached)
}

if (isMainThread) {
  tellLine('up')
  begin(readOrder())
} else {
  await live(workerData as Order, what => parentPort!.postMessage(what))
}

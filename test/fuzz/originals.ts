/** Small logs as riolog leaves them: what the fuzz of openings starts from, before it damages them. */
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { RiologError } from '../../src/errors.ts'
import type { Log } from '../../src/log/log.ts'
import type { LogOptions } from '../../src/log/options.ts'
import { payloadOf } from '../support/oracle.ts'
import { Random } from '../support/random.ts'
import { KIB, openSimulated } from '../support/simulated.ts'

export type Files = ReadonlyMap<string, Uint8Array>

export interface Original {
  readonly name: string
  readonly files: Files
  /** Every record that was ever appended, also trimmed, rewound and never acknowledged: no other may be shown. */
  readonly records: ReadonlyMap<number, Buffer>
  readonly options: LogOptions
}

const KEY = Buffer.alloc(32, 7)
const ENCRYPTED: LogOptions = { encryption: { keyId: 1, key: id => (id === 1 ? KEY : undefined) } }

class Author {
  device = new SimulatedDevice()
  readonly records = new Map<number, Buffer>()
  readonly options: LogOptions
  readonly #random: Random
  #id = 0

  constructor(options: LogOptions, seed: number) {
    this.options = options
    this.#random = new Random(seed)
  }

  open(): Promise<Log> {
    return openSimulated(this.device, this.options)
  }

  #payload(most: number): Buffer {
    return payloadOf(this.#id++, this.#random.int(0, most))
  }

  async append(log: Log, count: number, most: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const data = this.#payload(most)
      this.records.set(await log.appendDurable(data), data)
    }
  }

  async batch(log: Log, count: number, most: number): Promise<void> {
    const batch = Array.from({ length: count }, () => this.#payload(most))
    const lsns = await log.appendBatchDurable(batch)
    lsns.forEach((lsn, i) => {
      this.records.set(lsn, batch[i])
    })
  }

  /** One of the records from one share of the log to another, 0 to 1. */
  lsnAt(share: number): number {
    const lsns = [...this.records.keys()].sort((a, b) => a - b)
    return lsns[Math.floor(share * (lsns.length - 1))]
  }

  /** Appends that nobody waits for: the kill comes among them. */
  kill(log: Log): void {
    for (let i = 0; i < 5; i++) {
      const data = this.#payload(3000)
      this.records.set(log.append(data), data)
    }
    this.device = this.device.afterKill()
  }

  finish(name: string): Original {
    const { device, records, options } = this
    const files = new Map(device.names().map(file => [file, device.bytesOf(file).slice()]))
    return { name, files, records, options }
  }
}

/** Three openings, each closed, with batches in one group and in several. */
async function closed(options: LogOptions, name: string): Promise<Original> {
  const author = new Author({ maxGroupBytes: 8 * KIB, ...options }, 1)
  for (let opening = 0; opening < 3; opening++) {
    const log = await author.open()
    await author.append(log, 6, 3000)
    await author.batch(log, 3, 500)
    await author.batch(log, 6, 6000)
    await author.append(log, 8, 9000)
    await log.close()
  }
  return author.finish(name)
}

/** Trimmed, rewound, recycled, and killed while it wrote. */
async function killed(): Promise<Original> {
  const author = new Author({ maxGroupBytes: 8 * KIB }, 2)
  const first = await author.open()
  await author.append(first, 25, 6000)
  await first.trim(author.lsnAt(0.6))
  await author.append(first, 10, 6000)
  await first.rewind(author.lsnAt(0.9))
  await author.batch(first, 8, 6000)
  await author.append(first, 4, 3000)
  author.kill(first)
  const second = await author.open()
  await author.append(second, 8, 6000)
  await author.batch(second, 4, 6000)
  author.kill(second)
  return author.finish('killed')
}

/** A record that is longer than any group, in a segment that has room for it. */
async function fragmented(): Promise<Original> {
  const author = new Author({ segmentSize: 2048 * KIB }, 3)
  const log = await author.open()
  await author.append(log, 2, 500)
  const long = payloadOf(900, 1200 * KIB)
  author.records.set(await log.appendDurable(long), long)
  await author.append(log, 2, 500)
  author.kill(log)
  return author.finish('fragmented')
}

/** Opened and closed, with nothing in it. */
async function empty(): Promise<Original> {
  const author = new Author({}, 4)
  await (await author.open()).close()
  return author.finish('empty')
}

export async function makeOriginals(): Promise<Original[]> {
  return [
    await closed({}, 'closed'),
    await killed(),
    await closed({ compression: 'deflate' }, 'compressed'),
    await closed(ENCRYPTED, 'encrypted'),
    await empty(),
    await fragmented(),
  ]
}

export function isCoded(error: unknown): error is RiologError {
  return error instanceof RiologError && /^ERR_RIOLOG_[A-Z_]+$/.test(error.code)
}

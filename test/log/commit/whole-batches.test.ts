/** A batch is taken as a whole or not at all, also where something fails in its middle. */
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import type { Log } from '../../../src/log/log.ts'
import type { LogOptions } from '../../../src/log/options.ts'
import { addon } from '../../../src/native.ts'
import { failingBatch, KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const GROUP_BYTES = 8 * KIB
/** Of more groups than a log has memory for when it begins. */
const BATCH = [1, 2, 3, 4, 5].map(i => Buffer.alloc(7000, i))

/** No more memory for groups while this runs. */
function withoutMemory<T>(run: () => T): T {
  const native = addon() as { allocate: (bytes: number) => unknown }
  const { allocate } = native
  native.allocate = bytes => (bytes > GROUP_BYTES ? undefined : allocate(bytes))
  try {
    return run()
  } finally {
    native.allocate = allocate
  }
}

for (const end of ['close', 'kill'] as const) {
  t.test(`memory runs out, and then a ${end}`, async t => {
    const device = new SimulatedDevice()
    const options = { maxBufferedBytes: 4096 * KIB, maxGroupBytes: GROUP_BYTES, idleStampMs: 0 }
    const log = await openSimulated(device, options)
    await log.appendDurable(Buffer.from('before'))
    const { bufferBytesInUse } = log.metrics()
    const refused = () => log.appendBatch(BATCH)
    t.throws(() => withoutMemory(refused), { code: 'ERR_RIOLOG_OUT_OF_MEMORY' })
    t.equal(log.metrics().bufferBytesInUse, bufferBytesInUse, 'what it had is given back')
    for (let i = 0; i < 20; i++) {
      const lsn = await log.appendDurable(Buffer.from(`behind ${i}`))
      t.ok(log.durableLsn > lsn)
    }
    const lsns = await log.appendBatchDurable(BATCH)
    t.equal(lsns.length, BATCH.length, 'there is memory again')
    if (end === 'close') await log.close()
    const again = await openSimulated(end === 'close' ? device : device.afterKill(), options)
    const found = (await recordsOf(again)).map(({ data }) => data)
    t.equal(found.length, 1 + 20 + BATCH.length)
    t.same(found.slice(-BATCH.length), BATCH)
    await again.close()
  })
}

/** Whatever it is asked for, it appends, and holds up the thread. */
class Nosy extends Uint8Array {
  asked = 0
  log: Log | undefined

  #ask(): void {
    const { log } = this
    if (log === undefined) return
    this.asked++
    this.log = undefined
    log.append(Buffer.from('within'))
    log.flushSync()
    this.log = log
  }

  static get [Symbol.species](): Uint8ArrayConstructor {
    throw new Error('a copy was made in the class of the caller')
  }

  override get length(): number {
    this.#ask()
    return super.length
  }

  override get buffer(): ArrayBuffer {
    this.#ask()
    return super.buffer as ArrayBuffer
  }

  override get byteOffset(): number {
    this.#ask()
    return super.byteOffset
  }

  override [Symbol.iterator]() {
    this.#ask()
    return super[Symbol.iterator]()
  }
}

/** The same of an array that is of no class of the caller's. */
function withGetter(bytes: number, log: Log, told: () => void): Buffer {
  return Object.defineProperty(Buffer.alloc(bytes, 'own'), 'length', {
    get: () => {
      told()
      log.append(Buffer.from('within'))
      return bytes
    },
  })
}

const KEYS = { keyId: 1, key: () => Buffer.alloc(32, 1) }
const CODECS: Record<string, LogOptions> = {
  plain: {},
  compressed: { compression: 'deflate' },
  encrypted: { encryption: KEYS },
}

for (const [name, options] of Object.entries(CODECS)) {
  t.test(`a class of the caller is not asked in the middle of an append, ${name}`, async t => {
    const log = await openSimulated(new SimulatedDevice(), { segmentSize: 64 * KIB, ...options })
    const records: Nosy[] = []
    const nosy = (bytes: number) => {
      const record = new Nosy(bytes).fill(records.length + 1)
      record.log = log
      records.push(record)
      return record
    }
    let asked = 0
    const own = withGetter(200, log, () => asked++)
    const lsns = [log.append(nosy(300)), await log.appendDurable(nosy(10)), log.append(own)]
    lsns.push(...log.appendBatch([Buffer.alloc(10), nosy(500), nosy(0)]))
    // Longer than a group: it is cut.
    lsns.push(...(await log.appendBatchDurable([nosy(20 * KIB), nosy(10 * KIB)])))
    lsns.push(await log.appendDurable(nosy(24 * KIB)))
    await log.flush()
    t.same([asked, ...records.map(record => record.asked)], [0, ...records.map(() => 0)])
    for (const record of records) record.log = undefined
    const [a, b, c, d, e, f, g] = records.map(record => Buffer.from(record))
    t.same(
      await recordsOf(log),
      [a, b, Buffer.alloc(200, 'own'), Buffer.alloc(10), c, d, e, f, g].map((data, i) => ({
        lsn: lsns[i],
        data,
      })),
    )
    await log.close()
  })
}

t.test('a Uint8Array of another realm is one, as under test runners that make one', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const foreign = runInNewContext('Uint8Array.of(1, 2, 3)')
  t.notOk(foreign instanceof Uint8Array)
  log.append(foreign)
  log.appendBatch([foreign, foreign])
  await log.appendDurable(foreign)
  t.same(
    (await recordsOf(log)).map(({ data }) => data),
    [1, 2, 3, 4].map(() => Buffer.of(1, 2, 3)),
  )
  await log.close()
})

t.test('what is no Uint8Array is refused, whatever it says of itself', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const fake = Object.setPrototypeOf(new Float64Array(4), Uint8Array.prototype)
  const none = Object.create(Buffer.prototype)
  for (const record of [fake, none, new Proxy(Buffer.alloc(4), {}), 'text', null, undefined]) {
    t.throws(() => log.append(record), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
    t.throws(() => log.appendBatch([Buffer.alloc(1), record]), {
      code: 'ERR_RIOLOG_INVALID_ARGUMENT',
    })
    await t.rejects(log.appendDurable(record), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  }
  t.same(await recordsOf(log), [])
  await log.close()
})

t.test('a batch that cannot be finished poisons, and nothing of it is shown', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  await log.appendDurable(Buffer.from('before'))
  log.append(Buffer.from('beside'))
  t.match(failingBatch(log), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.flush(), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
  const again = await openSimulated(device.afterKill())
  t.same(
    (await recordsOf(again)).map(({ data }) => data.toString()),
    ['before'],
  )
  await again.close()
})

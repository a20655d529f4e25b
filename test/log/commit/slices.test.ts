/** Records that are slices of one piece of memory: a batch as any other, copied in one call. */
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import type { Log } from '../../../src/log/log.ts'
import type { LogOptions } from '../../../src/log/options.ts'
import { addon } from '../../../src/native.ts'
import { failingBatch, KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const MEMORY = Uint8Array.from({ length: 100 * KIB }, (_, i) => (i * 31 + (i >> 8)) % 251)

type Bounds = readonly (readonly [number, number])[]

const wordsOf = (bounds: Bounds) => Uint32Array.from(bounds.flat())
const buffersOf = (bounds: Bounds, memory = MEMORY) =>
  bounds.map(([from, to]) => Buffer.from(memory.subarray(from, to)))

/** The same, whatever was asked to copy them: calls of native code, and into how many groups. */
function counted<T>(run: () => T): { result: T; calls: number } {
  const native = addon() as { copySlices: (...given: never[]) => number }
  const { copySlices } = native
  let calls = 0
  native.copySlices = (...given) => {
    calls++
    return copySlices(...given)
  }
  try {
    return { result: run(), calls }
  } finally {
    native.copySlices = copySlices
  }
}

/** Some of 1 to 300 bytes, with gaps, overlaps and empty ones among them. */
function some(count: number, seed: number): Bounds {
  return Array.from({ length: count }, (_, i) => {
    const from = (i * 137 + seed * 7919) % (MEMORY.length - 300)
    return [from, from + (i % 7 === 3 ? 0 : 1 + ((i * 53 + seed) % 300))] as const
  })
}

const KEYS = { keyId: 1, key: () => Buffer.alloc(32, 1) }
/** With how many of the batches are copied by native code. */
const WAYS: Record<string, { options: LogOptions; natively: number }> = {
  plain: { options: {}, natively: 59 },
  'at most 4 KiB a group': { options: { maxGroupBytes: 4 * KIB }, natively: 8 },
  compressed: { options: { compression: 'deflate' }, natively: 0 },
  encrypted: { options: { encryption: KEYS }, natively: 0 },
}

for (const [name, { options, natively }] of Object.entries(WAYS)) {
  t.test(`${name}: the same records at the same LSNs as by appendBatch, 60 batches`, async t => {
    const device = new SimulatedDevice()
    const sliced = await openSimulated(device, options)
    const listed = await openSimulated(new SimulatedDevice(), options)
    const expected: { lsn: number; data: Buffer }[] = []
    let called = 0
    for (let i = 0; i < 60; i++) {
      const bounds = some(i === 5 ? 0 : i === 6 ? 1 : 20 + i, i)
      const words = wordsOf(bounds)
      const memory = MEMORY.slice()
      // The next segment has to be there.
      await Promise.all([sliced.drain(), listed.drain()])
      const { result, calls } = counted(() => sliced.appendSlices(memory, words))
      called += calls
      // They were copied: nobody looks at them again.
      memory.fill(0)
      words.fill(0)
      t.same(result, listed.appendBatch(buffersOf(bounds)), `batch ${i}`)
      expected.push(...buffersOf(bounds).map((data, k) => ({ lsn: result[k], data })))
      const { lsn, data } = expected[expected.length >> 1]
      t.ok((await sliced.read(lsn)).equals(data), 'durable or not')
      if (i % 2 === 0) await Promise.all([sliced.flush(), listed.flush()])
    }
    t.equal(called, natively)
    const counts = ({ metrics }: { metrics: ReturnType<Log['metrics']> }) => [
      metrics.groups,
      metrics.records,
      metrics.recordBytes,
      metrics.writtenBytes,
    ]
    await Promise.all([sliced.flush(), listed.flush()])
    t.same(counts({ metrics: sliced.metrics() }), counts({ metrics: listed.metrics() }))
    const again = await openSimulated(device.afterKill(), options)
    t.same(await recordsOf(again), expected)
    await Promise.all([again.close(), listed.close()])
  })
}

t.test('what is no slice is refused, and nothing taken', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const memory = MEMORY.subarray(0, 100)
  const { end } = log.recovery
  for (const bounds of [
    [0, 101],
    [101, 101],
    [2, 1],
    [0, 2 ** 32 - 1],
    [2 ** 32 - 1, 0],
    [0, 50, 50, 101],
    [0, 10, 20],
    [0],
  ]) {
    t.throws(() => log.appendSlices(memory, Uint32Array.from(bounds)), {
      code: 'ERR_RIOLOG_INVALID_ARGUMENT',
    })
  }
  for (const [bytes, bounds] of [
    ['text', new Uint32Array(2)],
    [memory.buffer, new Uint32Array(2)],
    [new Uint16Array(8), new Uint32Array(2)],
    [memory, [0, 1]],
    [memory, new Int32Array(2)],
    [memory, new Float64Array(2)],
    [memory, undefined],
    [memory, Object.create(Uint32Array.prototype)],
  ]) {
    const appended = () => log.appendSlices(bytes as Uint8Array, bounds as Uint32Array)
    t.throws(appended, { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
    await t.rejects(log.appendSlicesDurable(bytes as Uint8Array, bounds as Uint32Array), {
      code: 'ERR_RIOLOG_INVALID_ARGUMENT',
    })
  }
  const long = new Uint8Array(log.maxRecordBytes + 1)
  t.throws(() => log.appendSlices(long, Uint32Array.of(0, 1, 0, long.length)), {
    code: 'ERR_RIOLOG_RECORD_TOO_LARGE',
  })
  const huge = Uint32Array.from({ length: 200 }, (_, i) => (i % 2) * 50 * KIB)
  t.throws(() => log.appendSlices(MEMORY, huge), { code: 'ERR_RIOLOG_BATCH_TOO_LARGE' })
  t.equal(await log.flush(), end)
  t.same(log.appendSlices(memory, new Uint32Array(0)), [])
  t.equal(log.appendSlices(memory, Uint32Array.of(100, 100, 0, 100)).length, 2)
  await log.flush()
  t.same(
    (await recordsOf(log)).map(({ data }) => data.length),
    [0, 100],
  )
  await log.close()
  t.throws(() => log.appendSlices(memory, Uint32Array.of(0, 1)), { code: 'ERR_RIOLOG_CLOSED' })
})

t.test('as long as a group may be, and a record more', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { maxGroupBytes: 8 * KIB })
  await log.appendDurable(Buffer.from('first'))
  const each = (8 * KIB - 64) / 64
  for (const [count, calls] of [
    [each, 1],
    [each + 1, 0],
  ]) {
    const { groups } = log.metrics()
    // 52 bytes and their header are 64.
    const bounds = Uint32Array.from({ length: 2 * count }, (_, i) => (i % 2) * 52)
    const appended = counted(() => log.appendSlices(MEMORY, bounds))
    t.equal(appended.calls, calls)
    await log.flush()
    t.equal(log.metrics().groups - groups, calls === 1 ? 1 : 2)
    t.equal(new Set(appended.result).size, count)
  }
  await log.close()
})

t.test('thousands in one call, none of them of any length', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  for (const count of [1000, 3000, 3000]) {
    const { result, calls } = counted(() => log.appendSlices(MEMORY, new Uint32Array(2 * count)))
    t.equal(calls, 1)
    const [first] = result
    t.same(
      result,
      Array.from({ length: count }, (_, i) => first + 16 * i),
    )
    await log.flush()
    await log.drain()
  }
  await log.close()
})

t.test('where there is no room they wait, and take their turn', async t => {
  const log = await openSimulated(new SimulatedDevice(), {
    segmentSize: 8192 * KIB,
    maxBufferedBytes: 2048 * KIB,
  })
  const bounds = wordsOf([
    [0, 60 * KIB],
    [0, 40 * KIB],
  ])
  let taken = 0
  t.throws(
    () => {
      for (; taken < 1000; taken++) log.appendSlices(MEMORY, bounds)
    },
    { code: 'ERR_RIOLOG_BACKPRESSURE' },
  )
  // A record that waits for room is not overtaken.
  const waits = log.appendDurable(Buffer.alloc(100 * KIB))
  t.throws(() => log.appendSlices(MEMORY, Uint32Array.of(0, 1)), {
    code: 'ERR_RIOLOG_BACKPRESSURE',
  })
  const lsns = await log.appendSlicesDurable(MEMORY, bounds)
  t.ok(lsns[0] > (await waits))
  t.ok(log.durableLsn > lsns[1])
  t.equal((await recordsOf(log)).length, 2 * taken + 3)
  t.ok(failingBatch(log) !== undefined)
  t.throws(() => log.appendSlices(MEMORY, bounds), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.appendSlicesDurable(MEMORY, bounds), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('memory that goes away in the middle, and bounds that change: nothing is taken', async t => {
  for (const change of ['memory', 'bounds', 'length'] as const) {
    const log = await openSimulated(new SimulatedDevice())
    const memory = MEMORY.slice(0, 1000)
    const bounds = Uint32Array.of(0, 1000, 10, 20)
    let told = 0
    // The first append of an opening tells of the end that was found, before it has taken anything.
    log.onDurable(() => {
      if (told++ > 0) return
      if (change === 'memory') structuredClone(memory, { transfer: [memory.buffer] })
      if (change === 'bounds') structuredClone(bounds, { transfer: [bounds.buffer] })
      // Still slices, but of another length.
      if (change === 'length') bounds[3] = 100
    })
    t.throws(() => log.appendSlices(memory, bounds), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
    t.equal(told, 1)
    t.same((await recordsOf(log)).length, 0)
    const lsn = await log.appendDurable(Buffer.from('behind'))
    t.same(await recordsOf(log), [{ lsn, data: Buffer.from('behind') }])
    await log.close()
  }
})

t.test('memory of threads, of other realms, and of classes of the caller', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(1)
  const sharedBounds = new Uint32Array(new SharedArrayBuffer(16))
  sharedBounds.set([0, 50, 50, 100])
  log.appendSlices(shared, sharedBounds)
  const [foreign, foreignBounds] = runInNewContext(
    '[Uint8Array.of(1, 2, 3), Uint32Array.of(0, 1, 1, 3)]',
  )
  log.appendSlices(foreign, foreignBounds)
  let asked = 0
  const lying = (kind: typeof Uint8Array | typeof Uint32Array) =>
    class extends (kind as typeof Uint8Array) {
      override get length(): number {
        asked++
        return 1
      }
      override get byteOffset(): number {
        asked++
        return 1
      }
    }
  const bytes = new (lying(Uint8Array))(10)
  const bounds = new (lying(Uint32Array))(4) as unknown as Uint32Array
  bytes[9] = 9
  bounds[1] = 10
  log.appendSlices(bytes, bounds)
  await log.flush()
  t.equal(asked, 0, 'no code of the caller runs')
  t.same(
    (await recordsOf(log)).map(({ data }) => [...data]),
    [new Array(50).fill(1), new Array(50).fill(1), [1], [2, 3], [0, 0, 0, 0, 0, 0, 0, 0, 0, 9], []],
  )
  await log.close()
})

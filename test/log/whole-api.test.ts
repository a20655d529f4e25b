/** Batches, trims and tails on both real engines. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { type CommitEvent, Log, type LogRecord } from '../../src/index.ts'
import { layOut } from '../../src/log/commit/batch-layout.ts'
import { limitsOf } from '../../src/log/commit/limits.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { payloadOf } from '../support/oracle.ts'
import { KIB } from '../support/simulated.ts'

const SMALL = { segmentSize: 64 * KIB, maxGroupBytes: 4 * KIB }

async function all(records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  for await (const record of records) found.push(record)
  return found
}

const lsnsOf = async (log: Log, from = 0) => (await all(log.scan({ from }))).map(({ lsn }) => lsn)

onEachEngine(t, 'a batch: within a group, over many, over a rotation', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, ...SMALL })
  t.same(log.appendBatch([]), [])
  const expected: number[] = []
  for (const [count, bytes] of [
    [1, 10],
    [5, 100],
    [20, 1000],
    [2, 9000],
    [30, 1500],
    [15, 3000],
  ]) {
    const batch = Array.from({ length: count }, (_, i) => payloadOf(i, bytes))
    const lsns = await log.appendBatchDurable(batch)
    t.equal(lsns.length, count)
    for (const [i, lsn] of lsns.entries()) t.ok((await log.read(lsn)).equals(batch[i]))
    expected.push(...lsns)
  }
  t.same(await lsnsOf(log), expected)
  t.ok(log.info().segments.length > 1, 'more than one segment')
  await log.close()
  const again = await Log.open(directory, { engine })
  t.same(await lsnsOf(again), expected)
  await again.close()
})

onEachEngine(t, 'a batch that would never fit is refused whole, by name', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, ...SMALL })
  const batch = Array.from({ length: 70 }, () => new Uint8Array(1000))
  t.throws(() => log.appendBatch(batch), {
    code: 'ERR_RIOLOG_BATCH_TOO_LARGE',
    message: /maxBufferedBytes.*segmentSize/,
  })
  t.throws(() => log.appendBatch([new Uint8Array(1), 'text' as unknown as Uint8Array]), {
    code: 'ERR_RIOLOG_INVALID_ARGUMENT',
  })
  t.throws(() => log.appendBatch([new Uint8Array(1), new Uint8Array(70 * KIB)]), {
    code: 'ERR_RIOLOG_RECORD_TOO_LARGE',
  })
  t.same(await lsnsOf(log), [], 'nothing was taken')
  await log.close()
})

onEachEngine(
  t,
  'many callers append batches at once: each is whole, in order',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine, ...SMALL })
    const batches = await Promise.all(
      Array.from({ length: 40 }, (_, k) =>
        log.appendBatchDurable(Array.from({ length: 1 + (k % 9) }, (_, i) => payloadOf(i, 800))),
      ),
    )
    const found = await lsnsOf(log)
    for (const lsns of batches) {
      const at = found.indexOf(lsns[0])
      t.same(found.slice(at, at + lsns.length), lsns, 'together')
    }
    t.equal(found.length, batches.flat().length)
    await log.close()
  },
)

t.test('the layout fills group after group, and rotates once', async t => {
  const groups = { alignment: 4096, maxGroup: 8192, overhead: 0, groupLimit: 4096 }
  const room = { ...groups, roomLeft: 8192, nextRoom: 8192 }
  const whole = (...records: number[]) => records.map(record => ({ record, byte: 0 }))
  t.same(layOut([1000, 1000], room), { groups: whole(2), rotatesBefore: -1 })
  t.same(layOut([4000, 4000, 4000], room), { groups: whole(1, 2, 3), rotatesBefore: 2 })
  t.same(layOut([4000, 4000, 4000, 4000, 4000], room), undefined)
  t.same(layOut([8116, 100], room), { groups: whole(1, 2), rotatesBefore: 1 }, 'over the limit')
  t.same(layOut([8116], { ...room, roomLeft: 4096, nextRoom: 0 }), undefined)
})

t.test('the layout cuts what no group holds, also at the end of a segment', async t => {
  const groups = { alignment: 4096, maxGroup: 8192, overhead: 0, groupLimit: 4096 }
  const room = { ...groups, roomLeft: 8192, nextRoom: 8192 }
  const cut = (record: number, byte: number) => ({ record, byte })
  const at = (lengths: number[], rest: Partial<typeof room> = {}) =>
    layOut(lengths, { ...room, ...rest })
  t.same(at([8117]), { groups: [cut(0, 8116), cut(1, 0)], rotatesBefore: 1 })
  t.same(at([16232]), { groups: [cut(0, 8116), cut(1, 0)], rotatesBefore: 1 }, 'all there is')
  t.same(at([16233]), undefined, 'one byte more')
  t.same(at([9000], { roomLeft: 4096 }), { groups: [cut(0, 4020), cut(1, 0)], rotatesBefore: 1 })
  t.same(
    at([2000, 9000, 100]),
    { groups: [cut(1, 4096 - 64 - 2016 - 12), cut(1, 2004 + 4020), cut(3, 0)], rotatesBefore: 2 },
    'the rest of a group is used, and records follow the last fragment',
  )
  t.same(
    at([3900, 9000], { roomLeft: 16384 }),
    { groups: [cut(1, 0), cut(1, 8116), cut(2, 0)], rotatesBefore: -1 },
    'no fragment is tiny',
  )
  t.same(at([16192], { overhead: 20 }), { groups: [cut(0, 8096), cut(1, 0)], rotatesBefore: 1 })
  t.same(at([16193], { overhead: 20 }), undefined)
  for (const [memory, segmentSize] of [
    [2 << 20, 64 << 20],
    [16 << 20, 64 << 20],
    [16 << 20, 4 << 20],
    [16 << 20, 64 * KIB],
  ]) {
    const { dimensions, groupCount, maxRecordBytes } = limitsOf(
      { segmentSize, alignment: 4096 },
      memory,
      0,
    )
    const fresh = { ...dimensions, groupLimit: 4096, roomLeft: segmentSize - 4096, nextRoom: 0 }
    const longest = layOut([maxRecordBytes], fresh)?.groups.length ?? Infinity
    t.ok(longest <= groupCount - 1, `${maxRecordBytes} bytes fit`)
    const longer = layOut([maxRecordBytes + 1], fresh)?.groups.length ?? Infinity
    t.ok(longer > groupCount - 1, 'and one more does not')
  }
})

onEachEngine(
  t,
  'trim: what is before it is gone, also its files; the rest stays',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const log = await Log.open(directory, { engine, segmentSize: 64 * KIB })
    const lsns: number[] = []
    for (let i = 0; i < 60; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
    const files = () => readdirSync(directory).filter(name => name.endsWith('.seg')).length
    const before = files()
    await t.rejects(log.trim(log.durableLsn + 8), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
    await log.trim(lsns[40])
    t.equal(log.trimLsn, lsns[40])
    const kept = log.metrics().pooledSegments
    t.ok(files() <= before - 6 + kept, `${before} files became ${files()}, ${kept} of them kept`)
    await log.trim(lsns[10])
    t.equal(log.trimLsn, lsns[40], 'a trim never goes back')
    await t.rejects(log.read(lsns[39]), { code: 'ERR_RIOLOG_TRIMMED' })
    t.same(await lsnsOf(log), lsns.slice(40))
    t.ok((await log.read(lsns[40])).equals(payloadOf(40, 10_000)))
    await log.close()
    const again = await Log.open(directory, { engine })
    t.same(await lsnsOf(again), lsns.slice(40))
    lsns.push(await again.appendDurable(payloadOf(60, 100)))
    await again.trim(again.durableLsn)
    t.same(await lsnsOf(again), [])
    await again.close()
    const empty = await Log.open(directory, { engine })
    t.same(await lsnsOf(empty), [])
    const lsn = await empty.appendDurable(payloadOf(61, 100))
    t.ok(lsn > lsns[60], 'LSNs never repeat')
    t.same(await lsnsOf(empty), [lsn])
    await empty.close()
  },
)

onEachEngine(t, 'endless append and trim: disk use is bounded', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: 64 * KIB })
  let most = 0
  for (let i = 0; i < 150; i++) {
    const lsn = await log.appendDurable(payloadOf(i, 10_000))
    if (i % 10 === 9) await log.trim(lsn)
    most = Math.max(most, readdirSync(directory).length)
  }
  t.ok(most < 12, `at most ${most} files for 30 segments`)
  await log.close()
})

onEachEngine(t, 'trim before the first append of an opening, and during it', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const first = await Log.open(directory, { engine })
  const lsns = first.appendBatch([payloadOf(1, 10), payloadOf(2, 10), payloadOf(3, 10)])
  await first.close()
  const log = await Log.open(directory, { engine })
  const trimming = log.trim(lsns[1])
  // The manifest is busy: the fork has to wait for it.
  lsns.push(await log.appendDurable(payloadOf(4, 10)))
  await trimming
  t.same(await lsnsOf(log), lsns.slice(1))
  await log.close()
})

onEachEngine(t, 'a tail sees each durable record once, in order, and waits', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, ...SMALL })
  const seen: number[] = []
  const aborting = new AbortController()
  const tailing = (async () => {
    for await (const { lsn } of log.tail({ signal: aborting.signal })) {
      t.ok(lsn < log.durableLsn, 'durable')
      seen.push(lsn)
    }
  })()
  const late = log.tail({ from: 0 })
  const lsns: number[] = []
  for (let i = 0; i < 100; i++) {
    if (i % 7 === 0)
      lsns.push(...(await log.appendBatchDurable([payloadOf(i, 900), payloadOf(i, 5000)])))
    else lsns.push(await log.appendDurable(payloadOf(i, 1200)))
  }
  await log.flush()
  while (seen.length < lsns.length) await new Promise(resolve => setTimeout(resolve, 1))
  t.same(seen, lsns)
  for (const lsn of lsns.slice(0, 3)) t.equal((await late.next()).value?.lsn, lsn)
  aborting.abort(new Error('enough'))
  await t.rejects(tailing, { code: 'ERR_RIOLOG_CANCELED', cause: { message: 'enough' } })
  const end = log.tail({ from: log.durableLsn })
  const next = end.next()
  const lsn = log.append(payloadOf(1, 1))
  t.equal((await next).value?.lsn, lsn, 'from the end on')
  await log.trim(lsn)
  await t.rejects(late.next(), { code: 'ERR_RIOLOG_TRIMMED' }, 'trims have overtaken it')
  const waiting = end.next()
  await log.close()
  await t.rejects(waiting, { code: 'ERR_RIOLOG_CLOSED' })
})

onEachEngine(t, 'idle: the manifest is told, and a reader sees all', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, idleStampMs: 5 })
  const lsns = [
    await log.appendDurable(payloadOf(1, 10)),
    await log.appendDurable(payloadOf(2, 10)),
  ]
  const shown = async () => {
    const reader = await Log.open(directory, { engine, readOnly: true })
    const found = await lsnsOf(reader)
    await reader.close()
    return found
  }
  for (let i = 0; i < 400 && (await shown()).length < 2; i++) {
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  t.same(await shown(), lsns)
  await log.close()
})

onEachEngine(t, 'rewind: what is behind it is gone for good, LSNs are new', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: 64 * KIB })
  const lsns: number[] = []
  for (let i = 0; i < 30; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
  const beyond = log.tail({ from: lsns[20] })
  await beyond.next()
  const before = log.tail({ from: lsns[3] })
  await before.next()
  const waiting = log.tail({ from: log.durableLsn })
  const next = waiting.next()
  next.catch(() => {})
  const pending = log.append(payloadOf(99, 10))
  const rewinding = log.rewind(lsns[10])
  t.throws(() => log.append(payloadOf(1, 1)), { code: 'ERR_RIOLOG_BACKPRESSURE' })
  const after = log.appendDurable(payloadOf(100, 10))
  await rewinding
  t.ok((await after) > pending, 'LSNs are never given out again')
  t.same(await lsnsOf(log), [...lsns.slice(0, 10), await after])
  t.equal((await before.next()).value?.lsn, lsns[4], 'one that is before the cut goes on')
  await t.rejects(beyond.next(), { code: 'ERR_RIOLOG_REWOUND' })
  await t.rejects(log.read(lsns[10]), { code: 'ERR_RIOLOG_REWOUND' })
  await t.rejects(log.read(lsns[29]), { code: 'ERR_RIOLOG_REWOUND' })
  await t.rejects(log.rewind(lsns[20]), { code: 'ERR_RIOLOG_REWOUND' })
  t.ok((await log.read(lsns[9])).equals(payloadOf(9, 10_000)))
  await log.close()
  const again = await Log.open(directory, { engine })
  t.same(await lsnsOf(again), [...lsns.slice(0, 10), await after])
  await again.rewind(lsns[0])
  t.same(await lsnsOf(again), [], 'all of it, also before the first append')
  await again.rewind(again.durableLsn)
  const last = await again.appendDurable(payloadOf(7, 7))
  t.same(await lsnsOf(again), [last])
  await again.close()
})

onEachEngine(t, 'rewind within a group, and not within a batch', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, ...SMALL })
  const group = log.appendBatch(Array.from({ length: 8 }, (_, i) => payloadOf(i, 100)))
  await log.flush()
  const long = await log.appendBatchDurable(Array.from({ length: 8 }, (_, i) => payloadOf(i, 1500)))
  for (const lsn of long.slice(1)) {
    await t.rejects(log.rewind(lsn), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  }
  await t.rejects(log.rewind(group[0] + 8), { code: 'ERR_RIOLOG_NOT_FOUND' })
  t.same(await lsnsOf(log), [...group, ...long], 'nothing happened')
  await log.rewind(long[0])
  t.same(await lsnsOf(log), group)
  await log.rewind(group[5])
  const last = await log.appendDurable(payloadOf(50, 50))
  const expected = [...group.slice(0, 5), last]
  t.same(await lsnsOf(log), expected)
  for (const lsn of group.slice(0, 5)) t.ok((await log.read(lsn)).length === 100)
  await t.rejects(log.read(group[5]), { code: 'ERR_RIOLOG_REWOUND' })
  const tail = log.tail()
  for (const lsn of expected) t.equal((await tail.next()).value?.lsn, lsn)
  await tail.return?.()
  await log.close()
  for (const readOnly of [true, false]) {
    const again = await Log.open(directory, { engine, readOnly })
    t.same(await lsnsOf(again), expected)
    t.equal((await again.read(group[4])).length, 100)
    await again.close()
  }
})

onEachEngine(t, 'a pin holds trims back, until it holds back too much', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: 64 * KIB })
  const lsns: number[] = []
  for (let i = 0; i < 30; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
  const pin = log.pin('reader', lsns[5])
  t.equal(await log.trim(lsns[20]), lsns[5])
  pin.moveTo(lsns[10])
  pin.moveTo(lsns[7])
  t.equal(await log.trim(lsns[20]), lsns[10], 'it never goes back')
  t.throws(() => log.pin('late', lsns[9]), { code: 'ERR_RIOLOG_TRIMMED' })
  t.throws(() => log.pin('', lsns[15]), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  pin.release()
  t.equal(pin.released, true)
  const warned = once(process, 'warning')
  const short = log.pin('slow', lsns[15], { maxBytes: 1000 })
  t.equal(await log.trim(lsns[20]), lsns[20])
  t.equal(short.released, true)
  const [{ code, message }] = await warned
  t.equal(code, 'RIOLOG_PIN_DROPPED')
  t.match(message, /'slow'/)
  t.same(
    (await log.readMany(lsns.slice(20))).map(data => data.length),
    lsns.slice(20).map(() => 10_000),
  )
  await t.rejects(log.readMany([lsns[25], lsns[3]]), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
})

onEachEngine(
  t,
  'rewind within a group, to a record that lies on the alignment',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const log = await Log.open(directory, { engine })
    // Behind the group's header of 64 bytes: records of 4032, 4096 and 4096 bytes with their headers.
    const batch = [4032, 4096, 4096].map((span, i) => payloadOf(i, span - 12))
    const lsns = await log.appendBatchDurable(batch)
    t.equal(lsns[1] % 4096, 0)
    await log.rewind(lsns[1])
    const last = await log.appendDurable(payloadOf(9, 9))
    t.same(await lsnsOf(log), [lsns[0], last])
    await log.close()
    const again = await Log.open(directory, { engine })
    t.same(await lsnsOf(again), [lsns[0], last])
    t.ok((await again.read(lsns[0])).equals(batch[0]))
    await t.rejects(again.read(lsns[1]), { code: 'ERR_RIOLOG_REWOUND' })
    await again.close()
  },
)

onEachEngine(
  t,
  'metrics: what was committed, and each commit on its channel',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const log = await Log.open(directory, { engine, segmentSize: 64 * KIB })
    t.match(log.metrics(), { groups: 0, records: 0, overhead: 0, forks: 0, commit: { count: 0 } })
    const events: CommitEvent[] = []
    const listen = (event: unknown) => {
      if ((event as CommitEvent).path === directory) events.push(event as CommitEvent)
    }
    subscribe('riolog:commit', listen)
    for (let i = 0; i < 10; i++)
      await log.appendBatchDurable([payloadOf(i, 5000), payloadOf(i, 3000)])
    const metrics = log.metrics()
    t.match(metrics, { groups: 10, records: 20, recordBytes: 80_000, forks: 1 })
    t.equal(metrics.writtenBytes, 10 * 8192)
    t.equal(metrics.overhead, 1 - 80_000 / 81_920)
    t.ok(metrics.rotations >= 1)
    t.match(metrics.recordsPerGroup, { count: 10, min: 2, mean: 2, max: 2 })
    t.ok(Math.abs(metrics.bytesPerGroup.max / 8192 - 1) < 0.01, 'to three digits')
    for (const { min, p50, p99, max, count } of [metrics.commit, metrics.appendToDurable]) {
      t.equal(count, 10)
      t.ok(min > 0 && min <= p50 && p50 <= p99 && p99 <= max)
    }
    t.ok(metrics.appendToDurable.max >= metrics.commit.min)
    t.equal(metrics.bufferBytesInUse, 0, 'all is durable')
    t.equal(events.length, 10)
    t.match(events[3], { records: 2, bytes: 8192 })
    t.ok(events.every(({ microseconds }) => microseconds > 0))
    unsubscribe('riolog:commit', listen)
    await log.close()
  },
)

onEachEngine(
  t,
  'fencing: an opening that expects an epoch is the next one, or none',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const first = await Log.open(directory, { engine, expectedEpoch: 0 })
    const { epoch } = first.info()
    await first.appendDurable(payloadOf(1, 1))
    await first.close()
    const second = await Log.open(directory, { engine, expectedEpoch: epoch })
    t.equal(second.info().epoch, epoch + 1)
    await second.close()
    for (const expectedEpoch of [0, epoch, epoch + 2]) {
      await t.rejects(Log.open(directory, { engine, expectedEpoch }), { code: 'ERR_RIOLOG_FENCED' })
    }
    const third = await Log.open(directory, { engine, expectedEpoch: epoch + 1 })
    t.equal(third.info().epoch, epoch + 2, 'those that were fenced count for nothing')
    await third.close()
    await t.rejects(Log.open(`${directory}/none`, { engine, expectedEpoch: 3 }), {
      code: 'ERR_RIOLOG_NO_LOG',
    })
  },
)

onEachEngine(
  t,
  'metadata stands in the header of each segment, up to its room',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const options = { engine, segmentSize: 64 * KIB }
    const given = Buffer.alloc(4000, 'm')
    const first = await Log.open(directory, { ...options, metadata: given })
    given.fill('x') // it was copied
    for (let i = 0; i < 8; i++) await first.appendDurable(payloadOf(i, 20_000))
    await first.close()
    const second = await Log.open(directory, { ...options, metadata: Uint8Array.of(1, 2, 3) })
    await second.appendDurable(payloadOf(8, 10))
    const metadata = second.info().segments.map(segment => String(segment.metadata))
    t.ok(metadata.length > 3)
    t.same(metadata.at(-1), '\x01\x02\x03')
    t.ok(metadata.slice(0, -1).every(each => each === 'm'.repeat(4000)))
    await second.close()
    const refused = {
      code: 'ERR_RIOLOG_INVALID_OPTION',
      message: 'metadata: 4001 bytes; a segment header of this log has room for 4000',
    }
    const tooLong = { ...options, metadata: new Uint8Array(4001) }
    await t.rejects(Log.open(directory, tooLong), refused)
    await t.rejects(Log.open(temporaryDirectory(t), tooLong), refused)
    await t.rejects(Log.open(directory, { metadata: 'text' as unknown as Uint8Array }), {
      code: 'ERR_RIOLOG_INVALID_OPTION',
      message: /metadata: must be a Uint8Array/,
    })
    const again = await Log.open(directory, { readOnly: true })
    t.equal((await lsnsOf(again)).length, 9)
    t.equal(String(again.info().segments[0].metadata), 'm'.repeat(4000))
    await again.close()
  },
)

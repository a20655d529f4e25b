/** Records that are longer than a group: whole wherever they are read, gone as a whole where torn. */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { Log, type LogOptions, type LogRecord } from '../../../src/index.ts'
import { maxWholeRecordBytes, segmentOf } from '../../../src/segment/format.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { batchedRecordsOf, KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const MIB = 2 ** 20
const A = 4096
const SEGMENT = 2 * MIB
const WHOLE = maxWholeRecordBytes(SEGMENT, A)
const LONG = 1.5 * MIB

const code = (name: string) => ({ code: `ERR_RIOLOG_${name}` })

async function expectRecords(
  log: Log,
  wanted: readonly { lsn: number; data: Buffer }[],
): Promise<string | undefined> {
  const [found, batched] = [await recordsOf(log), await batchedRecordsOf(log)]
  if (found.length !== wanted.length) return `${found.length} records, not ${wanted.length}`
  for (const [i, { lsn, data }] of wanted.entries()) {
    if (found[i].lsn !== lsn || !found[i].data.equals(data)) return `a scan's record ${i}`
    if (batched[i]?.lsn !== lsn || !batched[i].data.equals(data)) return `record ${i} by the batch`
    if (!(await log.read(lsn)).equals(data)) return `LSN ${lsn}`
  }
  return undefined
}

onEachEngine(t, 'around each limit, one after the other and reopened', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: SEGMENT })
  const longest = log.maxRecordBytes
  t.ok(longest > LONG && longest < SEGMENT, `${longest} bytes by one segment`)
  const wanted: { lsn: number; data: Buffer }[] = []
  const lengths = [WHOLE - 1, WHOLE, WHOLE + 1, LONG, 10, longest - 1, longest, 0, 2 * WHOLE - 60]
  for (const [i, length] of lengths.entries()) {
    if (length > longest) continue
    const data = payloadOf(i, length)
    const lsn = await log.appendDurable(data)
    wanted.push({ lsn, data })
    t.ok((await log.read(lsn)).equals(data), `${length} bytes`)
  }
  for (const [i, length] of [LONG, 5, WHOLE + 1].entries()) {
    const data = payloadOf(100 + i, length)
    const lsn = await untilTaken(log, () => log.append(data))
    t.ok((await log.read(lsn)).equals(data), `${length} bytes, not yet durable`)
    wanted.push({ lsn, data })
  }
  await log.flush()
  t.equal(await expectRecords(log, wanted), undefined)
  t.same(
    (await log.readMany(wanted.map(({ lsn }) => lsn))).map(data => data.length),
    wanted.map(({ data }) => data.length),
  )
  const crossing = wanted.filter(({ lsn, data }) => {
    return segmentOf(lsn, SEGMENT) !== segmentOf(lsn + data.length, SEGMENT)
  })
  t.ok(crossing.length > 0, 'some cross the end of a segment')
  t.throws(() => log.append(Buffer.alloc(longest + 1)), {
    ...code('RECORD_TOO_LARGE'),
    message: new RegExp(`has ${longest}, by maxBufferedBytes and segmentSize`),
  })
  await t.rejects(log.appendDurable(Buffer.alloc(longest + 1)), code('RECORD_TOO_LARGE'))
  t.throws(() => log.appendBatch([Buffer.alloc(longest + 1)]), code('RECORD_TOO_LARGE'))
  t.throws(() => log.appendBatch([Buffer.alloc(longest), Buffer.alloc(9000)]), {
    ...code('BATCH_TOO_LARGE'),
    message: /maxBufferedBytes.*segmentSize/,
  })
  await log.close()
  for (const options of [{ engine }, { engine, readOnly: true }]) {
    const again = await Log.open(directory, options)
    t.equal(await expectRecords(again, wanted), undefined)
    await again.close()
  }
})

async function untilTaken<T>(log: Log, take: () => T): Promise<T> {
  for (;;) {
    try {
      return take()
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
      await log.drain()
    }
  }
}

t.test('the memory bound is a limit, too', async t => {
  const options = { segmentSize: 16 * MIB, maxBufferedBytes: 4 * MIB }
  const log = await openSimulated(new SimulatedDevice(), options)
  t.equal(log.maxRecordBytes, 2 * WHOLE, 'two groups, and one where it begins behind a part')
  t.ok((await log.read(await log.appendDurable(payloadOf(1, 2 * WHOLE)))).length === 2 * WHOLE)
  t.throws(() => log.append(Buffer.alloc(2 * WHOLE + 1)), code('RECORD_TOO_LARGE'))
  await log.close()
  const small = await openSimulated(new SimulatedDevice(), {
    ...options,
    maxBufferedBytes: 2 * MIB,
  })
  t.equal(small.maxRecordBytes, WHOLE, 'no room for more than a group')
  await small.appendDurable(payloadOf(1, WHOLE))
  t.throws(() => small.append(Buffer.alloc(WHOLE + 1)), code('RECORD_TOO_LARGE'))
  await small.close()
})

t.test('in a batch, and at each distance from the end of a segment', async t => {
  const device = new SimulatedDevice()
  let log = await openSimulated(device)
  const longest = log.maxRecordBytes
  const wanted: { lsn: number; data: Buffer }[] = []
  for (let i = 0; i < 40; i++) {
    const lengths = i % 3 === 0 ? [100 + 40 * i, longest - 9000, 50] : [longest - 97 * i]
    const data = lengths.map((length, k) => payloadOf(10 * i + k, length))
    const lsns = await log.appendBatchDurable(data)
    for (const [k, lsn] of lsns.entries()) wanted.push({ lsn, data: data[k] })
    const between = payloadOf(1000 + i, (i * 1733) % 30_000)
    wanted.push({ lsn: await log.appendDurable(between), data: between })
  }
  t.equal(await expectRecords(log, wanted), undefined)
  for (const { lsn } of wanted.slice(0, 20)) {
    const index = wanted.findIndex(record => record.lsn === lsn)
    for (const from of [lsn, lsn + 1]) {
      const found: number[] = []
      for await (const record of log.scan({ from })) found.push(record.lsn)
      t.same(
        found,
        wanted.slice(from === lsn ? index : index + 1).map(record => record.lsn),
        'a scan from within a record begins with the next one',
      )
    }
  }
  await log.close()
  log = await openSimulated(device)
  t.equal(await expectRecords(log, wanted), undefined)
  await log.close()
})

t.test('the LSN of a later fragment is no record', async t => {
  const device = new SimulatedDevice()
  const options: LogOptions = { segmentSize: 4 * MIB }
  const log = await openSimulated(device, options)
  const data = payloadOf(1, 2.5 * MIB)
  const lsn = log.append(data)
  const second = lsn + maxWholeRecordBytes(4 * MIB, A) + 12 + 64
  const third = second + maxWholeRecordBytes(4 * MIB, A) + 12 + 64
  for (const each of [second, third]) await t.rejects(log.read(each), code('NOT_FOUND'))
  await log.flush()
  for (const each of [second, third]) {
    await t.rejects(log.read(each), code('NOT_FOUND'))
    await t.rejects(log.rewind(each), code('NOT_FOUND'))
  }
  const behind = await log.appendDurable(payloadOf(2, 10))
  await log.trim(second)
  await t.rejects(log.read(lsn), code('TRIMMED'))
  await t.rejects(log.read(third), code('NOT_FOUND'))
  t.same(
    (await recordsOf(log)).map(record => record.lsn),
    [behind],
    'a trim within a record takes all of it',
  )
  await log.rewind(behind)
  t.same(await recordsOf(log), [])
  await log.close()
})

t.test('a rewind drops it as a whole, also one that crosses segments', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  const kept = await log.appendDurable(payloadOf(0, 20_000))
  const dropped = await log.appendDurable(payloadOf(1, log.maxRecordBytes - 100))
  await log.appendDurable(payloadOf(2, 10))
  await log.rewind(dropped)
  t.same(
    (await recordsOf(log)).map(({ lsn }) => lsn),
    [kept],
  )
  await t.rejects(log.read(dropped), code('REWOUND'))
  await log.close()
})

t.test('a tail gives it once it is whole, and one in another process', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { segmentSize: SEGMENT })
  const reader = await openSimulated(device, { readOnly: true })
  const data = payloadOf(1, LONG)
  const tails = [log.tail(), reader.tail({ pollMs: 1 })]
  const next = tails.map(tail => tail.next())
  const lsn = await log.appendDurable(data)
  await log.appendDurable(payloadOf(2, 10)) // which proves the one before to who reads beside us
  for (const each of next) {
    const { value } = await each
    t.equal(value?.lsn, lsn)
    t.ok((value as LogRecord).data.equals(data))
  }
  for (const tail of tails) await tail.return?.()
  await reader.close()
  await log.close()
})

t.test('torn at its end, all of it is gone; damaged elsewhere or later, it is corrupt', async t => {
  const killed = new SimulatedDevice()
  const log = await openSimulated(killed, { segmentSize: SEGMENT })
  const before = await log.appendDurable(payloadOf(0, 100))
  const long = await log.appendDurable(payloadOf(1, LONG))
  const device = killed.afterKill()
  const file = (lsn: number) =>
    device.names().filter(name => name.endsWith('.seg'))[segmentOf(lsn, SEGMENT) - 1]
  const flip = (of: SimulatedDevice, lsn: number) => {
    of.damage(file(lsn), bytes => {
      bytes[lsn % SEGMENT] ^= 1
      return undefined
    })
    return of
  }
  const options = { segmentSize: SEGMENT }
  for (const within of [1200 * KIB, 1400 * KIB]) {
    const torn = await openSimulated(flip(device.afterKill(), long + within), options)
    t.equal(torn.recovery.verdict, 'torn tail', `at byte ${within} of the last group`)
    t.same(
      (await recordsOf(torn)).map(({ lsn }) => lsn),
      [before],
    )
    await torn.close()
  }
  for (const within of [20, MIB - 100]) {
    const opening = openSimulated(flip(device.afterKill(), long + within), options)
    await t.rejects(
      opening,
      code('CORRUPT'),
      'the last group proves that the first one was durable',
    )
  }
  const base = device.afterKill()
  await (await openSimulated(base, options)).close()
  for (const within of [20, MIB, 1400 * KIB]) {
    const damaged = await openSimulated(flip(base.afterKill(), long + within), {
      segmentSize: SEGMENT,
      readOnly: true,
    })
    await t.rejects(damaged.read(long), code('CORRUPT'), `at byte ${within}`)
    await t.rejects(recordsOf(damaged), code('CORRUPT'))
    await damaged.close()
  }
})

t.test('the power goes at each step of its way: it is there as a whole, or not', async t => {
  const outcomes = { whole: 0, gone: 0 }
  for (let step = 0; ; step++) {
    const device = new SimulatedDevice()
    const log = await openSimulated(device, { segmentSize: SEGMENT })
    const before = await log.appendDurable(payloadOf(0, 900 * KIB))
    const data = payloadOf(1, LONG)
    let count = 0
    device.interference = () => {
      if (count++ === step) device.cutPower()
      return undefined
    }
    let lsn: number | undefined
    log.appendDurable(data).then(
      found => (lsn = found),
      () => {},
    )
    while (lsn === undefined && !device.isOff) await new Promise(resolve => setImmediate(resolve))
    for (const survives of [true, false]) {
      const after = await openSimulated(
        device.afterPowerCut(() => survives),
        {
          segmentSize: SEGMENT,
        },
      )
      const found = await recordsOf(after)
      const isWhole = found.length === 2 && found[1].data.equals(data)
      if (found[0]?.lsn !== before || !(isWhole || found.length === 1)) t.fail(`at step ${step}`)
      if (lsn !== undefined && !isWhole) t.fail(`acknowledged and lost at step ${step}`)
      outcomes[isWhole ? 'whole' : 'gone']++
      await after.close()
    }
    if (lsn !== undefined) break
  }
  t.ok(outcomes.whole > 1 && outcomes.gone > 1, `${outcomes.whole} whole, ${outcomes.gone} gone`)
})

t.test(
  'what fits into the next segment alone is not kept waiting by the rest of this one',
  async t => {
    // Found by a search: begun in the last block of a segment, these take more groups than a fresh one has.
    const lengths = [2144, 2647, 4827, 1635, 3112, 818, 43_243]
    const log = await openSimulated(new SimulatedDevice(), { maxGroupBytes: 12_510 })
    for (let i = 0; i < 13; i++) await log.appendDurable(payloadOf(i, 3000))
    t.equal(log.durableLsn % (64 * KIB), 60 * KIB, 'one block is left')
    const lsns = await log.appendBatchDurable(lengths.map((length, i) => payloadOf(i, length)))
    t.equal(lsns[0], log.info().segments[1].firstLsn + 64)
    t.equal((await recordsOf(log)).length, 13 + lengths.length)
    await log.close()
  },
)

t.test('it can be read at each moment of its way', async t => {
  const log = await openSimulated(new SimulatedDevice(), { segmentSize: 8 * MIB })
  const data = payloadOf(1, 5 * MIB)
  await log.appendDurable(payloadOf(0, 10))
  await log.drain()
  const lsn = await untilTaken(log, () => log.append(data))
  let durable = false
  const flushed = log.flush().then(() => (durable = true))
  let reads = 0
  while (!durable) {
    const found = await log.read(lsn)
    if (!found.equals(data)) t.fail('other bytes')
    reads++
    await new Promise(resolve => setImmediate(resolve))
  }
  await flushed
  t.ok(reads > 2, `${reads} times before it was durable`)
  await log.close()
})

t.test('memory waits for a long record, and drain for room', async t => {
  const log = await openSimulated(new SimulatedDevice(), {
    segmentSize: 8 * MIB,
    maxBufferedBytes: 4 * MIB,
  })
  const data = Array.from({ length: 12 }, (_, i) => payloadOf(i, i % 3 === 0 ? 300 * KIB : LONG))
  const lsns = await Promise.all(data.map(one => log.appendDurable(one)))
  t.same(
    lsns,
    [...lsns].sort((a, b) => a - b),
    'in order',
  )
  t.equal(
    await expectRecords(
      log,
      lsns.map((lsn, i) => ({ lsn, data: data[i] })),
    ),
    undefined,
  )
  const more: number[] = []
  for (const one of data) more.push(await untilTaken(log, () => log.append(one)))
  await log.flush()
  t.match(log.metrics(), { records: 24 }, 'fragments are not counted as records')
  t.equal(log.metrics().bufferBytesInUse, 0, 'all memory has come back')
  t.equal((await recordsOf(log)).length, 24)
  await log.close()
})

t.test(
  'a scan at the end of a segment that a trim frees does not leap over what is gone',
  async t => {
    const log = await openSimulated(new SimulatedDevice())
    const lsns: number[] = []
    for (let i = 0; i < 30; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
    const first = lsns.filter(lsn => segmentOf(lsn, 64 * KIB) === segmentOf(lsns[0], 64 * KIB))
    const scan = log.scan()
    for (const lsn of first) t.equal((await scan.next()).value?.lsn, lsn)
    const segment = segmentOf(lsns[20], 64 * KIB)
    await log.trim(lsns.find(lsn => segmentOf(lsn, 64 * KIB) === segment)!)
    await t.rejects(scan.next(), code('TRIMMED'))
    await log.close()
  },
)

/** The log's interface on both real engines. */
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log, type LogOptions, type RiologError } from '../../src/index.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from '../support/engines.ts'
import { payloadOf } from '../support/oracle.ts'
import { Random } from '../support/random.ts'

async function all(log: Log, from?: number) {
  const records = []
  for await (const record of log.scan(from === undefined ? {} : { from })) records.push(record)
  return records
}

onEachEngine(t, 'append, flush, read, scan, reopen', async (t, engine) => {
  const directory = join(temporaryDirectory(t), 'made', 'on', 'the', 'way')
  const random = new Random(1)
  const expected = new Map<number, Buffer>()
  for (let opening = 0; opening < 3; opening++) {
    const log = await Log.open(directory, { engine })
    t.equal(log.info().engine, engine)
    for (let i = 0; i < 300; i++) {
      const data = payloadOf(i, random.chance(0.05) ? random.int(0, 100_000) : random.int(0, 500))
      const reused = Uint8Array.from(data)
      const lsn = log.append(reused)
      reused.fill(0xee) // the log has its own copy
      expected.set(lsn, data)
      if (random.chance(0.05)) t.ok((await log.flush()) > lsn)
      if (random.chance(0.1)) t.ok((await log.read(lsn)).equals(data), 'before it is durable too')
    }
    const flushed = await log.flush()
    t.equal(flushed, log.durableLsn)
    for (const [lsn, data] of expected) {
      if (!(await log.read(lsn)).equals(data))
        t.fail(`LSN ${lsn} reads other bytes`, {
          got: (await log.read(lsn)).length,
          want: data.length,
        })
    }
    const records = await all(log)
    t.same(
      records.map(({ lsn }) => lsn),
      [...expected.keys()].sort((a, b) => a - b),
    )
    t.ok(records.every(({ lsn, data }) => expected.get(lsn)?.equals(data)))
    await log.close()
  }
  const mode = (name: string) => statSync(join(directory, name)).mode & 0o777
  t.equal(mode('.'), 0o700)
  for (const name of readdirSync(directory)) t.equal(mode(name), 0o600, name)
})

onEachEngine(t, 'rotation through many small segments', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: 64 * 1024 })
  const lsns = []
  for (let i = 0; i < 120; i++) lsns.push(await log.appendDurable(payloadOf(i, i * 50)))
  t.ok(log.info().segments.length > 3)
  for (const [i, lsn] of lsns.entries()) {
    if (!(await log.read(lsn)).equals(payloadOf(i, i * 50))) t.fail(`record ${i}`)
  }
  await log.close()
  const again = await Log.open(directory, { engine })
  const found = await all(again)
  t.same(
    found.map(({ lsn }) => lsn),
    lsns,
  )
  const from = lsns[70]
  t.same(
    (await all(again, from)).map(({ lsn }) => lsn),
    lsns.slice(70),
    'a scan from an LSN begins with it',
  )
  t.same(
    (await all(again, from + 1)).map(({ lsn }) => lsn),
    lsns.slice(71),
    'a scan from between records begins with the next',
  )
  t.same(await all(again, again.durableLsn), [], 'a scan from the end is empty')
  for (const behind of [1, 4096, 70_000, 2 ** 21, 2 ** 40]) {
    t.same(await all(again, again.durableLsn + behind), [], `so is one from ${behind} behind it`)
  }
  const ordered = again.scan()
  const order: (number | undefined)[] = []
  const note = (result: { value?: { lsn: number } | undefined }) => order.push(result.value?.lsn)
  const later = ordered.next().then(result => {
    note(result)
    return ordered.next().then(note)
  })
  await Promise.all([later, ordered.next().then(note)])
  t.same(order, lsns.slice(0, 3), 'calls of next() settle in their order')
  const scan = again.scan()
  const asked = await Promise.all(Array.from({ length: 125 }, () => scan.next()))
  t.same(
    asked.map(({ value }) => value?.lsn),
    [...lsns, ...Array.from({ length: 5 })],
    'next() may be called without waiting for the one before',
  )
  const left = again.scan()
  await left.next()
  await left.return?.()
  t.same(await left.next(), { done: true, value: undefined }, 'a scan that was left is over')
  await again.close()
})

t.test('a log written by one engine opens in the other', async t => {
  const reason = await whyNoRing()
  if (reason !== undefined) return void t.pass('needs io_uring', { skip: reason })
  const directory = temporaryDirectory(t)
  for (const [i, engine] of (['uring', 'threadpool', 'uring', 'threadpool'] as const).entries()) {
    const log = await Log.open(directory, { engine })
    await log.appendDurable(Buffer.from(`record ${i}`))
    t.same(
      (await all(log)).map(({ data }) => String(data)),
      Array.from({ length: i + 1 }, (_, n) => `record ${n}`),
    )
    await log.close()
  }
})

onEachEngine(
  t,
  'what was appended is acknowledged in order, a group at once',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine })
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        log.appendDurable(Buffer.from(`${i}`)).then(() => order.push(i)),
      ),
    )
    t.same(
      order,
      [...order].sort((a, b) => a - b),
    )
    t.equal(order.length, 50)
    await log.close()
  },
)

onEachEngine(
  t,
  'back-pressure: append says so, takes nothing, drain tells when',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine, maxBufferedBytes: 2 << 20 })
    const record = Buffer.alloc(100_000, 7)
    let accepted = 0
    let refusals = 0
    while (accepted < 200) {
      try {
        log.append(record)
        accepted++
      } catch (error) {
        if ((error as RiologError).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
        refusals++
        await log.drain()
      }
    }
    t.ok(refusals > 0, 'the bound was met')
    await log.flush()
    t.equal((await all(log)).length, accepted, 'and no refused record was taken')
    const waiting = Array.from({ length: 100 }, (_, i) =>
      log.appendDurable(Buffer.alloc(100_000, i)),
    )
    const lsns = await Promise.all(waiting)
    t.same(
      lsns,
      [...lsns].sort((a, b) => a - b),
      'appendDurable waits, and keeps its callers in order',
    )
    t.equal((await log.read(lsns[99]))[0], 99)
    await log.close()
  },
)

onEachEngine(t, 'close makes everything appended durable', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine })
  const lsns = Array.from({ length: 1000 }, (_, i) => log.append(payloadOf(i, 64)))
  const closing = log.close()
  t.equal(log.close(), closing, 'closing twice is closing once')
  await closing
  const again = await Log.open(directory, { engine })
  t.equal(again.recovery.verdict, 'clean end')
  t.same(
    (await all(again)).map(({ lsn }) => lsn),
    lsns,
  )
  await again.close()
})

onEachEngine(t, 'an opening that appends nothing leaves no file behind', async (t, engine) => {
  const directory = temporaryDirectory(t)
  for (let i = 0; i < 3; i++) await (await Log.open(directory, { engine })).close()
  t.same(readdirSync(directory), ['MANIFEST'])
})

onEachEngine(
  t,
  'a read-only opening takes no lock and shows what is durable',
  async (t, engine) => {
    const directory = temporaryDirectory(t)
    const log = await Log.open(directory, { engine })
    await log.appendDurable(Buffer.from('one'))
    await log.appendDurable(Buffer.from('two'))
    const reader = await Log.open(directory, { engine, readOnly: true })
    // The last group is proven only by the next one, or by a clean close.
    t.same(
      (await all(reader)).map(({ data }) => String(data)),
      ['one'],
    )
    t.throws(() => reader.append(Buffer.from('x')), { code: 'ERR_RIOLOG_READ_ONLY' })
    await t.rejects(reader.flush(), { code: 'ERR_RIOLOG_READ_ONLY' })
    await reader.close()
    await log.close()
    const after = await Log.open(directory, { engine, readOnly: true })
    t.equal((await all(after)).length, 2)
    await after.close()
  },
)

onEachEngine(t, 'close waits for reads that are under way', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine })
  const lsns = await Promise.all([1, 2, 3].map(n => log.appendDurable(Buffer.alloc(100_000, n))))
  await log.close()
  const reader = await Log.open(directory, { engine, readOnly: true })
  const reads = lsns.map(lsn => reader.read(lsn))
  const closing = reader.close()
  t.same(
    (await Promise.all(reads)).map(data => data[0]),
    [1, 2, 3],
  )
  await closing
})

onEachEngine(t, 'bad input gets a coded error and loses nothing', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine })
  const lsn = await log.appendDurable(Buffer.from('kept'))
  const code = (name: string) => ({ code: `ERR_RIOLOG_${name}` })
  const wrong = <T>(value: unknown) => value as T

  t.throws(() => log.append(Buffer.alloc(log.maxRecordBytes + 1)), code('RECORD_TOO_LARGE'))
  await t.rejects(log.appendDurable(Buffer.alloc(log.maxRecordBytes + 1)), code('RECORD_TOO_LARGE'))
  t.ok(await log.appendDurable(Buffer.alloc(log.maxRecordBytes)), 'the longest record is taken')
  for (const record of ['text', 5, null, undefined, new Uint16Array(4), [1], new ArrayBuffer(8)]) {
    t.throws(() => log.append(wrong(record)), code('INVALID_ARGUMENT'))
    await t.rejects(log.appendDurable(wrong(record)), code('INVALID_ARGUMENT'))
  }
  for (const bad of [-1, 1.5, Number.NaN, 2 ** 53, '1', null, Number.POSITIVE_INFINITY]) {
    await t.rejects(log.read(wrong(bad)), code('INVALID_ARGUMENT'), `read(${bad})`)
    await t.rejects(all(log, wrong(bad ?? -1)), code('INVALID_ARGUMENT'))
  }
  for (const none of [0, 1, lsn - 8, lsn + 8, lsn + 1, lsn - 64, log.durableLsn, 2 ** 50]) {
    await t.rejects(log.read(none), code('NOT_FOUND'), `read(${none}) beside LSN ${lsn}`)
  }
  await t.rejects(Log.open(directory, { engine }), code('LOCKED'))
  const holder = await Log.open(directory, { engine }).catch(error => String(error.message))
  t.match(holder, String(process.pid), 'the holder is named')

  t.equal(String(await log.read(lsn)), 'kept')
  await log.close()
  t.throws(() => log.append(Buffer.from('x')), code('CLOSED'))
  await t.rejects(log.appendDurable(Buffer.from('x')), code('CLOSED'))
  await t.rejects(log.flush(), code('CLOSED'))
  await t.rejects(log.drain(), code('CLOSED'))
  await t.rejects(log.read(lsn), code('CLOSED'))
  await t.rejects(all(log), code('CLOSED'))
})

onEachEngine(t, 'bad openings', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const code = (name: string) => ({ code: `ERR_RIOLOG_${name}` })
  const missing = join(directory, 'missing')
  await t.rejects(Log.open(missing, { engine, readOnly: true }), code('NO_LOG'))
  await t.rejects(Log.open(missing, { engine, create: false }), code('NO_LOG'))
  await t.rejects(Log.open(directory, { engine, create: false }), code('NO_LOG'))
  t.same(readdirSync(directory), [], 'nothing was made')
  const file = join(directory, 'file')
  writeFileSync(file, 'a file')
  await t.rejects(Log.open(file, { engine }), code('NOT_A_DIRECTORY'))
  await t.rejects(Log.open(join(file, 'below'), { engine }), code('NOT_A_DIRECTORY'))
  const bad: unknown[] = [
    { unknown: 1 },
    { segmentSize: 100_000 },
    { segmentSize: '64MiB' },
    { segmentSize: 2 ** 40 },
    { engine: 'magic' },
    { maxBufferedBytes: -1 },
    { mode: 0o7777 },
    { logger: 'console' },
    'options',
  ]
  for (const options of bad) {
    const opening = Log.open(join(directory, 'log'), options as LogOptions)
    await t.rejects(opening, code('INVALID_OPTION'), JSON.stringify(options))
  }
  for (const path of ['', 5, undefined]) {
    await t.rejects(Log.open(path as string), code('INVALID_ARGUMENT'))
  }
  const log = join(directory, 'log')
  await (await Log.open(log, { engine, segmentSize: 1 << 20 })).close()
  await t.rejects(Log.open(log, { engine, segmentSize: 2 << 20 }), code('INVALID_OPTION'))
  await (await Log.open(log, { engine, segmentSize: 1 << 20 })).close()
  mkdirSync(join(directory, 'other'))
  writeFileSync(join(directory, 'other', '0000000000000003.seg'), 'somebody else’s')
  await t.rejects(Log.open(join(directory, 'other'), { engine }), code('CORRUPT'))
  t.same(readdirSync(join(directory, 'other')).includes('0000000000000003.seg'), true)
})

/** `scanBatches`: the same records as a scan gives, as views that are taken back before they could lie. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { allocateBuffer, renewBuffer } from '../../../src/disk/buffer.ts'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { Log, type LogOptions, type LogRecord } from '../../../src/index.ts'
import { addon } from '../../../src/native.ts'
import { readGroupHeader, sealGroup } from '../../../src/segment/group.ts'
import { decodeSegmentHeader } from '../../../src/segment/header.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { batchedRecordsOf, KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const MIB = 2 ** 20
const alignDown = (offset: number) => offset - (offset % (4 * KIB))

async function fill(log: Log, count: number, bytesOf: (i: number) => number): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for (let i = 0; i < count; i++) {
    const data = payloadOf(i, bytesOf(i))
    for (;;) {
      try {
        records.push({ lsn: log.append(data), data })
        break
      } catch (error) {
        if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
        await log.drain()
      }
    }
  }
  await log.flush()
  return records
}

/** What comes before an error, too. */
async function collect(log: Log, found: LogRecord[]): Promise<void> {
  for await (const batch of log.scanBatches()) {
    for (const { lsn, data } of batch) found.push({ lsn, data: Buffer.from(data) })
  }
}

function firstDifference(found: readonly LogRecord[], wanted: readonly LogRecord[]): number {
  if (found.length !== wanted.length) return Math.min(found.length, wanted.length)
  return wanted.findIndex(({ lsn, data }, i) => found[i].lsn !== lsn || !found[i].data.equals(data))
}

onEachEngine(t, 'all records, once, in order, over segments', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: 8 * MIB })
  const wanted = await fill(log, 20_000, i => (i * 37) % 2000)
  t.ok(log.info().segments.length > 2)
  t.equal(firstDifference(await batchedRecordsOf(log), wanted), -1, 'from the beginning')
  for (const at of [1, 7777, wanted.length - 1]) {
    const { lsn } = wanted[at]
    t.equal(firstDifference(await batchedRecordsOf(log, lsn), wanted.slice(at)), -1, `from ${at}`)
    const behind = await batchedRecordsOf(log, lsn + 1)
    t.equal(firstDifference(behind, wanted.slice(at + 1)), -1, `from behind ${at}`)
  }
  t.same(await batchedRecordsOf(log, log.durableLsn), [], 'from the end')
  await log.close()
})

onEachEngine(
  t,
  'views are good until the next batch, and empty from then on',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: 8 * MIB })
    const wanted = await fill(log, 12_000, () => 1000)
    let [before, kept, batches]: [LogRecord[], LogRecord[], number] = [[], [], 0]
    let seen = 0
    for await (const batch of log.scanBatches()) {
      t.ok(
        before.every(({ data }) => data.length === 0),
        'the batch before has been taken back',
      )
      // Whatever is read ahead meanwhile.
      await new Promise(resolve => setTimeout(resolve, 5))
      const expected = wanted.slice(seen, seen + batch.length)
      t.equal(firstDifference(batch, expected), -1, `batch ${batches}`)
      before = batch
      kept = kept.concat(
        batch.slice(0, 1).map(({ lsn, data }) => ({ lsn, data: Buffer.from(data) })),
      )
      seen += batch.length
      batches++
    }
    t.equal(seen, wanted.length)
    t.ok(batches > 3, `${batches} batches`)
    t.ok(
      before.every(({ data }) => data.length === 0),
      'the last one, too',
    )
    const lsns = new Map(wanted.map(({ lsn, data }) => [lsn, data]))
    t.ok(
      kept.every(({ lsn, data }) => data.equals(lsns.get(lsn)!)),
      'a copy stays',
    )
    await log.close()
  },
)

t.test('several asked for at once come one after the other, and only the last is good', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const wanted = await fill(log, 600, () => 1000)
  const scan = log.scanBatches()
  const results = await Promise.all(Array.from({ length: 40 }, () => scan.next()))
  const batches = results.flatMap(({ value }) => (value === undefined ? [] : [value]))
  t.same(
    batches.flat().map(({ lsn }) => lsn),
    wanted.map(({ lsn }) => lsn),
  )
  t.ok(batches.flat().every(({ data }) => data.length === 0))
  t.ok(results.at(-1)?.done)
  await log.close()
})

t.test('a loop that is left keeps what it has, also when the log is closed', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const wanted = await fill(log, 600, () => 1000)
  let left: LogRecord[] = []
  for await (const batch of log.scanBatches()) {
    left = batch
    break
  }
  await recordsOf(log)
  await log.close()
  t.ok(left.length > 0)
  t.equal(firstDifference(left, wanted.slice(0, left.length)), -1)
})

t.test('short records: a batch ends with a group', async t => {
  const log = await openSimulated(new SimulatedDevice(), { segmentSize: 8 * MIB })
  const wanted = await fill(log, 30_000, i => i % 3)
  const sizes: number[] = []
  let found = 0
  for await (const batch of log.scanBatches()) {
    const expected = wanted.slice(found, found + batch.length)
    if (firstDifference(batch, expected) >= 0) t.fail(`batch ${sizes.length}`)
    sizes.push(batch.length)
    found += batch.length
  }
  t.equal(found, wanted.length)
  t.ok(Math.max(...sizes) >= 4096, `${Math.max(...sizes)} in the largest`)
  await log.close()
})

t.test('many groups make a batch, until it has 4096 records', async t => {
  const log = await openSimulated(new SimulatedDevice(), { segmentSize: 8 * MIB })
  for (let i = 0; i < 12; i++) await fill(log, 1000, () => 8)
  const sizes: number[] = []
  for await (const batch of log.scanBatches()) sizes.push(batch.length)
  t.same(sizes, [5000, 5000, 2000], 'the first group that reaches it ends one')
  await log.close()
})

const KEYS = { keyId: 1, key: () => Buffer.alloc(32, 7) }
for (const [name, options] of Object.entries<LogOptions>({
  plain: {},
  compressed: { compression: 'deflate' },
  encrypted: { encryption: KEYS },
  both: { compression: 'deflate', encryption: KEYS },
})) {
  t.test(`${name}, with records in fragments`, async t => {
    const log = await openSimulated(new SimulatedDevice(), options)
    const longest = log.maxRecordBytes
    const wanted = await fill(log, 60, i => (i % 5 === 0 ? longest - i : (i * 97) % 3000))
    t.equal(firstDifference(await batchedRecordsOf(log), wanted), -1)
    await log.close()
  })
}

t.test('damage is told behind the records before it', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { segmentSize: MIB })
  const wanted: LogRecord[] = []
  for (let i = 0; i < 50; i++) {
    const data = payloadOf(i, 1000)
    wanted.push({ lsn: await log.appendDurable(data), data })
  }
  await log.close()
  const damaged = device.afterKill()
  const [name] = damaged.names().filter(name => name.endsWith('.seg'))
  const at = wanted[30].lsn - (log.info().segments[0].firstLsn - 4096)
  damaged.damage(name, bytes => {
    bytes[at + 500] ^= 1
    return undefined
  })
  const again = await openSimulated(damaged, { segmentSize: MIB })
  const found: LogRecord[] = []
  await t.rejects(collect(again, found), { code: 'ERR_RIOLOG_CORRUPT' })
  t.equal(firstDifference(found, wanted.slice(0, 30)), -1, `${found.length} before it`)
  await again.close()
})

t.test('a key that is missing is told behind the records that need none', async t => {
  const device = new SimulatedDevice()
  const plain = await openSimulated(device)
  const wanted = await fill(plain, 10, () => 100)
  await plain.close()
  const sealed = await openSimulated(device, {
    encryption: { ...KEYS, acceptPlain: true },
  })
  await fill(sealed, 10, () => 100)
  await sealed.close()
  const reader = await openSimulated(device, { readOnly: true })
  const found: LogRecord[] = []
  await t.rejects(collect(reader, found), { code: 'ERR_RIOLOG_KEY' })
  t.equal(firstDifference(found, wanted), -1)
  await reader.close()
})

t.test('a record that does not open is told behind those of its own group', async t => {
  const device = new SimulatedDevice()
  const options = { encryption: KEYS }
  const log = await openSimulated(device, options)
  const wanted = await fill(log, 20, () => 100)
  const [{ firstLsn }] = log.info().segments
  await log.close()
  const changed = device.afterKill()
  const [name] = changed.names().filter(name => name.endsWith('.seg'))
  // Somebody who can write to the file changes a record together with its checksums.
  changed.damage(name, bytes => {
    const header = decodeSegmentHeader(bytes.subarray(0, 4 * KIB))
    if (header.kind !== 'good') throw new Error('no header')
    const { salt } = header.header
    const base = firstLsn - 4 * KIB
    const at = alignDown(wanted[0].lsn - base)
    const group = readGroupHeader(bytes, at, { salt, lsn: base + at }, MIB)!
    t.equal(group.recordCount, 20, 'all in one group')
    bytes[wanted[12].lsn - base + 40] ^= 1
    sealGroup(bytes.subarray(at), { ...group, salt }, 4 * KIB)
    return undefined
  })
  const again = await openSimulated(changed, options)
  const found: LogRecord[] = []
  await t.rejects(collect(again, found), { code: 'ERR_RIOLOG_KEY' })
  t.equal(firstDifference(found, wanted.slice(0, 12)), -1, `${found.length} before it`)
  await again.close()
})

t.test('rewound, trimmed and closed beneath', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const wanted = await fill(log, 600, () => 1000)
  const rewound = log.scanBatches()
  const first = (await rewound.next()).value!
  t.equal(firstDifference(first, wanted.slice(0, first.length)), -1)
  await log.rewind(wanted[300].lsn)
  const rest: LogRecord[] = []
  for await (const batch of rewound) {
    for (const { lsn, data } of batch) rest.push({ lsn, data: Buffer.from(data) })
  }
  t.equal(firstDifference(rest, wanted.slice(first.length, 300)), -1, 'up to where it was cut')

  const beyond = log.scanBatches({ from: wanted[290].lsn })
  await beyond.next()
  await log.rewind(wanted[200].lsn)
  await t.rejects(beyond.next(), { code: 'ERR_RIOLOG_REWOUND' })

  const trimmed = log.scanBatches()
  await trimmed.next()
  await log.trim(wanted[190].lsn)
  await t.rejects(
    async () => {
      for await (const _ of trimmed);
    },
    { code: 'ERR_RIOLOG_TRIMMED' },
  )
  const closed = log.scanBatches()
  await closed.next()
  await log.close()
  await t.rejects(closed.next(), { code: 'ERR_RIOLOG_CLOSED' })
  t.throws(() => log.scanBatches(), { code: 'ERR_RIOLOG_CLOSED' })
})

t.test('memory that was handed on is not read into again', async t => {
  const log = await openSimulated(new SimulatedDevice(), { segmentSize: 8 * MIB })
  const wanted = await fill(log, 9000, i => 900 + (i % 200))
  const seen: number[] = []
  for await (const batch of log.scanBatches()) {
    const expected = wanted.slice(seen.length, seen.length + batch.length)
    if (firstDifference(batch, expected) >= 0) t.fail(`behind ${seen.length} records`)
    seen.push(...batch.map(({ lsn }) => lsn))
    // As `transfer` leaves it, which Node 20 has not.
    addon().detach(batch[0].data.buffer as ArrayBuffer)
  }
  t.equal(seen.length, wanted.length)
  await log.close()

  const buffer = allocateBuffer(8192)
  buffer.bytes.fill(7)
  const kept = renewBuffer(buffer)
  t.equal(kept.memory.id, buffer.memory.id)
  t.equal(buffer.bytes.length, 0)
  addon().detach(kept.bytes.buffer as ArrayBuffer)
  const other = renewBuffer(kept)
  t.not(other.memory.id, kept.memory.id, 'the other one is theirs')
  t.ok(other.bytes.length === 8192 && other.bytes.every(byte => byte === 7))
})

t.test('what it read into is freed', async t => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const log = await openSimulated(new SimulatedDevice(), { segmentSize: 8 * MIB })
  await fill(log, 9000, () => 1000)
  const round = async () => {
    for await (const batch of log.scanBatches()) if (batch[0].lsn > 8 * MIB) break
    await batchedRecordsOf(log)
    for (let i = 0; i < 5; i++) {
      gc()
      await new Promise(resolve => setImmediate(resolve))
    }
    return addon().liveMemoryCount()
  }
  await round()
  const before = await round()
  let after = before
  for (let i = 0; i < 10; i++) after = await round()
  t.ok(after <= before + 2, `${before} pieces of memory, and ${after} after ten more scans`)
  await log.close()
})

t.test('of a log that another process writes to', async t => {
  const device = new SimulatedDevice()
  const writer = await openSimulated(device)
  const wanted = await fill(writer, 300, () => 20 * (1 + (KIB % 7)))
  await writer.appendDurable(Buffer.from('proves what came before'))
  const reader = await openSimulated(device, { readOnly: true })
  t.equal(firstDifference((await batchedRecordsOf(reader)).slice(0, 300), wanted), -1)
  await reader.close()
  await writer.close()
})

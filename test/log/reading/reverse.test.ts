/** A scan from the newest to the oldest is a scan, reversed. */
import fc from 'fast-check'
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { Log, type LogRecord } from '../../../src/index.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { chooseSeed } from '../../support/random.ts'
import { KIB, openSimulated } from '../../support/simulated.ts'

const MIB = KIB * KIB
const RUNS = Number(process.env.RIOLOG_RUNS ?? 60)

interface Outcome {
  readonly records: LogRecord[]
  readonly code: string | undefined
}

async function outcomeOf(records: AsyncIterable<LogRecord>): Promise<Outcome> {
  const found: LogRecord[] = []
  try {
    for await (const record of records) found.push(record)
    return { records: found, code: undefined }
  } catch (error) {
    return { records: found, code: (error as { code?: string }).code ?? String(error) }
  }
}

const lsnsOf = ({ records }: Outcome) => records.map(({ lsn }) => lsn)

/** What differs between the scans from a place on and back from it; undefined: nothing. */
async function difference(log: Log, all: readonly LogRecord[], from: number | undefined) {
  const back = await outcomeOf(
    log.scan(from === undefined ? { reverse: true } : { from, reverse: true }),
  )
  if (from !== undefined) {
    const on = await outcomeOf(log.scan({ from }))
    if (on.code !== back.code) return `from ${from}: ${back.code}, forward ${on.code}`
    if (on.code !== undefined) return undefined
  }
  if (back.code !== undefined) return `from ${from}: ${back.code}`
  const wanted = all.filter(({ lsn }) => from === undefined || lsn <= from).reverse()
  if (wanted.length !== back.records.length) {
    return `from ${from}: ${back.records.length} records, not ${wanted.length}`
  }
  const at = wanted.findIndex(
    ({ lsn, data }, i) => lsn !== back.records[i].lsn || !data.equals(back.records[i].data),
  )
  return at < 0 ? undefined : `from ${from}: LSN ${back.records[at].lsn}, not ${wanted[at].lsn}`
}

/** Places of every kind: of records, within and between them, of blocks, of segments, beyond the end. */
function placesOf(log: Log, all: readonly LogRecord[]): (number | undefined)[] {
  const { segments, segmentSize, alignment, durableLsn, trimLsn } = log.info()
  const ofRecords = all.flatMap(({ lsn }) => [lsn - 1, lsn, lsn + 1])
  const ofSegments = segments.flatMap(({ firstLsn, fileBytes }) =>
    [-alignment, -1, 0, fileBytes - alignment, fileBytes, segmentSize].map(by => firstLsn + by),
  )
  const ends = [0, trimLsn, trimLsn - 1, durableLsn - 1, durableLsn, durableLsn + 1, 2 ** 50]
  return [undefined, ...[...ofRecords, ...ofSegments, ...ends].filter(lsn => lsn >= 0)]
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('append'), by: fc.nat(20_000) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('batch'), by: fc.nat(9) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('trim', 'rewind', 'reopen'), by: fc.nat() }),
  },
)

t.test('reverse(scan) is scan reversed, from every kind of place', async t => {
  const seed = chooseSeed()
  let places = 0
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 3, maxLength: 30 }),
    async steps => {
      const device = new SimulatedDevice()
      const options = { maxGroupBytes: 8 * KIB }
      let log = await openSimulated(device, options)
      let id = 0
      for (const { kind, by } of steps) {
        const { records } = await outcomeOf(log.scan())
        const some = records[by % Math.max(1, records.length)]?.lsn
        if (kind === 'append') await log.appendDurable(payloadOf(id++, by))
        if (kind === 'batch') {
          // A group of small ones, or of 8 KiB each: one batch over many groups.
          const bytes = by % 2 === 0 ? 300 : 3000
          await log.appendBatchDurable(Array.from({ length: by }, () => payloadOf(id++, bytes)))
        }
        if (kind === 'trim' && some !== undefined) await log.trim(some)
        if (kind === 'rewind' && some !== undefined) {
          await log.rewind(some).catch(error => {
            if (error.code !== 'ERR_RIOLOG_INVALID_ARGUMENT') throw error // inside a batch
          })
        }
        if (kind === 'reopen') {
          await log.close()
          log = await openSimulated(device, options)
        }
      }
      const { records } = await outcomeOf(log.scan())
      for (const from of placesOf(log, records)) {
        const wrong = await difference(log, records, from)
        if (wrong !== undefined) throw new Error(wrong)
        places++
      }
      await log.close()
    },
  )
  const details = await fc.check(property, { seed, numRuns: RUNS, includeErrorInReport: true })
  t.equal(details.failed ? await fc.asyncDefaultReportMessage(details) : undefined, undefined)
  t.comment(`${places} places, RIOLOG_SEED=${seed}`)
})

onEachEngine(t, 'long groups, many stretches, many small records', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: 16 * MIB })
  for (let i = 0; i < 8; i++) {
    await log.appendDurable(payloadOf(i, log.maxRecordBytes - i * 100_000))
    await log.appendBatchDurable(Array.from({ length: 3000 }, (_, k) => payloadOf(k, k % 20)))
    for (let k = 0; k < 20; k++) await log.appendDurable(payloadOf(k, 5000 * (k % 7)))
  }
  const { records } = await outcomeOf(log.scan())
  t.equal(records.length, 8 * 3021)
  t.equal(await difference(log, records, undefined), undefined)
  for (const { lsn } of records.filter((_, i) => i % 4999 === 0)) {
    t.equal(await difference(log, records, lsn), undefined)
  }
  const two = log.scan({ reverse: true })
  t.equal((await two.next()).value?.lsn, records.at(-1)?.lsn, 'the newest first')
  await two.return?.()
  t.equal((await two.next()).done, true)
  const held = log.scan({ reverse: true })
  await held.next()
  await log.close()
  await t.rejects(held.next(), { code: 'ERR_RIOLOG_CLOSED' })
})

onEachEngine(t, 'trims and rewinds beside a reverse scan', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: 64 * KIB })
  const lsns: number[] = []
  for (let i = 0; i < 40; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
  const beyond = log.scan({ reverse: true })
  const before = log.scan({ from: lsns[30], reverse: true })
  const fresh = log.scan({ reverse: true })
  await beyond.next()
  t.equal((await before.next()).value?.lsn, lsns[30])
  await log.rewind(lsns[35])
  await t.rejects(beyond.next(), { code: 'ERR_RIOLOG_REWOUND' })
  t.equal((await before.next()).value?.lsn, lsns[29], 'all that is left lives')
  t.equal((await fresh.next()).value?.lsn, lsns[34], 'it had not begun')
  await log.trim(lsns[28])
  t.equal((await fresh.next()).value?.lsn, lsns[33])
  const left = await outcomeOf(before)
  t.same(lsnsOf(left), [lsns[28]], 'down to the trim')
  t.equal(left.code, 'ERR_RIOLOG_TRIMMED', 'there was more when it began')
  const rest = await outcomeOf(log.scan({ reverse: true }))
  t.same(rest, { records: rest.records, code: undefined })
  t.same(lsnsOf(rest), lsns.slice(28, 35).reverse())
  t.same((await outcomeOf(log.scan({ from: lsns[27], reverse: true }))).code, 'ERR_RIOLOG_TRIMMED')
  await log.close()
})

t.test('a reverse scan that loses the segments before its own is told', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const lsns: number[] = []
  for (let i = 0; i < 40; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
  const segmentOf = (lsn: number) => Math.floor(lsn / (64 * KIB))
  const first = lsns.findLastIndex((lsn, i) => segmentOf(lsn) > segmentOf(lsns[i - 1]))
  const back = log.scan({ reverse: true })
  for (let i = 39; i >= first; i--) t.equal((await back.next()).value?.lsn, lsns[i])
  await log.trim(lsns[first])
  await t.rejects(back.next(), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
})

t.test('damage: what lies behind it is given, then the place is told', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { segmentSize: MIB })
  const lsns: number[] = []
  for (let i = 0; i < 60; i++) lsns.push(await log.appendDurable(payloadOf(i, 6000)))
  await log.close()
  const [name] = device.names().filter(name => name.endsWith('.seg'))
  // In the header of a group, in its record, and in the headers of neighbours.
  for (const [offsets, at] of [
    [[-64], 20],
    [[100], 20],
    [[-64, -64 - 8192], 20],
  ] as const) {
    const damaged = device.afterKill()
    damaged.damage(name, bytes => {
      for (const offset of offsets) bytes[(lsns[at] % MIB) + offset] ^= 1
      return undefined
    })
    const reader = await openSimulated(damaged, { segmentSize: MIB, readOnly: true })
    const back = reader.scan({ reverse: true })
    for (let i = 59; i > at; i--) t.equal((await back.next()).value?.lsn, lsns[i])
    const bad = lsns[at - offsets.length + 1] - 64
    await t.rejects(back.next(), { code: 'ERR_RIOLOG_CORRUPT', lsn: bad, offset: bad % MIB })
    t.equal((await back.next()).done, true)
    const on = await outcomeOf(reader.scan())
    t.match(on, { code: 'ERR_RIOLOG_CORRUPT' })
    t.same(lsnsOf(on), lsns.slice(0, at - offsets.length + 1))
    await reader.close()
  }
})

t.test('a forward scan that stands between two segments misses nothing silently', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const lsns: number[] = []
  for (let i = 0; i < 40; i++) lsns.push(await log.appendDurable(payloadOf(i, 10_000)))
  const segmentOf = (lsn: number) => Math.floor(lsn / (64 * KIB))
  const next = lsns.findIndex(lsn => segmentOf(lsn) > segmentOf(lsns[0]))
  const gone = log.scan()
  const stays = log.scan()
  for (let i = 0; i < next; i++) {
    await gone.next()
    await stays.next()
  }
  await log.trim(lsns[next])
  t.equal((await stays.next()).value?.lsn, lsns[next], 'nothing of it was trimmed')
  const far = lsns.findIndex(lsn => segmentOf(lsn) > segmentOf(lsns[next]) + 1)
  await log.trim(lsns[far])
  await t.rejects(gone.next(), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
})

/** A read-only log keeps up with its writer, in this process, in another one and in worker threads. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { Log, type LogRecord } from '../../../src/index.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { KIB, openSimulated } from '../../support/simulated.ts'

const CHILD = fileURLToPath(new URL('../../support/busy-writer.ts', import.meta.url))

async function all(records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const found: LogRecord[] = []
  for await (const record of records) found.push(record)
  return found
}

const lsnsOf = async (log: Log, reverse = false) =>
  (await all(log.scan({ reverse }))).map(({ lsn }) => lsn)

/** Tries until it comes out so; a look at the disk lies between two tries. */
async function comes(t: Test, what: string, run: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await run()) return void t.pass(what)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  t.fail(what)
}

const codeOf = (run: Promise<unknown>) => run.then(() => 'ok').catch(error => String(error.code))

onEachEngine(t, 'it sees what was added, trimmed and rewound since', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: 64 * KIB, idleStampMs: 5 })
  const reader = await Log.open(directory, { engine, readOnly: true })
  t.same(await lsnsOf(reader), [])
  const lsns: number[] = []
  for (let i = 0; i < 60; i++) {
    lsns.push(await log.appendDurable(payloadOf(i, 6000)))
    // Each group proves the one before it, at once.
    if (i === 0) continue
    t.ok((await reader.read(lsns[i - 1])).equals(payloadOf(i - 1, 6000)), `record ${i - 1}`)
  }
  await comes(t, 'all, once the log idles', async () => (await lsnsOf(reader)).length === 60)
  t.same(await lsnsOf(reader), lsns)
  t.same(await lsnsOf(reader, true), [...lsns].reverse())
  t.equal((await reader.readMany(lsns)).length, 60)
  t.equal(reader.durableLsn, log.durableLsn)
  t.ok(reader.info().segments.length >= 5)

  const snapshot = reader.scan({ from: lsns[30] })
  t.equal((await snapshot.next()).value?.lsn, lsns[30])
  await log.rewind(lsns[50])
  await comes(
    t,
    'a rewind',
    async () => (await codeOf(reader.read(lsns[55]))) === 'ERR_RIOLOG_REWOUND',
  )
  await log.trim(lsns[20])
  await comes(
    t,
    'a trim',
    async () => (await codeOf(reader.read(lsns[3]))) === 'ERR_RIOLOG_TRIMMED',
  )
  t.equal(reader.trimLsn, lsns[20])
  t.same(await lsnsOf(reader), lsns.slice(20, 50))
  const rest = (await all(snapshot)).map(({ lsn }) => lsn)
  t.same(rest, lsns.slice(31), 'a scan shows one state, that of its beginning')
  await log.close()
  t.same(await lsnsOf(reader), lsns.slice(20, 50))
  const again = await Log.open(directory, { engine })
  const last = await again.appendDurable(payloadOf(9, 9))
  await again.close()
  t.ok((await reader.read(last)).equals(payloadOf(9, 9)), 'another opening')
  const left = reader.scan()
  await left.next()
  await reader.close()
  await t.rejects(left.next(), { code: 'ERR_RIOLOG_CLOSED' })
  await t.rejects(reader.read(last), { code: 'ERR_RIOLOG_CLOSED' })
})

t.test('a tail that was beyond a rewind over segments is told, in another process too', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { idleStampMs: 0 })
  const lsns: number[] = []
  for (let i = 0; i < 40; i++) lsns.push(await log.appendDurable(payloadOf(i, 6000)))
  const reader = await openSimulated(device, { readOnly: true })
  const tail = reader.tail({ pollMs: 1 })
  for (let i = 0; i < 39; i++) await tail.next()
  await log.rewind(lsns[5])
  for (let i = 0; i < 5; i++) await log.appendDurable(payloadOf(i, 10))
  // What it had seen proven before the rewind it may still give: it looks again behind that.
  const told = await tail.next().catch(error => error)
  const gaveLast = told.value !== undefined
  if (gaveLast) t.equal(told.value.lsn, lsns[39])
  t.match(gaveLast ? await tail.next().catch(error => error) : told, { code: 'ERR_RIOLOG_REWOUND' })
  await reader.close()
  await log.close()
})

t.test('what looks damaged is looked at again; what stays so is corrupt', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { idleStampMs: 0, recycledSegments: 0 })
  const lsns: number[] = []
  for (let i = 0; i < 40; i++) lsns.push(await log.appendDurable(payloadOf(i, 6000)))
  // The next segment has been prepared: no manifest tells of what is appended now.
  await new Promise(resolve => setTimeout(resolve, 20))
  const newest = await log.appendDurable(payloadOf(40, 6000))
  const reader = await openSimulated(device, { readOnly: true })
  const [first] = device.names().filter(name => name.endsWith('.seg'))
  t.equal(await codeOf(reader.read(newest)), 'ERR_RIOLOG_NOT_FOUND', 'nothing proves it yet')
  const scan = reader.scan({ from: lsns[2] })
  const back = reader.scan({ from: lsns[6], reverse: true })
  // What a writer does that gives a freed file to a new segment: a trim, and then other bytes.
  await log.trim(lsns[20])
  for (let i = 0; i < 5; i++) await log.appendDurable(payloadOf(i, 10))
  await scan.next().catch(() => {})
  await t.rejects(all(back), { code: 'ERR_RIOLOG_TRIMMED' })
  t.equal(await codeOf(reader.read(lsns[2])), 'ERR_RIOLOG_TRIMMED')
  t.notOk(device.names().includes(first))
  const segmentOf = (lsn: number) => `${String(Math.floor(lsn / (64 * KIB))).padStart(16, '0')}.seg`
  device.damage(segmentOf(lsns[30]), bytes => {
    bytes[(lsns[30] % (64 * KIB)) + 100] ^= 1
    return undefined
  })
  await t.rejects(reader.read(lsns[30]), { code: 'ERR_RIOLOG_CORRUPT' })
  await t.rejects(lsnsOf(reader), { code: 'ERR_RIOLOG_CORRUPT' })
  await t.rejects(lsnsOf(reader, true), { code: 'ERR_RIOLOG_CORRUPT' })
  // Only for the moment: a torn read of a block that is being written.
  const inBlock = lsns[33] % (64 * KIB)
  const flip = (name: string) =>
    device.damage(name, bytes => {
      bytes[inBlock + 50] ^= 1
      return undefined
    })
  const isGoodAgain = async (what: string, run: () => Promise<boolean>) => {
    let isBad = false
    device.interference = ({ kind, name, position, length }) => {
      const isOfIt = kind === 'read' && name === segmentOf(lsns[33])
      if (!isOfIt || isBad || position > inBlock || position + length <= inBlock) return undefined
      isBad = true
      flip(name)
      setImmediate(() => flip(name))
      return undefined
    }
    t.ok(await run(), what)
    t.ok(isBad, `${what}: it was bad at first`)
    device.interference = undefined
  }
  const raw = await log.readRaw(lsns[33] - (lsns[33] % 4096), { maxBytes: 1 })
  const { previousEnd, end, groups } = raw!
  const hash = await log.hashAt(end)
  await isGoodAgain('read', async () => (await reader.read(lsns[33])).equals(payloadOf(33, 6000)))
  await isGoodAgain('hashAt', async () => (await reader.hashAt(end)) === hash)
  await isGoodAgain('readRaw', async () => {
    const again = await reader.readRaw(previousEnd, { maxBytes: 1 })
    return Buffer.compare(again!.groups, groups) === 0
  })
  await reader.close()
  await log.close()
})

t.test('a writer that is always ahead of the reader is no damage', async t => {
  const device = new SimulatedDevice()
  const size = 16 << 20
  const log = await openSimulated(device, { segmentSize: size, idleStampMs: 0 })
  const record = Buffer.alloc(300_000, 'ahead')
  // Into the second file, of full length, and past the preparation of the third: no manifest moves then.
  while (log.metrics().rotations < 1) await log.appendDurable(record)
  const { number, firstLsn } = log.info().segments.at(-1)!
  const name = `${String(number).padStart(16, '0')}.seg`
  const base = number * size
  let last = firstLsn
  while (last - base < size / 3) last = await log.appendDurable(record)
  let seen = -1
  while (seen !== device.operations) {
    seen = device.operations
    for (let i = 0; i < 20; i++) await new Promise(resolve => setImmediate(resolve))
  }
  let shown = (await log.appendDurable(record)) - base
  while (last - base < size - 500_000) last = await log.appendDurable(record)

  const whole = device.bytesOf(name).slice()
  const show = (upTo: number) => {
    shown = Math.max(shown, upTo)
    device.damage(name, bytes => {
      bytes.fill(0, shown)
      bytes.set(whole.subarray(0, shown))
      return undefined
    })
  }
  show(shown)
  // In each look at the log, when it reads behind what there was, the writer has been there by now.
  let overtaken = 0
  let isBefore = true
  device.interference = ({ kind, name: read, position, length }) => {
    if (kind !== 'read' || read !== name) return undefined
    if (position === 0) isBefore = true
    if (isBefore && position > shown && shown < size) {
      isBefore = false
      overtaken++
      show(Math.min(size, position + length / 2))
    }
    return undefined
  }
  const reader = await openSimulated(device, { readOnly: true })
  t.ok(overtaken >= 3, `${overtaken} times`)
  t.ok(reader.durableLsn > base + size / 2)
  await reader.close()
})

onEachEngine(t, 'beside a process that appends, rotates, trims and rewinds', async (t, engine) => {
  const directory = join(temporaryDirectory(t), 'log')
  const child = spawn(process.execPath, ['--import=tsx', CHILD, directory, engine], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })
  await once(lines, 'line')
  const reader = await Log.open(directory, { engine, readOnly: true })
  let ended = false
  let last = 0
  lines.on('line', line => {
    if (line === 'end') ended = true
    else last = Number(line)
  })
  const codes = new Map<string, number>()
  let records = 0
  const wrong: string[] = []
  const check = ({ lsn, data }: LogRecord) => {
    records++
    if (!data.equals(payloadOf(data.readDoubleLE(0), data.length))) wrong.push(`LSN ${lsn}`)
  }
  const count = (error: unknown) => {
    const code = String((error as { code?: string }).code ?? error)
    codes.set(code, (codes.get(code) ?? 0) + 1)
  }
  while (!ended) {
    const lsn = last
    const jobs = [
      (async () => {
        let before = 0
        for await (const record of reader.scan()) {
          check(record)
          if (record.lsn <= before) wrong.push(`${record.lsn} after ${before}`)
          before = record.lsn
        }
      })(),
      all(reader.scan({ reverse: true })).then(found => found.forEach(check)),
      reader.read(lsn).then(data => check({ lsn, data })),
      reader.readRaw(0, { maxBytes: 300_000 }),
    ]
    await Promise.all(jobs.map(job => job.catch(count)))
  }
  child.stdin.end()
  await once(child, 'close')
  t.same(wrong, [])
  t.ok(records > 100, `${records} records`)
  const allowed = ['ERR_RIOLOG_TRIMMED', 'ERR_RIOLOG_REWOUND', 'ERR_RIOLOG_NOT_FOUND']
  t.same(
    [...codes.keys()].filter(code => !allowed.includes(code)),
    [],
    'nothing else',
  )
  t.comment(`${records} records`, [...codes])
  const writer = await Log.open(directory, { engine, readOnly: true })
  t.same(await lsnsOf(reader), await lsnsOf(writer), 'the same in the end')
  await writer.close()
  await reader.close()
})

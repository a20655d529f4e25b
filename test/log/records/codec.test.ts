/** Compression and encryption: what is stored, what comes back, and what is told where it cannot. */
import { randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import { inspect } from 'node:util'
import { constants, deflateRawSync } from 'node:zlib'
import pino from 'pino'
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import { Log, type LogOptions } from '../../../src/index.ts'
import { Codec } from '../../../src/log/records/codec.ts'
import { addon } from '../../../src/native.ts'
import { RECORD_COMPRESSED } from '../../../src/segment/group.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const SEGMENT = 64 * KIB
const A = 4096
const DEFLATE: LogOptions = { compression: 'deflate' }
const NO_KEY = { code: 'ERR_RIOLOG_KEY' }
const CORRUPT = { code: 'ERR_RIOLOG_CORRUPT' }

const keys = new Map([1, 2, 3].map(id => [id, randomBytes(32)]))
const encrypted = (keyId = 1, known = keys): LogOptions => ({
  encryption: { keyId, key: id => known.get(id) },
})

/** What all segment files hold. */
function bytesOf(device: SimulatedDevice): Buffer {
  const names = device.names().filter(name => name.endsWith('.seg'))
  return Buffer.concat(names.map(name => device.bytesOf(name)))
}

/** Changes a record as one can who computes all checksums, which are no secret. The group holds it alone. */
function forge(device: SimulatedDevice, lsn: number, change: (record: Buffer) => void): void {
  const [name] = device
    .names()
    .filter(name => Number.parseInt(name, 10) === Math.floor(lsn / SEGMENT))
  device.damage(name, file => {
    const at = (lsn % SEGMENT) - 64
    const group = Buffer.from(file.buffer, file.byteOffset + at, A)
    const record = group.subarray(64)
    change(record)
    const place = Buffer.alloc(16)
    place.set(file.subarray(48, 56))
    place.writeBigUInt64LE(BigInt(lsn), 8)
    const { crc32c } = addon()
    const length = record.readUInt32LE(4)
    record.writeUInt32LE(crc32c(crc32c(0, place, 0, 16), record, 4, 12 + length), 0)
    group.writeUInt32LE(crc32c(0, record, 0, 12), 4)
    group.writeUInt32LE(Math.ceil((12 + length) / 8) * 8, 40)
    group.writeUInt32LE(crc32c(0, group, 4, 64), 0)
    return undefined
  })
}

for (const [name, options] of [
  ['compressed', DEFLATE],
  ['encrypted', encrypted()],
  ['compressed and encrypted', { ...DEFLATE, ...encrypted() }],
] as const) {
  onEachEngine(t, `${name}: every length comes back, whoever reads`, async (t, engine) => {
    const directory = temporaryDirectory(t)
    const log = await Log.open(directory, { engine, segmentSize: SEGMENT, ...options })
    const longest = log.maxRecordBytes
    const lengths = [0, 1, 63, 64, 500, 20_000, 57_228, 57_300, longest - 1, longest]
    const data = lengths.flatMap((length, i) => [payloadOf(i, length), randomBytes(length)])
    const lsns: number[] = []
    for (const one of data.slice(0, 12)) lsns.push(await log.appendDurable(one))
    lsns.push(...(await Promise.all(data.slice(12).map(one => log.appendDurable(one)))))
    const batch = Array.from({ length: 30 }, (_, i) => payloadOf(100 + i, 500))
    lsns.push(...(await log.appendBatchDurable(batch)))
    data.push(...batch)
    const last = randomBytes(700)
    data.push(last)
    lsns.push(log.append(last))
    t.ok((await log.read(lsns.at(-1)!)).equals(last), 'before it is durable')
    await log.flush()
    t.throws(() => log.append(Buffer.alloc(longest + 1)), { code: 'ERR_RIOLOG_RECORD_TOO_LARGE' })
    const check = async (log: Log) => {
      const found = await recordsOf(log)
      t.same(
        found.map(({ lsn }) => lsn),
        lsns,
      )
      t.ok(found.every((record, i) => record.data.equals(data[i])))
      t.ok((await log.readMany(lsns)).every((one, i) => one.equals(data[i])))
    }
    await check(log)
    const follower = await Log.open(directory, { engine, readOnly: true, ...options })
    const tail = follower.tail({ pollMs: 1 })
    for (const lsn of lsns.slice(0, 25)) t.equal((await tail.next()).value?.lsn, lsn)
    await tail.return?.()
    await follower.close()
    await log.close()
    const { encryption } = options as LogOptions
    const again = await Log.open(directory, { engine, ...(encryption && { encryption }) })
    await check(again)
    await again.close()
  })
}

t.test('compression is kept where it is shorter, and off unless asked for', async t => {
  const sizes: number[] = []
  for (const options of [{}, DEFLATE]) {
    const log = await openSimulated(new SimulatedDevice(), options)
    await log.appendDurable(Buffer.alloc(50_000, 'abc'))
    await log.appendDurable(randomBytes(3000))
    sizes.push(log.metrics().recordBytes)
    await log.close()
  }
  t.equal(sizes[0], 53_000)
  const deflated = deflateRawSync(Buffer.alloc(50_000, 'abc'), { level: 3 })
  t.equal(sizes[1], 4 + deflated.length + 3000, 'noise stands there as it is')
})

t.test('a compressed length is bounded before memory is taken', async t => {
  const codec = new Codec({ compression: 'deflate', encryption: undefined }, { writes: false })
  const header = { number: 1, segmentSize: SEGMENT } as Parameters<Codec['unpack']>[2]['header']
  const place = { header, lsn: SEGMENT + 4160 }
  const unpack = (length: number, deflated: Uint8Array, most: number) => {
    const head = Buffer.alloc(4)
    head.writeUInt32LE(length)
    return codec.unpack(Buffer.concat([head, deflated]), RECORD_COMPRESSED, place, most)
  }
  const small = deflateRawSync(Buffer.alloc(1000, 'x'))
  t.equal(unpack(1000, small, 1000).length, 1000)
  for (const length of [0, 1, 999, 1001, 5000, 2 ** 32 - 1]) {
    t.throws(() => unpack(length, small, 2 ** 33), CORRUPT, `told ${length}, holds 1000`)
  }
  t.throws(() => unpack(1000, small, 999), CORRUPT, 'beyond the bound')
  t.throws(() => unpack(1000, small.subarray(0, 5), 1000), CORRUPT, 'cut off')
  t.throws(
    () => codec.unpack(Buffer.alloc(3), RECORD_COMPRESSED, place, 1000),
    CORRUPT,
    'too short',
  )
  // Made of pieces, so that it is this process's first 512 MiB if they are ever taken.
  const options = { finishFlush: constants.Z_FULL_FLUSH }
  const piece = deflateRawSync(Buffer.alloc(1024 * KIB), options)
  const bomb = Buffer.concat([...Array(512).fill(piece), deflateRawSync(Buffer.alloc(0))])
  const before = process.resourceUsage().maxRSS
  t.throws(() => unpack(1000, bomb, 64 * 1024 * KIB), CORRUPT)
  t.throws(() => unpack(512 * 1024 * KIB, bomb, 64 * 1024 * KIB), CORRUPT)
  const grown = process.resourceUsage().maxRSS - before
  t.ok(grown < 100 * KIB, `512 MiB took no more than ${grown} KiB`)
})

t.test('a bomb in a log is corruption', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, DEFLATE)
  const lsn = await log.appendDurable(Buffer.alloc(60_000, 'x'))
  await log.close()
  forge(device, lsn, record => record.writeUInt32LE(2 ** 31, 12))
  const again = await openSimulated(device)
  await t.rejects(again.read(lsn), CORRUPT)
  await t.rejects(recordsOf(again), CORRUPT)
  await again.close()
})

t.test(
  'of a batch in several groups each record says by itself whether it is compressed',
  async t => {
    const log = await openSimulated(new SimulatedDevice(), DEFLATE)
    const batch = [0, 1, 2, 3].flatMap(i => [randomBytes(14_400), payloadOf(i, 2000)])
    const lsns = await log.appendBatchDurable(batch)
    const { groups } = log.metrics()
    t.ok(groups > 1, `${groups} groups`)
    t.same(await log.readMany(lsns), batch)
    await log.close()
  },
)

t.test('nothing of the plain bytes is on the disk, and equal records differ there', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, encrypted())
  const secret = Buffer.from('nobody else may read this')
  const lsns = [await log.appendDurable(secret), await log.appendDurable(secret)]
  lsns.push(
    ...(await log.appendBatchDurable([secret, Buffer.alloc(log.maxRecordBytes - 9000, secret)])),
  )
  const bytes = bytesOf(device)
  t.equal(bytes.indexOf(secret), -1)
  const stored = (lsn: number) => bytes.subarray((lsn % SEGMENT) + 12, (lsn % SEGMENT) + 12 + 45)
  t.notOk(stored(lsns[0]).equals(stored(lsns[1])))
  t.equal(stored(lsns[0]).readUInt32LE(), 1, 'the id of the key stands before it')
  for (const key of keys.values()) t.equal(bytes.indexOf(key), -1)
  await log.close()
})

t.test('keys rotate: each record names its own', async t => {
  const device = new SimulatedDevice()
  const lsns: number[] = []
  for (const id of [1, 2, 3]) {
    const log = await openSimulated(device, encrypted(id))
    lsns.push(await log.appendDurable(Buffer.from(`with key ${id}`)))
    await log.close()
  }
  const log = await openSimulated(device, encrypted(3))
  t.same(
    (await recordsOf(log)).map(({ data }) => String(data)),
    ['with key 1', 'with key 2', 'with key 3'],
  )
  await log.close()
  const without1 = new Map([...keys].filter(([id]) => id !== 1))
  const later = await openSimulated(device, encrypted(3, without1))
  await t.rejects(later.read(lsns[0]), { ...NO_KEY, message: 'there is no key 1' })
  t.equal(String(await later.read(lsns[1])), 'with key 2')
  await later.trim(lsns[1])
  t.equal((await recordsOf(later)).length, 2)
  await later.close()
})

t.test('a key that is missing or wrong is told as such, and is no damage', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { ...encrypted(), segmentSize: SEGMENT })
  const lsn = await log.appendDurable(Buffer.from('secret'))
  await log.appendDurable(Buffer.alloc(log.maxRecordBytes - 5000, 1))
  const killed = device.afterKill()
  const wrong = new Map([[1, randomBytes(32)]])
  for (const options of [{}, encrypted(1, wrong), encrypted(2, new Map([[2, keys.get(2)!]]))]) {
    for (const readOnly of [true, false]) {
      const again = await openSimulated(killed.afterKill(), { ...options, readOnly })
      t.match(again.recovery, { verdict: 'torn tail', end: readOnly ? Number : log.durableLsn })
      await t.rejects(again.read(lsn), NO_KEY)
      await t.rejects(again.scan().next(), NO_KEY)
      if (!readOnly) await t.rejects(again.tail().next(), NO_KEY)
      await again.close()
    }
  }
  await t.rejects(openSimulated(killed.afterKill(), encrypted(4)), {
    ...NO_KEY,
    message: 'there is no key 4',
  })
  const whole = await openSimulated(killed.afterKill(), encrypted())
  t.equal((await recordsOf(whole)).length, 2, 'nothing was lost by it')
  await whole.close()
})

t.test('who changes a record and its checksums is found out', async t => {
  const base = new SimulatedDevice()
  const log = await openSimulated(base, encrypted())
  const lsn = await log.appendDurable(randomBytes(100))
  const other = await log.appendDurable(randomBytes(100))
  await log.close()
  const stored = Buffer.from(
    bytesOf(base).subarray((other % SEGMENT) + 12, (other % SEGMENT) + 132),
  )
  const changes: [string, (record: Buffer) => void][] = [
    ['a bit of the bytes', record => (record[12 + 50] ^= 1)],
    ['a bit of the tag', record => (record[12 + 119] ^= 1)],
    ["the key's id", record => record.writeUInt32LE(2, 12)],
    ['a flag', record => (record[8] |= RECORD_COMPRESSED)],
    ['its length', record => record.writeUInt32LE(119, 4)],
    ['another record in its place', record => stored.copy(record, 12)],
    ['encrypted no more', record => (record[8] = 0)],
  ]
  for (const [what, change] of changes) {
    const device = base.afterKill()
    forge(device, lsn, change)
    const again = await openSimulated(device, encrypted())
    await t.rejects(again.read(lsn), NO_KEY, what)
    await again.close()
  }
})

t.test('plain records in a log that is encrypted are shown only if asked for', async t => {
  const device = new SimulatedDevice()
  const first = await openSimulated(device)
  const lsn = await first.appendDurable(Buffer.from('plain'))
  await first.close()
  const strict = await openSimulated(device, encrypted())
  await t.rejects(strict.read(lsn), { ...NO_KEY, message: /is not encrypted/ })
  await strict.close()
  const options = { encryption: { ...encrypted().encryption!, acceptPlain: true } }
  const both = await openSimulated(device, options)
  t.equal(String(await both.read(lsn)), 'plain')
  await both.appendDurable(Buffer.from('and not'))
  t.equal((await recordsOf(both)).length, 2)
  await both.close()
})

t.test('a place that is used again after a power cut has another salt, so another key', async t => {
  const salts = new Set<string>()
  let again = 0
  const base = new SimulatedDevice()
  await (await openSimulated(base, encrypted())).close()
  for (let i = 0; i < 6; i++) {
    const device = base.afterPowerCut(() => true)
    const log = await openSimulated(device, encrypted())
    const lsn = await log.appendDurable(Buffer.from('the same'))
    const bytes = bytesOf(device)
    salts.add(
      `${lsn} ${bytes.toString('hex', 48, 56)} ${bytes.toString('hex', A * 2 + 76, A * 2 + 84)}`,
    )
    if (lsn === SEGMENT + A * 2 + 64) again++
  }
  t.equal(again, 6, 'each time the same LSN')
  t.equal(salts.size, 6)
  t.equal(new Set([...salts].map(line => line.split(' ')[1])).size, 6, 'and never the same salt')
  t.equal(new Set([...salts].map(line => line.split(' ')[2])).size, 6, 'nor the same bytes')
})

t.test('no key is in an error or in a log line', async t => {
  const key = randomBytes(32)
  const forms = [
    key.toString('hex'),
    key.toString('base64'),
    key.toString('latin1'),
    [...key].join(),
  ]
  let lines = ''
  const stream = new Writable({
    write: (chunk, _, done) => {
      lines += chunk
      done()
    },
  })
  const told: string[] = []
  const tell = (error: Error) =>
    told.push(
      inspect(error, { depth: 9, showHidden: true }),
      JSON.stringify(error),
      `${error.stack}`,
    )
  const device = new SimulatedDevice()
  const options = (key: unknown, keyId: unknown = 1): LogOptions => ({
    logger: pino({ level: 'trace' }, stream),
    encryption: { keyId: keyId as number, key: key as () => Uint8Array },
  })
  const log = await openSimulated(
    device,
    options(() => key),
  )
  const lsn = await log.appendDurable(Buffer.from('secret'))
  told.push(inspect(log, { depth: 9, showHidden: true }), JSON.stringify(log.info()))
  await log.close()
  const opening = async (given: LogOptions) => openSimulated(device, given)
  const bad = [
    key,
    key.toString('hex'),
    () => key.toString('hex'),
    () => key.subarray(1),
    () => null,
  ]
  for (const each of bad) await opening(options(each)).catch(tell)
  await opening(options(() => key, key)).catch(tell)
  t.equal(told.length, 2 + 3 * 6, 'each was refused')
  forge(device, lsn, record => (record[20] ^= 1))
  const again = await openSimulated(
    device,
    options(() => key),
  )
  await again.read(lsn).catch(tell)
  device.interference = ({ kind }) => {
    if (kind === 'sync') throw new Error('the disk fails')
    return undefined
  }
  await again.appendDurable(Buffer.from('more')).catch(tell)
  await again.close().catch(tell)
  t.ok(lines.includes('riolog: opened'))
  for (const form of forms) {
    t.notOk(lines.includes(form))
    t.notOk(told.some(text => text.includes(form)))
  }
})

/** Chunks that are wrong, forged or changed meanwhile, and openings that fail: a copy is none the worse for it. */
import t from 'tap'
import { ioError, SimulatedDevice } from '../../../src/disk/simulated.ts'
import type { Replica } from '../../../src/index.ts'
import { decodeSegmentHeader, encodeSegmentHeader } from '../../../src/segment/header.ts'
import { follow, openReplica } from '../../support/replication.ts'
import { openSimulated, recordsOf } from '../../support/simulated.ts'

const QUIET = { idleStampMs: 0, recycledSegments: 0 }

async function sourceOf(count: number, bytes = 100, device = new SimulatedDevice()) {
  const log = await openSimulated(device, QUIET)
  const lsns: number[] = []
  for (let i = 0; i < count; i++) lsns.push(await log.appendDurable(Buffer.alloc(bytes, i)))
  return { device, log, lsns }
}

t.test('an opening that fails behind recovery lets go of the lock', async t => {
  const { log } = await sourceOf(5)
  const device = new SimulatedDevice()
  const first = await openReplica(device)
  await follow(log, first)
  await first.close()
  let writes = 0
  let hasFailed = false
  device.interference = ({ kind }) => {
    if (kind === 'write') writes++
    // The read of the last group, for its hash.
    if (writes < 2 || kind !== 'read' || hasFailed) return undefined
    hasFailed = true
    return ioError('read')
  }
  await t.rejects(openReplica(device), { code: 'ERR_RIOLOG_SYSTEM' })
  await (await openReplica(device)).close()
})

t.test('a first chunk that is refused leaves nothing behind', async t => {
  const [{ log }, { log: other }] = [await sourceOf(5), await sourceOf(5)]
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  const chunk = (await log.readRaw(0))!
  const groups = Buffer.from(chunk.groups)
  groups[20] ^= 1
  const { operations } = device
  await t.rejects(replica.apply({ ...chunk, groups }), { code: 'ERR_RIOLOG_CORRUPT' })
  t.equal(device.operations, operations)
  t.equal(replica.uuid, undefined)
  await follow(other, replica)
  t.equal(replica.end, other.durableLsn)
})

t.test('a chunk that is refused trims nothing', async t => {
  const { device: common, log } = await sourceOf(12, 13_000)
  await log.close()
  const devices = [common.afterKill(), common.afterKill()]
  const [one, other] = await Promise.all(devices.map(device => openSimulated(device, QUIET)))
  await one.appendDurable(Buffer.from('one'))
  for (let i = 0; i < 6; i++) await other.appendDurable(Buffer.alloc(13_000))
  await other.trim(other.durableLsn)
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  await follow(one, replica)
  await t.rejects(replica.apply((await other.readRaw(0))!), { code: 'ERR_RIOLOG_GAP' })
  await replica.close()
  t.equal((await recordsOf(await openSimulated(device))).length, (await recordsOf(one)).length)
})

t.test('a rewind to the first record behind a trim is followed', async t => {
  const { log, lsns } = await sourceOf(8, 13_000)
  const replica = await openReplica(new SimulatedDevice())
  await follow(log, replica)
  const first = lsns.find(lsn => lsn > log.info().segments[1].firstLsn)!
  await log.trim(first)
  await log.appendDurable(Buffer.alloc(10))
  await follow(log, replica)
  t.equal(replica.trimLsn, first, 'what was before it is gone here, too')
  await log.rewind(first)
  await log.appendDurable(Buffer.from('goes on'))
  await follow(log, replica)
  t.equal(replica.end, log.durableLsn)
})

t.test('what is written is what was verified', async t => {
  const { log } = await sourceOf(5)
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  const chunk = (await log.readRaw(0))!
  const applying = replica.apply(chunk)
  for (let i = 0; i < 12; i++) await new Promise(resolve => setImmediate(resolve))
  chunk.groups.fill(7)
  await applying
  await replica.close()
  t.equal((await recordsOf(await openSimulated(device))).length, 5)
})

t.test('no number of a chunk makes a copy that cannot be opened again', async t => {
  const { log } = await sourceOf(3)
  const chunk = (await log.readRaw(0))!
  const found = decodeSegmentHeader(chunk.header!)
  if (found.kind !== 'good') throw new Error('no header')
  const short = encodeSegmentHeader({ ...found.header, fileBytes: 16_384 })
  const odd = encodeSegmentHeader({ ...found.header, fileBytes: 100_000 })
  for (const forged of [{ epoch: 2 ** 53 - 1 }, { header: short }, { header: odd }]) {
    const device = new SimulatedDevice()
    const replica = await openReplica(device)
    const applied = await replica.apply({ ...chunk, ...forged }).then(
      () => 'ok',
      error => error.code,
    )
    t.not(applied, 'ERR_RIOLOG_POISONED')
    await replica.close().catch(() => {})
    const again = await openReplica(device).catch(error => t.fail(String(error)))
    await (again as Replica | undefined)?.close?.()
  }
})

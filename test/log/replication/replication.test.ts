/**
 * A copy of a log, kept by chunks: the same bytes at the same places. It refuses what does not belong
 * there before it writes, survives a power cut at any step, follows trims and rewinds, and can be promoted.
 */
import t from 'tap'
import { ioError, SimulatedDevice } from '../../../src/disk/simulated.ts'
import { Log, type RawChunk, Replica } from '../../../src/index.ts'
import type { LogOptions } from '../../../src/log/options.ts'
import { type GroupInfo, sealGroup, verifyGroup } from '../../../src/segment/group.ts'
import { decodeSegmentHeader } from '../../../src/segment/header.ts'
import { MIB } from '../../../src/units.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { payloadOf } from '../../support/oracle.ts'
import { follow, linesOf, openReplica } from '../../support/replication.ts'
import { KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const SMALL: LogOptions = { maxGroupBytes: 8 * KIB }

async function chunksOf(source: Log, maxBytes = 1): Promise<RawChunk[]> {
  const chunks = []
  for (let from = 0; ; ) {
    const chunk = await source.readRaw(from, { maxBytes })
    if (chunk === undefined) return chunks
    chunks.push(chunk)
    from = chunk.end
  }
}

/** What a copy holds, once it is promoted. */
async function promoted(device: SimulatedDevice, expectedEpoch?: number): Promise<Log> {
  return openSimulated(device, expectedEpoch === undefined ? {} : { expectedEpoch })
}

async function started(records = 20) {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, SMALL)
  for (let i = 0; i < records; i++) await log.appendDurable(payloadOf(i, 100 + i))
  return { device, log }
}

onEachEngine(t, 'a copy of a log of many segments', async (t, engine) => {
  const [from, to] = [temporaryDirectory(t), temporaryDirectory(t)]
  const options = { engine, segmentSize: 4 << 20 } as const
  const source = await Log.open(from, options)
  const sealed: number[] = []
  source.onSealed(({ number, firstLsn, endLsn }) => {
    t.ok(endLsn > firstLsn)
    sealed.push(number)
  })
  for (let i = 0; i < 40; i++) {
    await source.appendDurable(payloadOf(i, i % 7 === 0 ? 700_000 : 1000))
    if (i % 5 === 0) await source.appendBatchDurable([payloadOf(i, 9), payloadOf(-i, 600_000)])
  }
  const replica = await Replica.open(to, { engine })
  await follow(source, replica)
  t.equal(replica.end, source.durableLsn)
  t.equal(replica.hash, await source.hashAt(source.durableLsn))
  t.equal(replica.uuid, source.info().uuid)
  t.ok(sealed.length >= 2, `${sealed.length} segments were sealed`)
  t.same(
    sealed,
    source
      .info()
      .segments.slice(0, -1)
      .map(({ number }) => number),
  )
  const reader = await Log.open(to, { engine, readOnly: true })
  t.ok((await recordsOf(reader)).length >= 20, 'it can be read beside')
  await reader.close()
  const epoch = replica.epoch
  await replica.close()
  const copy = await Log.open(to, { engine, expectedEpoch: epoch })
  t.equal(copy.recovery.verdict, 'clean end')
  t.same(linesOf(await recordsOf(copy)), linesOf(await recordsOf(source)))
  await copy.close()
  await source.close()
})

t.test('chunks come as they are durable, also from a log in another process', async t => {
  const { device, log } = await started(3)
  const beside = await openSimulated(device, { readOnly: true })
  for (const source of [log, beside]) {
    const replica = await openReplica(new SimulatedDevice())
    const aborter = new AbortController()
    const seen: number[] = []
    const tailing = (async () => {
      for await (const chunk of source.tailRaw({ from: 0, signal: aborter.signal, pollMs: 1 })) {
        seen.push(await replica.apply(chunk))
      }
    })()
    const until = async (end: number) => {
      while (replica.end < end) await new Promise(resolve => setTimeout(resolve, 1))
    }
    const first = source === log ? log.durableLsn : beside.durableLsn
    await until(first)
    await log.appendDurable(Buffer.from('more'))
    const second = log.durableLsn
    await log.appendDurable(Buffer.from('and a group that proves it'))
    await until(second)
    const canceled = t.rejects(tailing, { code: 'ERR_RIOLOG_CANCELED' })
    aborter.abort('enough')
    await canceled
    t.same(
      seen,
      [...seen].sort((a, b) => a - b),
    )
    await replica.close()
  }
  await beside.close()
  const tailing = log.tailRaw({ from: log.durableLsn }).next()
  const closed = t.rejects(tailing, { code: 'ERR_RIOLOG_CLOSED' })
  await log.close()
  await closed
})

t.test('onDurable tells each time, before who waits for it', async t => {
  const { log } = await started(0)
  const order: (number | string)[] = []
  const off = log.onDurable(lsn => order.push(lsn))
  await log.appendDurable(Buffer.from('a')).then(() => order.push('a'))
  const last = log.durableLsn
  t.ok(order.indexOf(last) >= 0 && order.indexOf(last) < order.indexOf('a'))
  off()
  const { length } = order
  await log.appendDurable(Buffer.from('b'))
  t.equal(order.length, length)
  t.throws(() => log.onDurable('no' as never), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  t.throws(() => log.onSealed(1 as never), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  await log.close()
})

t.test('what does not belong there is refused before a byte is written', async t => {
  const { log } = await started()
  const chunks = await chunksOf(log)
  t.ok(chunks.length > 5)
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  const refused = async (chunk: RawChunk, code: string, name: string) => {
    const { operations } = device
    await t.rejects(replica.apply(chunk), { code }, name)
    t.equal(device.operations, operations, `${name}: the disk is not touched`)
  }
  await refused(chunks[1], 'ERR_RIOLOG_GAP', 'the beginning is missing')
  await refused({} as RawChunk, 'ERR_RIOLOG_INVALID_ARGUMENT', 'no chunk')
  await refused({ ...chunks[0], groups: Buffer.alloc(0) }, 'ERR_RIOLOG_INVALID_ARGUMENT', 'empty')
  for (const chunk of chunks.slice(0, 3)) await replica.apply(chunk)
  await refused(chunks[4], 'ERR_RIOLOG_GAP', 'a gap')
  const next = chunks[3]
  await refused({ ...next, uuid: 'f'.repeat(32) }, 'ERR_RIOLOG_FOREIGN', 'of another log')
  await refused({ ...next, epoch: 0 }, 'ERR_RIOLOG_FENCED', 'of an older epoch')
  await refused({ ...next, lsn: next.lsn + 4096 }, 'ERR_RIOLOG_CORRUPT', 'at another place')
  await refused({ ...next, end: next.end + 4096 }, 'ERR_RIOLOG_CORRUPT', 'another end')
  await refused({ ...next, previousEnd: 4096 }, 'ERR_RIOLOG_CORRUPT', 'behind another end')
  await refused({ ...next, segment: 99 }, 'ERR_RIOLOG_GAP', 'a segment without its beginning')
  const cut = { ...next, groups: next.groups.subarray(0, next.groups.length - 1) }
  await refused(cut, 'ERR_RIOLOG_CORRUPT', 'cut short')
  const used = next.groups.findLastIndex(byte => byte !== 0)
  for (let at = 0; at <= used; at += 3) {
    const groups = Buffer.from(next.groups)
    groups[at] ^= 0x10
    const isSoundPadding = !(await replica.apply({ ...next, groups }).then(
      () => false,
      error => error.code === 'ERR_RIOLOG_CORRUPT',
    ))
    if (isSoundPadding) t.fail(`a flip at ${at} was taken`)
  }
  const { end, operations } = { end: replica.end, operations: device.operations }
  for (const chunk of chunks.slice(0, 3)) t.equal(await replica.apply(chunk), end, 'again')
  t.ok(device.operations <= operations + 6, 'and nothing is written for it')
  await replica.apply(next)
  await replica.close()
  await t.rejects(replica.apply(next), { code: 'ERR_RIOLOG_CLOSED' })
  await log.close()
})

t.test('another log with the same beginning has diverged', async t => {
  const { device, log } = await started()
  await log.close()
  const copies = [device.afterKill(), device.afterKill()]
  const [one, other] = await Promise.all(copies.map(copy => openSimulated(copy, SMALL)))
  await one.appendDurable(Buffer.from('one'))
  await other.appendDurable(Buffer.from('other'))
  const replica = await openReplica(new SimulatedDevice())
  await follow(one, replica)
  const { end, hash } = replica
  await t.rejects(other.readRaw(end, { hash }), { code: 'ERR_RIOLOG_DIVERGED' })
  const [first] = await chunksOf(other, 1 << 20)
  const last = (await chunksOf(other, 1 << 20)).at(-1)!
  t.equal(await replica.apply(first), end, 'the common beginning is known')
  await t.rejects(replica.apply(last), { code: 'ERR_RIOLOG_DIVERGED' })
  await one.appendDurable(Buffer.from('goes on'))
  await t.rejects(other.readRaw(one.durableLsn), { code: 'ERR_RIOLOG_DIVERGED' })
  await follow(one, replica)
  for (const each of [replica, one, other]) await each.close()
})

t.test('hashAt and readRaw name what is wrong with a place', async t => {
  const { log } = await started()
  const end = log.durableLsn
  t.match(await log.hashAt(end), /^[0-9a-f]{24}$/)
  const ends = (await chunksOf(log)).map(chunk => chunk.end)
  const hashes = await Promise.all(ends.map(each => log.hashAt(each)))
  t.equal(new Set(hashes).size, ends.length, 'each end has its own')
  await t.rejects(log.hashAt(end - 8), { code: 'ERR_RIOLOG_NOT_FOUND' })
  await t.rejects(log.hashAt(end + 4096), { code: 'ERR_RIOLOG_NOT_FOUND' })
  await t.rejects(log.hashAt(0), { code: 'ERR_RIOLOG_NOT_FOUND' })
  await t.rejects(log.hashAt(-1), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  await t.rejects(log.readRaw(12), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  await t.rejects(log.readRaw(0, { maxBytes: 0 }), { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  await t.rejects(log.readRaw(end + 4096), { code: 'ERR_RIOLOG_DIVERGED' })
  await log.appendDurable(Buffer.alloc(20_000))
  const records = await recordsOf(log)
  await log.rewind(records[5].lsn)
  await t.rejects(log.hashAt(end), { code: 'ERR_RIOLOG_REWOUND' })
  const back = await log.readRaw(end)
  t.equal(back?.previousEnd, records[5].lsn - 64, 'what it went on with')
  while (log.info().segments.length < 4) await log.appendDurable(Buffer.alloc(6000))
  await log.trim(log.durableLsn)
  await t.rejects(log.readRaw(end), { code: 'ERR_RIOLOG_TRIMMED' })
  await t.rejects(log.hashAt(ends[1]), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
})

t.test('chunks may be handed over without waiting, and their bytes be used again', async t => {
  const { log } = await started()
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  const chunks = await chunksOf(log)
  const applied = chunks.map(chunk => {
    const copied = structuredClone(chunk)
    const applying = replica.apply(copied)
    copied.groups.fill(0)
    return applying
  })
  t.same(
    await Promise.all(applied),
    chunks.map(({ end }) => end),
  )
  t.equal(replica.hash, await log.hashAt(replica.end))
  await replica.close()
  await log.close()
})

t.test('a chunk with other bytes at a place that the copy has is refused', async t => {
  const { log } = await started()
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  const chunks = await chunksOf(log)
  for (const chunk of chunks.slice(0, 4)) await replica.apply(chunk)
  const known = chunks[3]
  // Nobody but a forger, or a source that lost its memory, could make such a group.
  const { header } = chunks[0]
  const found = decodeSegmentHeader(header!)
  if (found.kind !== 'good') throw new Error('the first chunk has a header')
  const { salt } = found.header
  const groups = Buffer.from(known.groups)
  const place = { salt, lsn: known.lsn }
  const { group } = verifyGroup(groups, 0, place, MIB) as { group: GroupInfo }
  groups[groups.length - 4096 + 64 + 24] ^= 1
  sealGroup(groups, { ...group, salt }, 4096)
  t.equal(verifyGroup(groups, 0, place, MIB).kind, 'whole')
  const { operations } = device
  const forged = { ...known, groups }
  await t.rejects(replica.apply(forged), { code: 'ERR_RIOLOG_DIVERGED' })
  t.equal(await replica.apply(known), replica.end, 'the true one is known')
  t.ok(device.operations <= operations, 'its hash is in memory')
  await replica.apply(chunks[4])
  await t.rejects(replica.apply(forged), { code: 'ERR_RIOLOG_DIVERGED' }, 'also further back')
  await replica.close()
  await log.close()
})

t.test('a segment that goes on from another one than the copy has is refused', async t => {
  const { device, log } = await started()
  await log.close()
  const [here, there] = [device.afterKill(), device.afterKill()]
  const one = await openSimulated(here, SMALL)
  await one.appendDurable(Buffer.from('one'))
  let other = await openSimulated(there, SMALL)
  await other.appendDurable(Buffer.from('oth'))
  await other.close()
  other = await openSimulated(there, SMALL)
  await other.appendDurable(Buffer.from('another segment'))
  const replica = await openReplica(new SimulatedDevice())
  await follow(one, replica)
  const strange = (await chunksOf(other, MIB)).at(-1)!
  t.ok(strange.previousEnd <= replica.end, 'it goes on at a place that the copy has')
  t.equal(other.info().segments.length, one.info().segments.length + 1)
  await t.rejects(replica.apply(strange), { code: 'ERR_RIOLOG_DIVERGED' })
  for (const each of [replica, one, other]) await each.close()
})

t.test('what came behind a clean end is found after a kill', async t => {
  const { log } = await started()
  const device = new SimulatedDevice()
  const chunks = await chunksOf(log)
  const first = await openReplica(device)
  await first.apply(chunks[0])
  await first.apply(chunks[1])
  await first.close()
  const second = await openReplica(device)
  await second.apply(chunks[2])
  const { end } = second
  const third = await openReplica(device.afterKill())
  t.equal(third.end, end)
  t.equal(third.hash, await log.hashAt(end))
  await third.close()
  await log.close()
})

t.test('a copy that is closed inside a batch keeps what it has of it', async t => {
  const { log } = await started(1)
  const batch = Array.from({ length: 13 }, (_, i) => payloadOf(i, 3000))
  // Those that go over a rotation are cut there.
  for (let i = 0; i < 8; i++) await log.appendBatchDurable(batch)
  const chunks = await chunksOf(log, MIB)
  const device = new SimulatedDevice()
  let replica = await openReplica(device)
  let inside = 0
  for (const chunk of chunks) {
    const end = await replica.apply(chunk)
    if (replica.durableLsn < end) inside++
    await replica.close()
    replica = await openReplica(device)
    t.equal(replica.end, end)
    t.equal(replica.hash, await log.hashAt(end))
  }
  t.ok(inside > 0, 'it was closed inside a batch')
  t.equal(replica.durableLsn, log.durableLsn)
  await replica.close()
  await log.close()
})

t.test('what an opening shows is durable, also where a kill had left it in a cache', async t => {
  const { log } = await started()
  const chunks = await chunksOf(log)
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  for (const chunk of chunks.slice(0, 3)) await replica.apply(chunk)
  let isWritten = false
  device.interference = ({ kind }) => {
    if (kind === 'write') isWritten = true
    else if (kind === 'sync' && isWritten) device.cutPower()
    return undefined
  }
  replica.apply(chunks[3]).catch(() => {})
  while (!device.isOff) await new Promise(resolve => setImmediate(resolve))
  const killed = device.afterKill()
  const again = await openReplica(killed)
  t.equal(again.end, chunks[3].end, 'it is in the cache')
  const third = await openReplica(killed.afterPowerCut(() => false))
  t.equal(third.end, chunks[3].end)
  await third.close()
  await log.close()
})

t.test('a copy begins in a segment whose beginning is trimmed', async t => {
  const { log } = await started()
  const records = await recordsOf(log)
  await log.trim(records[12].lsn)
  const replica = await openReplica(new SimulatedDevice())
  await follow(log, replica, () => 1)
  t.equal(replica.end, log.durableLsn)
  t.equal(replica.hash, await log.hashAt(replica.end))
  await replica.close()
  await log.close()
})

t.test('a poisoned copy says so, and goes on after it was opened again', async t => {
  const { log } = await started()
  const chunks = await chunksOf(log)
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  await replica.apply(chunks[0])
  await replica.apply(chunks[1])
  device.interference = ({ kind }) => (kind === 'sync' ? ioError(kind) : undefined)
  await t.rejects(replica.apply(chunks[2]), { code: 'ERR_RIOLOG_POISONED' })
  device.interference = undefined
  await t.rejects(replica.apply(chunks[2]), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(replica.close(), { code: 'ERR_RIOLOG_POISONED' })
  const again = await openReplica(device.afterKill())
  await follow(log, again)
  t.equal(again.end, log.durableLsn)
  await again.close()
  await log.close()
})

t.test('a full disk is told, and the same chunk is taken when there is room', async t => {
  const { log } = await started(60)
  const device = new SimulatedDevice()
  const replica = await openReplica(device)
  const chunks = await chunksOf(log, 1 << 20)
  await replica.apply(chunks[0])
  device.capacityBytes = 1
  const code = 'ERR_RIOLOG_NO_SPACE'
  await t.rejects(replica.apply(chunks[1]), { code })
  await t.rejects(replica.apply(chunks[1]), { code })
  device.capacityBytes = Number.POSITIVE_INFINITY
  await follow(log, replica)
  t.equal(replica.end, log.durableLsn)
  await replica.close()
  await log.close()
})

t.test('promoted, it is fenced against the old source, which can become its copy', async t => {
  const { device, log } = await started()
  const copyDevice = new SimulatedDevice()
  const replica = await openReplica(copyDevice)
  await follow(log, replica)
  const { epoch } = replica
  await replica.close()
  const first = await promoted(copyDevice, epoch)
  t.equal(first.info().epoch, epoch + 1)
  await first.appendDurable(Buffer.from('of the heir'))
  await first.close()
  await t.rejects(promoted(copyDevice, epoch), { code: 'ERR_RIOLOG_FENCED' })
  const heir = await promoted(copyDevice)
  await heir.appendDurable(Buffer.from('of the heir, again'))
  const third = await openReplica(new SimulatedDevice())
  await follow(heir, third)
  const [late] = (await chunksOf(log)).slice(-1)
  await t.rejects(third.apply(late), { code: 'ERR_RIOLOG_FENCED' })
  // The old source has a spare prepared, which the heir has under the same number.
  await log.close()
  const old = await openReplica(device)
  await follow(heir, old)
  t.equal(old.hash, await heir.hashAt(heir.durableLsn))
  for (const each of [old, third, heir]) await each.close()
})

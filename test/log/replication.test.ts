/**
 * A copy of a log, kept by chunks: the same bytes at the same places. It refuses what does not belong
 * there before it writes, survives a power cut at any step, follows trims and rewinds, and can be promoted.
 */
import t from 'tap'
import { ioError, SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { Log, type RawChunk, Replica } from '../../src/index.ts'
import { checkReplicaOptions, type LogOptions } from '../../src/log/options.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../support/engines.ts'
import { payloadOf } from '../support/oracle.ts'
import { chooseSeed, Random } from '../support/random.ts'
import { KIB, openSimulated, recordsOf } from '../support/simulated.ts'

const RUNS = Number(process.env.RIOLOG_RUNS ?? 12)
const PATH = 'simulated'
const turn = () => new Promise<void>(resolve => setImmediate(resolve))
const SMALL: LogOptions = { maxGroupBytes: 8 * KIB }

function openReplica(device: SimulatedDevice, options = {}): Promise<Replica> {
  return Replica.openOn(new SimulatedDisk(device), PATH, checkReplicaOptions(options))
}

/** What the source has and the copy has not, in chunks of random length. */
async function follow(t: Test, source: Log, replica: Replica, random?: Random): Promise<void> {
  for (;;) {
    const maxBytes = random?.int(1, 40 * KIB) ?? 1 << 20
    const { end, hash } = replica
    const chunk = await source.readRaw(end, { maxBytes, hash })
    if (chunk === undefined) return
    // Over a wire.
    t.equal(await replica.apply(structuredClone(chunk)), chunk.end)
  }
}

async function chunksOf(source: Log, maxBytes = 1): Promise<RawChunk[]> {
  const chunks = []
  for (let from = 0; ; ) {
    const chunk = await source.readRaw(from, { maxBytes })
    if (chunk === undefined) return chunks
    chunks.push(chunk)
    from = chunk.end
  }
}

const plain = (records: { lsn: number; data: Buffer }[]) =>
  records.map(({ lsn, data }) => `${lsn} ${data.toString('base64')}`)

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
  await follow(t, source, replica)
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
  t.same(plain(await recordsOf(copy)), plain(await recordsOf(source)))
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
  await follow(t, one, replica)
  const { end, hash } = replica
  await t.rejects(other.readRaw(end, { hash }), { code: 'ERR_RIOLOG_DIVERGED' })
  const [first] = await chunksOf(other, 1 << 20)
  const last = (await chunksOf(other, 1 << 20)).at(-1)!
  t.equal(await replica.apply(first), end, 'the common beginning is known')
  await t.rejects(replica.apply(last), { code: 'ERR_RIOLOG_DIVERGED' })
  await one.appendDurable(Buffer.from('goes on'))
  await t.rejects(other.readRaw(one.durableLsn), { code: 'ERR_RIOLOG_DIVERGED' })
  await follow(t, one, replica)
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
  await follow(t, log, again)
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
  await follow(t, log, replica)
  t.equal(replica.end, log.durableLsn)
  await replica.close()
  await log.close()
})

t.test('promoted, it is fenced against the old source, which can become its copy', async t => {
  const { device, log } = await started()
  const copyDevice = new SimulatedDevice()
  const replica = await openReplica(copyDevice)
  await follow(t, log, replica)
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
  await follow(t, heir, third)
  const [late] = (await chunksOf(log)).slice(-1)
  await t.rejects(third.apply(late), { code: 'ERR_RIOLOG_FENCED' })
  // The old source has a spare prepared, which the heir has under the same number.
  await log.close()
  const old = await openReplica(device)
  await follow(t, heir, old)
  t.equal(old.hash, await heir.hashAt(heir.durableLsn))
  for (const each of [old, third, heir]) await each.close()
})

async function append(log: Log, payload: Buffer): Promise<void> {
  try {
    log.append(payload)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
    await log.drain()
    log.append(payload)
  }
}

/** Appends, batches, trims, rewinds and reopens; what is durable at the end is what counts. */
async function work(log: Log, random: Random, id: { next: number }): Promise<void> {
  for (let i = random.int(1, 25); i > 0; i--) {
    const payload = () => payloadOf(id.next++, random.chance(0.1) ? 12_000 : random.int(0, 900))
    if (random.chance(0.2)) await log.appendBatchDurable([payload(), payload(), payload()])
    else await append(log, payload())
    if (random.chance(0.4)) await log.flush()
    if (random.chance(0.06)) await log.rewind((await lsnsOf(log, random)) ?? log.durableLsn)
    if (random.chance(0.06)) await log.trim((await lsnsOf(log, random)) ?? log.trimLsn)
  }
  await log.flush()
}

async function lsnsOf(log: Log, random: Random): Promise<number | undefined> {
  await log.flush()
  const records = await recordsOf(log)
  for (let tries = 0; tries < 5 && records.length > 0; tries++) {
    const { lsn } = records[random.int(0, records.length - 1)]
    const isInside = await log.readRaw(0).then(
      () => false,
      () => true,
    )
    if (!isInside) return lsn
  }
  return undefined
}

const SOURCES: [string, LogOptions][] = [
  ['as it is by default', SMALL],
  ['four commits in flight', { ...SMALL, commitsInFlight: 4 }],
  [
    'compressed, encrypted',
    { ...SMALL, compression: 'deflate', encryption: { keyId: 1, key: () => Buffer.alloc(32, 9) } },
  ],
]

for (const [name, options] of SOURCES) {
  t.test(`the power is cut at any step of a copy (${name})`, async t => {
    const seed = chooseSeed()
    t.comment(`RIOLOG_SEED=${seed}`)
    let cuts = 0
    let rewinds = 0
    for (let run = 0; run < RUNS; run++) {
      const random = new Random(seed + run)
      const id = { next: 1 }
      const sourceDevice = new SimulatedDevice()
      let source = await openSimulated(sourceDevice, options)
      let device = new SimulatedDevice()
      for (let life = 0; life < 4; life++) {
        await work(source, random, id).catch(error => {
          if (error.code !== 'ERR_RIOLOG_INVALID_ARGUMENT') throw error
        })
        await source.flush()
        if (random.chance(0.3)) {
          await source.close()
          source = await openSimulated(sourceDevice, options)
        }
        const replica = await openReplica(device)
        t.ok(replica.durableLsn <= replica.end)
        const cutAt = device.operations + random.int(1, 60)
        device.interference = ({ index }) => {
          if (index >= cutAt) device.cutPower()
          return undefined
        }
        let acknowledged = replica.end
        let dropped = false
        const following = (async () => {
          for (;;) {
            const { end, hash } = replica
            const chunk = await source.readRaw(end, { maxBytes: random.int(1, 30 * KIB), hash })
            if (chunk === undefined) return
            dropped ||= chunk.previousEnd < end
            acknowledged = await replica.apply(chunk)
          }
        })().catch(error => {
          if (error.code !== 'ERR_RIOLOG_TRIMMED') throw error
          device = new SimulatedDevice() // overtaken by a trim: it begins anew
          return 'overtaken'
        })
        let isDone = false
        const off = (async () => {
          while (!device.isOff && !isDone) await turn()
          for (let i = 0; i < 20; i++) await turn()
          return 'off'
        })()
        const how = await Promise.race([following, off])
        isDone = true
        if (dropped) rewinds++
        if (how === 'overtaken') continue
        device.interference = undefined
        if (how === 'off') {
          cuts++
          device = device.afterPowerCut({
            survives: () => random.chance(0.5),
            fate: () => (['old', 'new', 'zeros', 'garbage'] as const)[random.int(0, 3)],
            garbage: () => random.int(0, 255),
          })
          // What a promotion at this moment would find: never damage, never less than was acknowledged.
          const heir = await promoted(device.afterKill())
          const upTo = heir.durableLsn
          if (!dropped) t.ok(upTo <= source.durableLsn)
          await heir.close()
          const after = await openReplica(device.afterKill())
          if (!dropped && after.end < acknowledged) {
            t.fail(`run ${run}: ${acknowledged} was acknowledged, ${after.end} is left`)
          }
          await after.close()
        } else await replica.close()
        device = device.afterKill()
      }
      try {
        const replica = await openReplica(device)
        await follow(t, source, replica, random)
        t.equal(replica.end, source.durableLsn)
        await replica.close()
        const heir = await openSimulated(device, options)
        const [own, theirs] = [await recordsOf(heir), await recordsOf(source)]
        t.same(plain(own).slice(-theirs.length), plain(theirs))
        await heir.close()
      } catch (error) {
        if ((error as { code?: string }).code !== 'ERR_RIOLOG_TRIMMED') throw error
      }
      await source.close()
    }
    t.ok(cuts > RUNS / 2, `${cuts} power cuts`)
    t.ok(rewinds > 0, `${rewinds} rewinds were followed`)
  })
}

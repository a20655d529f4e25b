/** Groups that nobody waits for are written without a sync, and become durable by the one behind them. */
import t from 'tap'
import { ioError, SimulatedDevice, type SimulatedOperation } from '../../src/disk/simulated.ts'
import type { Log } from '../../src/log/log.ts'
import type { LogOptions } from '../../src/log/options.ts'
import { KIB, openSimulated, recordsOf } from '../support/simulated.ts'

const GROUP = 8 * KIB
/** A record that takes a group for itself. */
const RECORD = Buffer.alloc(GROUP - 100, 7)
const GROUPS = 40

interface World {
  readonly device: SimulatedDevice
  readonly log: Log
  /** Writes and syncs of segments, from the first append on. */
  readonly operations: SimulatedOperation[]
}

async function world(options: LogOptions = {}): Promise<World> {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, {
    segmentSize: 1024 * KIB,
    maxGroupBytes: GROUP,
    ...options,
  })
  await log.appendDurable(RECORD)
  const operations: SimulatedOperation[] = []
  device.interference = operation => {
    const { kind, name, position } = operation
    // Not the header of the next one, which is prepared meanwhile.
    const isOfGroups = kind === 'sync' || (kind === 'write' && position > 0)
    if (isOfGroups && name === '0000000000000001.seg') operations.push(operation)
    return undefined
  }
  return { device, log, operations }
}

/** Without waiting, but for memory: returns the LSNs. */
async function ingest(log: Log, count: number): Promise<number[]> {
  const lsns: number[] = []
  while (lsns.length < count) {
    try {
      lsns.push(log.append(RECORD))
    } catch {
      await log.drain()
    }
  }
  return lsns
}

const kinds = (operations: readonly SimulatedOperation[], kind: string) =>
  operations.filter(operation => operation.kind === kind).length

t.test('an import: few syncs, in whole', async t => {
  const { device, log, operations } = await world()
  const lsns = await ingest(log, GROUPS)
  const before = log.durableLsn
  await log.flush()
  t.ok(log.durableLsn > lsns[GROUPS - 1] && before < lsns[GROUPS - 1])
  const writes = kinds(operations, 'write')
  // Half of 16 arenas, and one at each end of a file.
  const syncs = kinds(operations, 'sync')
  t.ok(writes >= GROUPS && syncs <= GROUPS / 4, `${writes} writes, ${syncs} syncs`)
  t.ok(syncs >= GROUPS / 10, 'memory does not wait for the end')
  t.equal((await recordsOf(log)).length, GROUPS + 1)
  const again = await openSimulated(
    device.afterPowerCut(() => false),
    { segmentSize: 1024 * KIB },
  )
  t.equal((await recordsOf(again)).length, GROUPS + 1)
})

t.test('what is written without a sync is not durable, and can be read', async t => {
  const { device, log } = await world()
  let durable = 0
  const told = new Map<number, number>()
  device.interference = ({ kind, name, position }) => {
    if (kind === 'write' && name.endsWith('.seg')) told.set(position, log.durableLsn)
    return undefined
  }
  const lsns = await ingest(log, GROUPS)
  for (const lsn of lsns.slice(-10)) t.same(await log.read(lsn), RECORD)
  durable = await log.flush()
  t.ok(durable > lsns[GROUPS - 1])
  for (const [position, at] of told) t.ok(at <= lsns[0] + position, 'never ahead of the disk')
})

t.test('at any moment a power cut leaves a prefix with all that was told', async t => {
  const { device, log } = await world()
  const cuts: { device: SimulatedDevice; durable: number }[] = []
  device.interference = ({ index }) => {
    if (index % 2 === 0) cuts.push({ device: device.snapshot(), durable: log.durableLsn })
    return undefined
  }
  const lsns = await ingest(log, GROUPS)
  await log.flush()
  device.interference = undefined
  t.ok(cuts.length > 20, `${cuts.length} moments`)
  let seed = 1
  const coin = () => (seed = (seed * 48_271) % 0x7fffffff) % 2 === 0
  for (const cut of cuts) {
    const opened = await openSimulated(cut.device.afterPowerCut(coin), { segmentSize: 1024 * KIB })
    const found = (await recordsOf(opened)).map(({ lsn }) => lsn).slice(1)
    t.same(found, lsns.slice(0, found.length), 'a prefix')
    const acknowledged = lsns.filter(lsn => lsn < cut.durable).length
    t.ok(found.length >= acknowledged, `${found.length} of ${acknowledged}`)
  }
})

t.test('who waits in the midst of it is told by a sync of their own group', async t => {
  const { log, operations } = await world()
  for (let i = 0; i < 5; i++) log.append(RECORD)
  const waiting = log.appendDurable(RECORD)
  for (let i = 0; i < 5; i++) log.append(RECORD)
  const lsn = await waiting
  t.ok(log.durableLsn > lsn)
  t.equal(kinds(operations, 'write'), 6, 'no group behind it comes first')
  t.equal(kinds(operations, 'sync'), 1, 'which counts for those before it, too')
  await log.flush()
})

for (const [way, options] of Object.entries<LogOptions>({
  'with commits beside each other': { commitsInFlight: 2 },
  'with RWF_DSYNC': { sync: 'dsync' },
})) {
  t.test(`${way} each group is synced`, async t => {
    const { log, operations } = await world(options)
    await ingest(log, GROUPS)
    await log.flush()
    t.ok(kinds(operations, 'sync') >= GROUPS, `${kinds(operations, 'sync')} syncs`)
  })
}

for (const kind of ['write', 'sync']) {
  t.test(`a failed ${kind} poisons all that was not synced`, async t => {
    const { device, log } = await world()
    const durable = log.durableLsn
    let writes = 0
    device.interference = operation => {
      if (!operation.name.endsWith('.seg')) return undefined
      if (operation.kind === 'write') writes++
      return operation.kind === kind && writes >= 3 ? ioError(kind) : undefined
    }
    for (let i = 0; i < 8; i++) log.append(RECORD)
    await t.rejects(log.flush(), { code: 'ERR_RIOLOG_POISONED', durableLsn: durable })
    t.equal(log.durableLsn, durable)
    await log.close().catch(() => {})
  })
}

t.test('flushSync holds up the thread for all of it', async t => {
  const { device, log } = await world()
  for (let i = 0; i < 8; i++) log.append(RECORD)
  await new Promise(resolve => setImmediate(resolve))
  const last = log.append(RECORD)
  t.ok(log.flushSync() > last)
  const again = await openSimulated(
    device.afterPowerCut(() => false),
    { segmentSize: 1024 * KIB },
  )
  t.equal((await recordsOf(again)).length, 10)
})

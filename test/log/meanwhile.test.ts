/** What is changed, closed or misread in the middle of something else: told, and nothing is lost or passed over. */
import { tracingChannel } from 'node:diagnostics_channel'
import { closeSync, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { DiskFile } from '../../src/disk/disk.ts'
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { SystemError } from '../../src/errors.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../src/log/options.ts'
import { Replica } from '../../src/log/replication/replica.ts'
import { addon } from '../../src/native.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { follow, openReplica } from '../support/replication.ts'
import { batchedRecordsOf, KIB, openSimulated, recordsOf, withFiles } from '../support/simulated.ts'

const CLOSED = 'ERR_RIOLOG_CLOSED'

/** A log on a disk whose files behave as they are told to. */
function openWith(
  device: SimulatedDevice,
  methods: (file: DiskFile) => Partial<DiskFile>,
  options: LogOptions = {},
): Promise<Log> {
  const checked = checkOptions({ segmentSize: 64 * KIB, idleStampMs: 0, ...options })
  return Log.openOn(withFiles(new SimulatedDisk(device), methods), 'simulated', checked)
}

/** A log, and a way to hold up what its next read of a segment has found: resolves when it is, to what lets it go. */
async function readHeldLog() {
  let onRead: ((letGo: () => void) => void) | undefined
  const log = await openWith(new SimulatedDevice(), file => ({
    async read(buffer, offset, length, position) {
      const count = await file.read(buffer, offset, length, position)
      if (onRead === undefined || !file.name.endsWith('.seg')) return count
      const tell = onRead
      onRead = undefined
      await new Promise<void>(tell)
      return count
    },
  }))
  const holdNextRead = () =>
    new Promise<() => void>(resolve => {
      onRead = resolve
    })
  return { log, holdNextRead }
}

async function fill(log: Log, count: number, bytes = 6000): Promise<number[]> {
  const lsns: number[] = []
  for (let i = 0; i < count; i++) lsns.push(await log.appendDurable(Buffer.alloc(bytes, i)))
  return lsns
}

for (const what of ['trim', 'rewind'] as const) {
  onEachEngine(t, `a log that is closed by who is told of a ${what}`, async (t, engine) => {
    const path = temporaryDirectory(t)
    const options = { engine, segmentSize: 64 * KIB, recycledSegments: 0 }
    const log = await Log.open(path, options)
    const lsns = await fill(log, 40)
    const { start } = tracingChannel(`riolog:${what}`)
    let closing: Promise<void> | undefined
    const close = () => {
      closing = log.close()
    }
    start.subscribe(close)
    const changing = t.rejects(log[what](lsns[30]) as Promise<unknown>, { code: CLOSED })
    start.unsubscribe(close)
    await closing
    await changing
    const again = await Log.open(path, options)
    t.equal((await recordsOf(again)).length, 40)
    await again.close()
  })
}

onEachEngine(
  t,
  'a log that is closed by who is told that it is being closed',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine })
    await log.appendDurable(Buffer.from('a'))
    const { start } = tracingChannel('riolog:close')
    let closed: Promise<void> | undefined
    const close = () => {
      closed ??= log.close()
    }
    start.subscribe(close)
    await log.close()
    start.unsubscribe(close)
    t.ok(closed !== undefined)
    await closed
  },
)

onEachEngine(t, 'a file and a directory that are closed do nothing any more', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine })
  const lsn = await log.appendDurable(Buffer.from('a'))
  const read = log.read(lsn)
  await log.close()
  t.equal(String(await read), 'a', 'what was under way ended before')
  await t.rejects(log.read(lsn), { code: CLOSED })
})

t.test('memory runs out in a rewind: it is refused, and the log goes on', async t => {
  const device = new SimulatedDevice()
  const first = await openSimulated(device)
  const lsns = await fill(first, 4)
  await first.close()
  const log = await openSimulated(device)
  const native = addon() as { allocate: (bytes: number) => unknown }
  const { allocate } = native
  let refused = 0
  native.allocate = bytes => {
    if (bytes < 50 * KIB || bytes % (64 * KIB) === 0) return allocate(bytes)
    refused++
    return undefined
  }
  await t.rejects(log.rewind(lsns[2]), { code: 'ERR_RIOLOG_OUT_OF_MEMORY' })
  native.allocate = allocate
  t.ok(refused > 0)
  await fill(log, 40)
  await log.rewind(lsns[2])
  await log.close()
  const again = await openSimulated(device)
  t.same(
    (await recordsOf(again)).map(({ lsn }) => lsn),
    lsns.slice(0, 2),
  )
  await again.close()
})

for (const bytes of [6000, 40_000]) {
  t.test(
    `who is told of an opening's first segment appends ${bytes} bytes till there is no room`,
    async t => {
      const device = new SimulatedDevice()
      const segmentSize = bytes > 10_000 ? 16_384 * KIB : 64 * KIB
      const options = { segmentSize, idleStampMs: 0, maxBufferedBytes: 2048 * KIB }
      const log = await openSimulated(device, options)
      const { bufferBytesInUse } = log.metrics()
      const taken: number[] = []
      const stop = log.onDurable(() => {
        stop()
        t.throws(
          () => {
            for (let i = 0; i < 1000; i++) taken.push(log.append(Buffer.alloc(bytes, 7)))
          },
          { code: 'ERR_RIOLOG_BACKPRESSURE' },
        )
      })
      try {
        taken.push(log.append(Buffer.alloc(bytes, 7)))
      } catch (error) {
        t.match(error, { code: 'ERR_RIOLOG_BACKPRESSURE' })
      }
      taken.push(await log.appendDurable(Buffer.from('later')))
      t.equal(log.metrics().bufferBytesInUse, bufferBytesInUse)
      await log.close()
      const again = await openSimulated(device, options)
      t.same(
        (await recordsOf(again)).map(({ lsn }) => lsn),
        taken,
      )
      await again.close()
    },
  )
}

t.test('a pin beside a trim holds, or is refused', async t => {
  let during: (() => void) | undefined
  const log = await openWith(new SimulatedDevice(), file => ({
    async write(buffer, offset, length, position) {
      if (file.name.startsWith('MANIFEST')) {
        during?.()
        during = undefined
      }
      await file.write(buffer, offset, length, position)
    },
  }))
  const lsns = await fill(log, 40)
  await new Promise(resolve => setTimeout(resolve, 30))
  let asked = false
  during = () => {
    asked = true
    t.throws(() => log.pin('late', lsns[3]), { code: 'ERR_RIOLOG_TRIMMED' })
    log.pin('in time', lsns[30])
  }
  await log.trim(lsns[30])
  t.ok(asked)
  t.equal(await log.trim(lsns[35]), lsns[30])
  t.equal((await log.read(lsns[30])).length, 6000)
  await log.close()
})

for (const count of [1, 6]) {
  t.test(`who is told of an opening's end rewinds: ${count} records come behind it`, async t => {
    const device = new SimulatedDevice()
    // Six of them stand in several groups.
    const options = { idleStampMs: 0, maxGroupBytes: 8 * KIB }
    const before = await openSimulated(device, options)
    const [first, second] = await fill(before, 8)
    await before.close()
    const log = await openSimulated(device, options)
    let rewinding: Promise<void> | undefined
    log.onDurable(() => {
      rewinding ??= log.rewind(second)
    })
    const records = Array.from({ length: count }, (_, i) => Buffer.alloc(6000, i))
    const lsns = await log.appendBatchDurable(records)
    await rewinding
    t.same(
      (await recordsOf(log)).map(record => record.lsn),
      [first, ...lsns],
    )
    t.same(await log.readMany(lsns), records)
    await log.close()
  })
}

for (const count of [1, 6]) {
  t.test(
    `who is told of an opening's end meets a failing disk: ${count} records are refused`,
    async t => {
      const device = new SimulatedDevice()
      const options = { idleStampMs: 0, maxGroupBytes: 8 * KIB }
      const before = await openSimulated(device, options)
      await fill(before, 8)
      await before.close()
      const log = await openSimulated(device, options)
      log.onSealed(() => {
        log.append(Buffer.alloc(10))
        device.interference = ({ kind }) =>
          kind === 'sync' ? new SystemError(-5, kind) : undefined
        t.throws(() => log.flushSync(), { code: 'ERR_RIOLOG_POISONED' })
      })
      const records = Array.from({ length: count }, () => Buffer.alloc(6000))
      const told = () => t.fail('nothing was taken')
      const append = () => (count === 1 ? log.append(records[0], told) : log.appendBatch(records))
      t.throws(append, { code: 'ERR_RIOLOG_POISONED' })
      await log.close().catch(() => {})
    },
  )
}

t.test('onSealed and onDurable never go back, whoever comes back in', async t => {
  const log = await openSimulated(new SimulatedDevice(), { idleStampMs: 0 })
  const sealed: number[] = []
  const durable: number[] = []
  log.onSealed(({ number }) => sealed.push(number))
  let comesBack = false
  log.onDurable(() => {
    if (!comesBack) return
    comesBack = false
    try {
      for (let i = 0; i < 12; i++) {
        log.append(Buffer.alloc(6000))
        log.flushSync()
      }
    } catch (error) {
      t.match(error, { code: 'ERR_RIOLOG_BACKPRESSURE' })
    }
  })
  log.onDurable(durableLsn => durable.push(durableLsn))
  for (let i = 0; i < 60; i++) {
    comesBack = i % 7 === 3
    await log.appendDurable(Buffer.alloc(6000, i))
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  t.ok(sealed.length > 5)
  t.same(
    sealed,
    sealed.toSorted((a, b) => a - b),
  )
  t.equal(new Set(sealed).size, sealed.length, 'each once')
  t.same(
    durable,
    durable.toSorted((a, b) => a - b),
  )
  t.equal(durable.at(-1), log.durableLsn)
  await log.close()
})

t.test('a long record that a rewind drops while it is read', async t => {
  const { log, holdNextRead } = await readHeldLog()
  const lsns = await fill(log, 12)
  await new Promise(resolve => setTimeout(resolve, 30))
  const long = await log.appendDurable(Buffer.alloc(61_000, 1))
  const held = holdNextRead()
  const read = t.rejects(log.read(long), { code: 'ERR_RIOLOG_REWOUND' })
  const letGo = await held
  await log.rewind(lsns[10])
  letGo()
  await read
  await log.close()
})

for (const name of ['scan', 'scanBatches'] as const) {
  t.test(`a ${name} from a place that a rewind drops during its first read`, async t => {
    for (let pair = 0; pair < 12 * 6; pair++) {
      // Of the same segment, and of two.
      const [from, cut] = [2 * (pair % 12), [0, 1, 5, 9, 10, 12][Math.floor(pair / 12)]]
      const code = from > cut ? 'ERR_RIOLOG_REWOUND' : undefined
      const { log, holdNextRead } = await readHeldLog()
      const lsns = await fill(log, 30)
      const held = holdNextRead()
      const found: number[] = []
      const read = async () => {
        for await (const item of log[name]({ from: lsns[from] })) {
          for (const { lsn } of [item].flat()) found.push(lsn)
        }
      }
      const reading = read().catch(error => error)
      const letGo = await held
      await log.rewind(lsns[cut])
      letGo()
      const told = (await reading)?.code
      // From the very record where it was cut there is nothing, and nothing that it has lost.
      if (from !== cut) t.equal(told, code, `from ${from}, cut at ${cut}`)
      t.same(found, lsns.slice(from, Math.max(from, cut)))
      await log.close()
    }
  })
}

const LENGTHS = [1000, 6000 * KIB, 1000]
const READERS = {
  scan: recordsOf,
  scanBatches: batchedRecordsOf,
  'scan in reverse': async (log: Log) => {
    const records = []
    for await (const record of log.scan({ reverse: true })) records.push(record)
    return records.reverse()
  },
}
for (const [name, read] of Object.entries(READERS)) {
  t.test(`a read-only ${name} that misreads once passes over nothing`, async t => {
    const device = new SimulatedDevice()
    const options = { segmentSize: 16_384 * KIB, maxBufferedBytes: 65_536 * KIB }
    const writer = await openSimulated(device, options)
    const lsns: number[] = []
    for (const [i, bytes] of LENGTHS.entries()) {
      lsns.push(await writer.appendDurable(Buffer.alloc(bytes, i + 1)))
    }
    await writer.close()
    let misread = 0
    for (let nth = 1; nth === misread + 1 && nth < 20; nth++) {
      let reads = Number.NEGATIVE_INFINITY
      const log = await openWith(
        device,
        file => ({
          async read(buffer, offset, length, position) {
            const count = await file.read(buffer, offset, length, position)
            if (!file.name.endsWith('.seg') || count === 0 || ++reads !== nth) return count
            misread = nth
            for (let at = offset; at < offset + count; at += 4096) buffer.bytes[at + 100] ^= 1
            return count
          },
        }),
        { readOnly: true, segmentSize: undefined },
      )
      reads = 0
      const found = await read(log).catch(error => error)
      // An error is an answer; a record that is not there, or not whole, is none.
      if (Array.isArray(found)) {
        t.same(
          found.map(({ lsn, data }) => [lsn, data?.length]),
          lsns.map((lsn, i) => [lsn, LENGTHS[i]]),
          `the ${nth}th read`,
        )
      } else t.match(found, { code: 'ERR_RIOLOG_CORRUPT' })
      await log.close()
    }
    t.ok(misread > 2, `${misread} reads`)
  })
}

t.test('a chunk of before a rewind brings no trim of behind it', async t => {
  const { log, holdNextRead } = await readHeldLog()
  const lsns = await fill(log, 30)
  const replica = await openReplica(new SimulatedDevice())
  await follow(log, replica)
  await fill(log, 1)
  const held = holdNextRead()
  const asked = log.readRaw(replica.end)
  const letGo = await held
  await log.rewind(lsns[12])
  const behind = await fill(log, 20)
  await log.trim(behind[1])
  letGo()
  await replica.apply((await asked)!)
  await follow(log, replica)
  t.equal(replica.end, log.durableLsn)
  t.equal(replica.trimLsn, behind[1])
  await replica.close()
  await log.close()
})

onEachEngine(t, 'a copy whose end is damaged is refused as such, each time', async (t, engine) => {
  const [source, path] = [temporaryDirectory(t), temporaryDirectory(t)]
  const log = await Log.open(source, { engine })
  await fill(log, 5)
  const replica = await Replica.open(path, { engine })
  await follow(log, replica)
  const { end } = replica
  await replica.close()
  await log.close()
  const name = readdirSync(path)
    .filter(name => name.endsWith('.seg'))
    .sort()
    .at(-1)!
  const fd = openSync(join(path, name), 'r+')
  writeSync(fd, Buffer.alloc(8192, 255), 0, 8192, (end % (64 << 20)) - 8192)
  closeSync(fd)
  for (let i = 0; i < 2; i++) {
    await t.rejects(Replica.open(path, { engine }), { code: 'ERR_RIOLOG_CORRUPT' })
  }
})

t.test(
  'dead segments that take long to free are answers, for who waits beside a rewind',
  async t => {
    const device = new SimulatedDevice()
    device.interference = ({ kind }) =>
      kind === 'unlink' ? { kind: 'slow', milliseconds: 40 } : undefined
    const log = await openWith(device, () => ({}), { commitTimeoutMs: 250, recycledSegments: 0 })
    const lsns = await fill(log, 100)
    const rewinding = log.rewind(lsns[1])
    const appended = log.appendDurable(Buffer.from('beside'))
    await rewinding
    t.ok((await appended) > lsns[99])
    t.equal(log.poison, undefined)
    await log.close()
  },
)

onEachEngine(t, 'raw groups and hashes that a close overtakes', async (t, engine) => {
  const path = temporaryDirectory(t)
  const options = { engine, segmentSize: 64 * KIB }
  const log = await Log.open(path, options)
  await fill(log, 20)
  const end = log.durableLsn
  await log.close()
  const codes = new Set<string>()
  for (const readOnly of [false, true]) {
    for (let turns = 0; turns < 12; turns++) {
      const again = await Log.open(path, { ...options, readOnly })
      const asked = [again.readRaw(0), again.hashAt(end)].map(each =>
        each.then(
          () => 'done',
          error => String(error.code),
        ),
      )
      for (let i = 0; i < turns; i++) await new Promise(setImmediate)
      await again.close()
      for (const code of await Promise.all(asked)) codes.add(code)
    }
  }
  t.same([...codes].sort(), [CLOSED, 'done'])
})

t.test('a manifest that is slow in each step answers with each, for who waits', async t => {
  const device = new SimulatedDevice()
  const log = await openWith(device, () => ({}), { commitTimeoutMs: 400 })
  const lsns = await fill(log, 3)
  device.interference = ({ name }) =>
    name === 'MANIFEST' ? { kind: 'slow', milliseconds: 100 } : undefined
  const began = performance.now()
  const rewinding = log.rewind(lsns[1])
  const appended = log.appendDurable(Buffer.from('beside'))
  await rewinding
  t.ok(performance.now() - began > 400, 'longer than the limit')
  t.ok((await appended) > lsns[2])
  t.equal(log.poison, undefined)
  device.interference = undefined
  await log.close()
})

t.test('memory runs out for who waits beside a rewind: they are told, and it is done', async t => {
  const options = { segmentSize: 1024 * KIB, maxGroupBytes: 4 * KIB, idleStampMs: 0 }
  const log = await openSimulated(new SimulatedDevice(), options)
  await log.appendDurable(Buffer.from('first'))
  const lsn = await log.appendDurable(Buffer.from('second'))
  const native = addon() as { allocate: (bytes: number) => unknown }
  const { allocate } = native
  native.allocate = bytes => (bytes > 32 * KIB ? undefined : allocate(bytes))
  t.teardown(() => {
    native.allocate = allocate
  })
  const rewinding = log.rewind(lsn)
  const asked = Array.from({ length: 20 }, () => log.appendDurable(Buffer.alloc(3000)))
  const told = Promise.allSettled(asked)
  await rewinding
  const outcomes = await told
  native.allocate = allocate
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') t.equal(outcome.reason.code, 'ERR_RIOLOG_OUT_OF_MEMORY')
  }
  t.ok(outcomes.some(({ status }) => status === 'rejected'))
  await t.rejects(log.read(lsn))
  await log.appendDurable(Buffer.from('goes on'))
  const taken = outcomes.filter(({ status }) => status === 'fulfilled').length
  t.equal((await recordsOf(log)).length, 1 + taken + 1)
  await log.close()
})

t.test(
  'an end at the base of the segment behind it is no place of a record, and no damage',
  async t => {
    const log = await openSimulated(new SimulatedDevice())
    while (log.info().segments.length < 3) await log.appendDurable(Buffer.alloc(8192 - 56 - 24))
    const base = 2 * 64 * KIB
    await t.rejects(log.read(base), { code: 'ERR_RIOLOG_NOT_FOUND' })
    await t.rejects(log.rewind(base), { code: 'ERR_RIOLOG_NOT_FOUND' })
    await log.appendDurable(Buffer.from('goes on'))
    await log.close()
  },
)

/**
 * A failed sync leaves unknown what the disk holds, and Linux reports it once: a log that went on
 * would acknowledge on top of a hole. So it refuses everything until it is reopened.
 */
import { once } from 'node:events'
import { pino } from 'pino'
import t from 'tap'
import {
  ioError,
  SimulatedDevice,
  SimulatedDisk,
  type SimulatedOperation,
} from '../../../src/disk/simulated.ts'
import { PoisonedError, type RiologError, SystemError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import { KIB, openSimulated, recordsOf, withFiles } from '../../support/simulated.ts'

const SEGMENT = /\.seg$/

async function rejection(promise: Promise<unknown>): Promise<RiologError> {
  return promise.then(
    () => Promise.reject(new Error('expected a rejection')),
    error => error,
  )
}

/** A log with one durable record, on a device whose faults begin only now. */
async function startedLog(): Promise<{ device: SimulatedDevice; log: Log; first: number }> {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  const first = await log.appendDurable(Buffer.from('durable'))
  // What that commit leaves to be done is not to come behind the failure.
  await new Promise(resolve => setImmediate(resolve))
  return { device, log, first }
}

/** Fails the next operation of a kind on a file, and notes what is written after that. */
function failNext(device: SimulatedDevice, kind: string, file: RegExp, error: Error) {
  const after: SimulatedOperation[] = []
  let failed = false
  device.interference = operation => {
    if (failed) {
      if (operation.kind !== 'read') after.push(operation)
      return undefined
    }
    if (operation.kind !== kind || !file.test(operation.name)) return undefined
    failed = true
    return error
  }
  return after
}

for (const kind of ['write', 'sync']) {
  t.test(`a failed ${kind} of a group poisons the log`, async t => {
    const { device, log, first } = await startedLog()
    const durable = log.durableLsn
    const after = failNext(device, kind, SEGMENT, ioError(kind))
    const waiting = [1, 2, 3].map(n => rejection(log.appendDurable(Buffer.from(`lost ${n}`))))
    const undecided = log.append(Buffer.from('lost 4'))
    const flushed = rejection(log.flush())
    t.equal(log.poison, undefined, 'nobody knows yet')

    for (const error of [...(await Promise.all(waiting)), await flushed]) {
      t.equal(error.code, 'ERR_RIOLOG_POISONED')
      t.type(error, PoisonedError)
      const poison = error as PoisonedError
      t.equal(log.poison, poison)
      t.equal(poison.durableLsn, durable)
      t.equal(poison.undecidedFrom, durable)
      t.ok(poison.undecidedTo > undecided, 'the range covers all that was appended')
      t.ok(poison.cause instanceof SystemError && poison.cause.errnoName === 'EIO')
    }
    t.throws(() => log.append(Buffer.from('more')), { code: 'ERR_RIOLOG_POISONED' })
    await t.rejects(log.appendDurable(Buffer.from('more')), { code: 'ERR_RIOLOG_POISONED' })
    await t.rejects(log.flush(), { code: 'ERR_RIOLOG_POISONED' })
    await t.rejects(log.drain(), { code: 'ERR_RIOLOG_POISONED' })
    t.equal(log.durableLsn, durable, 'nothing moves the durable LSN')
    t.equal(String(await log.read(first)), 'durable', 'reads below it go on')
    t.equal((await recordsOf(log)).length, 1)
    await t.rejects(log.read(undecided), { code: 'ERR_RIOLOG_POISONED' })
    await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
    t.same(after, [], 'nothing was written or synced any more, at close neither')

    const again = await openSimulated(device.afterKill())
    t.equal(String(await again.read(first)), 'durable')
    await again.appendDurable(Buffer.from('goes on'))
    t.ok((await recordsOf(again)).length >= 2)
    await again.close()
  })
}

t.test('a segment that was being prepared is left as it is', async t => {
  const { device, log } = await startedLog()
  // Far enough into the file that the next one is on its way.
  for (let i = 0; i < 3; i++) await log.appendDurable(Buffer.alloc(7000))
  const after = failNext(device, 'sync', /0001\.seg$/, ioError())
  await rejection(log.appendDurable(Buffer.from('a')))
  const before = after.length
  await new Promise(resolve => setTimeout(resolve, 30))
  t.ok(after.slice(before).length <= 1, 'but for a step that was under way')
  t.notOk(
    after.some(({ kind }) => kind === 'unlink' || kind === 'rename'),
    'nothing is taken away either',
  )
  await rejection(log.close())
})

t.test('closing does not wait for a segment that nobody needs', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { segmentSize: 4 << 20 })
  // Past a quarter of the file: the next one is begun, and has 16 pieces with pauses before it.
  await log.appendDurable(Buffer.alloc(1 << 20))
  await log.appendDurable(Buffer.alloc(1 << 20))
  await log.close()
  t.equal(device.names().length, 2, 'the half-made file is gone')
  t.equal((await recordsOf(await openSimulated(device, { segmentSize: 4 << 20 }))).length, 2)
})

t.test('a sync that comes back good later does not count', async t => {
  const { device, log } = await startedLog()
  const durable = log.durableLsn
  failNext(device, 'sync', SEGMENT, ioError())
  await rejection(log.appendDurable(Buffer.from('a')))
  await new Promise(resolve => setTimeout(resolve, 20))
  t.equal(log.durableLsn, durable)
  t.equal((await rejection(log.close())).code, 'ERR_RIOLOG_POISONED')
})

t.test('a failed manifest sync beside the commits poisons too', async t => {
  const { device, log } = await startedLog()
  failNext(device, 'sync', /MANIFEST/, ioError('fsync'))
  const fill = async () => {
    for (let i = 0; i < 20; i++) await log.appendDurable(Buffer.alloc(10_000))
  }
  t.equal((await rejection(fill())).code, 'ERR_RIOLOG_POISONED')
  t.equal((await rejection(log.close())).code, 'ERR_RIOLOG_POISONED')
})

t.test('a failed directory sync at preparation poisons', async t => {
  const { device, log } = await startedLog()
  failNext(device, 'syncDirectory', /^/, ioError('fsync'))
  const fill = async () => {
    for (let i = 0; i < 20; i++) await log.appendDurable(Buffer.alloc(10_000))
  }
  t.equal((await rejection(fill())).code, 'ERR_RIOLOG_POISONED')
  await rejection(log.close())
})

t.test('a failed fork poisons, and nothing was handed out', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  failNext(device, 'sync', SEGMENT, ioError())
  t.throws(() => log.append(Buffer.from('a')), { code: 'ERR_RIOLOG_POISONED' })
  await rejection(log.close())
  const again = await openSimulated(device.afterKill())
  t.same(await recordsOf(again), [])
})

t.test('a full disk is met before a record is accepted, and the log stays usable', async t => {
  const { device, log, first } = await startedLog()
  device.capacityBytes = [...device.names()].reduce((n, name) => n + device.bytesOf(name).length, 0)
  let accepted = 1
  let refused: RiologError | undefined
  while (refused === undefined) {
    try {
      await log.appendDurable(Buffer.alloc(10_000))
      accepted++
    } catch (error) {
      refused = error as RiologError
    }
  }
  t.equal(refused.code, 'ERR_RIOLOG_NO_SPACE')
  t.equal((refused as SystemError).errnoName, 'ENOSPC')
  t.equal((await recordsOf(log)).length, accepted, 'what was acknowledged is there')
  t.equal(String(await log.read(first)), 'durable')
  device.capacityBytes = Number.POSITIVE_INFINITY
  await log.drain()
  await log.appendDurable(Buffer.from('goes on'))
  const found = await recordsOf(log)
  t.equal(String(found.at(-1)?.data), 'goes on')
  await log.close()
  t.equal((await recordsOf(await openSimulated(device))).length, found.length)
})

t.test('who is refused for want of space may ask again at once', async t => {
  const device = new SimulatedDevice()
  device.capacityBytes = 140_000
  const log = await openSimulated(device)
  const codes: string[] = []
  for (let tries = 0; tries < 3; tries++) {
    codes.push((await rejection(log.appendDurable(Buffer.from('a')))).code)
  }
  t.same(
    codes,
    Array.from({ length: 3 }, () => 'ERR_RIOLOG_NO_SPACE'),
  )
  const last = log.appendDurable(Buffer.from('b')).catch(() => {
    log.appendDurable(Buffer.from('c')).catch(() => {})
    return log.close()
  })
  await last
  t.pass('closing from within the refusal ends')
})

t.test('a disk that is full from the start', async t => {
  const device = new SimulatedDevice()
  device.capacityBytes = 140_000 // the manifest fits, a segment does not
  const log = await openSimulated(device)
  t.throws(() => log.append(Buffer.from('a')), { code: 'ERR_RIOLOG_NO_SPACE' })
  await log.close()
  device.capacityBytes = Number.POSITIVE_INFINITY
  const again = await openSimulated(device)
  await again.appendDurable(Buffer.from('a'))
  t.equal((await recordsOf(again)).length, 1)
  await again.close()
})

t.test('who waits is told, also where the logger throws', async t => {
  const device = new SimulatedDevice()
  const fails = () => {
    throw new Error('of the logger')
  }
  const logger = pino({ level: 'error' }, { write: fails })
  let holds = false
  const disk = withFiles(new SimulatedDisk(device), file => ({
    sync: () => (holds && file.name === 'MANIFEST' ? new Promise(() => {}) : file.sync()),
  }))
  const options = checkOptions({ segmentSize: 64 * KIB, idleStampMs: 0, logger })
  const log = await Log.openOn(disk, 'simulated', options)
  const lsn = await log.appendDurable(Buffer.from('durable'))
  const thrown = once(process, 'uncaughtException')
  holds = true
  const trimmed = rejection(log.trim(lsn))
  await new Promise(resolve => setImmediate(resolve))
  failNext(device, 'sync', SEGMENT, ioError())
  t.equal((await rejection(log.appendDurable(Buffer.from('a')))).code, 'ERR_RIOLOG_POISONED')
  t.equal((await trimmed).code, 'ERR_RIOLOG_POISONED')
  t.match((await thrown)[0], { message: 'of the logger' })
})

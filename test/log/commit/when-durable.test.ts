/** `append(record, whenDurable)`: told once of each record, in order, of its durability or of a poison. */
import { once } from 'node:events'
import t from 'tap'
import { ioError, SimulatedDevice } from '../../../src/disk/simulated.ts'
import type { RiologError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { openSimulated } from '../../support/simulated.ts'

onEachEngine(t, 'who is told, and of what', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, maxGroupBytes: 4096 })
  const told: { lsn: number; durableLsn: number }[] = []
  const lsns: number[] = []
  for (let i = 0; i < 100; i++) {
    const lsn = log.append(Buffer.alloc(200, i), (error, lsn) => {
      t.equal(error, undefined)
      told.push({ lsn, durableLsn: log.durableLsn })
    })
    lsns.push(lsn)
    t.equal(told.length, 0, 'never before append has returned')
  }
  await log.flush()
  t.same(
    told.map(({ lsn }) => lsn),
    lsns,
  )
  t.ok(told.every(({ lsn, durableLsn }) => lsn < durableLsn))
  await log.close()
})

t.test('a promise and a callback of one group come in the order of their records', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const order: string[] = []
  log.append(Buffer.from('a'), () => order.push('a'))
  const b = log.appendDurable(Buffer.from('b')).then(() => order.push('b'))
  log.append(Buffer.from('c'), () => order.push('c'))
  await b
  t.same(order, ['a', 'c', 'b'], 'a promise goes on behind the microtasks')
  await log.close()
})

t.test('a record in fragments is told of once, when all of them are durable', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { maxGroupBytes: 8192 })
  const told: number[] = []
  const lsn = log.append(Buffer.alloc(30_000, 1), (_, lsn) => {
    t.ok(log.durableLsn > lsn + 30_000)
    told.push(lsn)
  })
  await log.flush()
  t.same(told, [lsn])
  await log.close()
})

t.test('in a callback the log can be used: appended to, flushed, closed', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  const told: string[] = []
  await new Promise<void>(resolve => {
    log.append(Buffer.from('a'), () => {
      told.push('a')
      log.append(Buffer.from('c'), () => told.push('c'))
      t.equal(log.flushSync(), log.durableLsn)
      told.push('flushed')
      resolve(log.close())
    })
    log.append(Buffer.from('b'), () => told.push('b'))
  })
  t.same(told, ['a', 'c', 'flushed', 'b'])
})

t.test('each is told of a poison, once', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  await log.appendDurable(Buffer.from('durable'))
  device.interference = ({ kind }) => (kind === 'sync' ? ioError() : undefined)
  const told: [string | undefined, number][] = []
  const tell = (error: RiologError | undefined, lsn: number) => told.push([error?.code, lsn])
  const lsns = [log.append(Buffer.from('a'), tell), log.append(Buffer.from('b'), tell)]
  await t.rejects(log.flush(), { code: 'ERR_RIOLOG_POISONED' })
  t.same(
    told,
    lsns.map(lsn => ['ERR_RIOLOG_POISONED', lsn]),
  )
  t.throws(() => log.append(Buffer.from('c'), tell), { code: 'ERR_RIOLOG_POISONED' })
  t.equal(told.length, 2, 'what was not taken is told by the throw alone')
  await log.close().catch(() => {})
})

t.test('what a callback throws keeps nobody else from being told', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const thrown = once(process, 'uncaughtException')
  let told = 0
  log.append(Buffer.from('a'), () => {
    throw new Error('of a callback')
  })
  log.append(Buffer.from('b'), () => told++)
  await log.flush()
  t.equal(told, 1)
  t.match((await thrown)[0], { message: 'of a callback' })
  await log.close()
})

t.test('what is no function is refused, and nothing is taken', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const before = log.durableLsn
  const append = () => log.append(Buffer.from('a'), 'x' as never)
  t.throws(append, { code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  t.equal(await log.flush(), before)
  await log.close()
})

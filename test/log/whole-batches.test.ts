/** A batch is taken as a whole or not at all, also where something fails in its middle. */
import t from 'tap'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import type { Log } from '../../src/log/log.ts'
import { addon } from '../../src/native.ts'
import { failingBatch, KIB, openSimulated, recordsOf } from '../support/simulated.ts'

const GROUP_BYTES = 8 * KIB
/** Of more groups than a log has memory for when it begins. */
const BATCH = [1, 2, 3, 4, 5].map(i => Buffer.alloc(7000, i))

/** No more memory for groups while this runs. */
function withoutMemory<T>(run: () => T): T {
  const native = addon() as { allocate: (bytes: number) => unknown }
  const { allocate } = native
  native.allocate = bytes => (bytes > GROUP_BYTES ? undefined : allocate(bytes))
  try {
    return run()
  } finally {
    native.allocate = allocate
  }
}

for (const end of ['close', 'kill'] as const) {
  t.test(`memory runs out, and then a ${end}`, async t => {
    const device = new SimulatedDevice()
    const options = { maxBufferedBytes: 4096 * KIB, maxGroupBytes: GROUP_BYTES, idleStampMs: 0 }
    const log = await openSimulated(device, options)
    await log.appendDurable(Buffer.from('before'))
    const { bufferBytesInUse } = log.metrics()
    const refused = () => log.appendBatch(BATCH)
    t.throws(() => withoutMemory(refused), { code: 'ERR_RIOLOG_OUT_OF_MEMORY' })
    t.equal(log.metrics().bufferBytesInUse, bufferBytesInUse, 'what it had is given back')
    for (let i = 0; i < 20; i++) {
      const lsn = await log.appendDurable(Buffer.from(`behind ${i}`))
      t.ok(log.durableLsn > lsn)
    }
    const lsns = await log.appendBatchDurable(BATCH)
    t.equal(lsns.length, BATCH.length, 'there is memory again')
    if (end === 'close') await log.close()
    const again = await openSimulated(end === 'close' ? device : device.afterKill(), options)
    const found = (await recordsOf(again)).map(({ data }) => data)
    t.equal(found.length, 1 + 20 + BATCH.length)
    t.same(found.slice(-BATCH.length), BATCH)
    await again.close()
  })
}

/** Appends, and holds up the thread, while somebody asks how long it is. */
class Nosy extends Uint8Array {
  asked = 0
  log: Log | undefined

  override get length(): number {
    const { log } = this
    this.log = undefined
    if (log !== undefined) {
      this.asked++
      log.append(Buffer.from('within'))
      log.flushSync()
    }
    return super.length
  }
}

t.test('a class of the caller is not asked in the middle of an append', async t => {
  const log = await openSimulated(new SimulatedDevice())
  const nosy = () => {
    const record = new Nosy(10)
    record.log = log
    return record
  }
  const records = [nosy(), nosy(), nosy(), nosy()]
  const lsns = [log.append(records[0]), await log.appendDurable(records[1])]
  lsns.push(...log.appendBatch([Buffer.alloc(10), records[2], records[3]]))
  await log.flush()
  t.ok(records.every(({ asked }) => asked === 0))
  t.same(
    (await recordsOf(log)).map(({ lsn, data }) => [lsn, data.length]),
    lsns.map(lsn => [lsn, 10]),
  )
  await log.close()
})

t.test('a batch that cannot be finished poisons, and nothing of it is shown', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  await log.appendDurable(Buffer.from('before'))
  log.append(Buffer.from('beside'))
  t.match(failingBatch(log), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.flush(), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
  const again = await openSimulated(device.afterKill())
  t.same(
    (await recordsOf(again)).map(({ data }) => data.toString()),
    ['before'],
  )
  await again.close()
})

/** What a write promises, and what it leaves. */
import t from 'tap'
import { encodeBatch } from '../../examples/kv/src/record.ts'
import { ioError } from '../../src/disk/simulated/effects.ts'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { KIB, openSimulated } from '../support/simulated.ts'
import { contentOf, del, get, openStore, put } from './support.ts'

t.test('puts, deletes and batches are there after an opening, by the log alone', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  await put(store, 'a', '1')
  await put(store, 'b', '2')
  await store.write(
    [
      { type: 'put', key: 'c', value: Buffer.from('') },
      { type: 'del', key: 'a' },
      { type: 'put', key: 'b', value: Buffer.from('3') },
    ],
    true,
  )
  await del(store, 'nothing')
  await store.close()
  const again = await openStore(device)
  t.same(
    await contentOf(again),
    new Map([
      ['b', '3'],
      ['c', ''],
    ]),
  )
  await again.close()
})

t.test('a write with sync is seen when it is durable, one without at once', async t => {
  const store = await openStore(new SimulatedDevice())
  const synced = put(store, 'synced', '1')
  t.equal(await get(store, 'synced'), undefined)
  await synced
  t.equal(await get(store, 'synced'), '1')
  t.ok(store.log.durableLsn > 0)
  const { durableLsn } = store.log
  await put(store, 'loose', '1', false)
  t.equal(await get(store, 'loose'), '1')
  t.equal(store.log.durableLsn, durableLsn, 'nothing was waited for')
  await store.close()
})

t.test('a write without sync behind one with waits for it', async t => {
  const store = await openStore(new SimulatedDevice())
  const order: string[] = []
  const first = put(store, 'key', 'first').then(() => order.push('first'))
  const second = put(store, 'key', 'second', false).then(() => order.push('second'))
  t.equal(await get(store, 'key'), undefined)
  await Promise.all([first, second])
  t.same(order, ['first', 'second'])
  t.equal(await get(store, 'key'), 'second')
  await store.close()
})

t.test('callers that share a turn share a commit', async t => {
  const store = await openStore(new SimulatedDevice())
  await put(store, 'first', '')
  const before = store.log.metrics().groups
  await Promise.all(Array.from({ length: 64 }, (_, i) => put(store, `key ${i}`, 'value')))
  t.ok(store.log.metrics().groups - before <= 2)
  await store.close()
})

t.test('more than the log has memory for waits, and nobody overtakes', async t => {
  const store = await openStore(
    new SimulatedDevice(),
    {},
    { segmentSize: 4096 * KIB, maxBufferedBytes: 2048 * KIB },
  )
  const value = (i: number) => Buffer.alloc(100 * KIB, `${i} `)
  const writes = Array.from({ length: 100 }, (_, i) => put(store, 'key', value(i), i % 3 > 0))
  await Promise.all(writes)
  t.equal(await get(store, 'key'), String(value(99)))
  await store.close()
})

t.test('a batch that no record can hold is refused, and nothing else is', async t => {
  const store = await openStore(new SimulatedDevice())
  const large = put(store, 'large', Buffer.alloc(store.log.maxRecordBytes))
  const small = put(store, 'small', '1')
  await t.rejects(large, { code: 'ERR_RIOLOG_RECORD_TOO_LARGE' })
  await small
  t.same([...(await contentOf(store)).keys()], ['small'])
  await store.close()
})

t.test('after a failed sync writes are refused, and reads go on', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device, { largeBytes: 1 })
  await put(store, 'before', 'value')
  device.interference = ({ kind }) => (kind === 'sync' ? ioError('sync') : undefined)
  const failing = put(store, 'failing', '1')
  const behind = put(store, 'behind', '1', false)
  await t.rejects(failing, { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(behind, { code: 'ERR_RIOLOG_POISONED' }, 'it waited for what failed')
  await t.rejects(put(store, 'after', '1', false), { code: 'ERR_RIOLOG_POISONED' })
  await t.rejects(store.checkpoint(), { code: 'ERR_RIOLOG_POISONED' })
  t.same([...(await contentOf(store))], [['before', 'value']])
  await t.rejects(store.close(), { code: 'ERR_RIOLOG_POISONED' })
  await store.close()
  device.interference = undefined
  const again = await openStore(device)
  t.equal(await get(again, 'before'), 'value')
  await put(again, 'after', '1')
  await again.close()
})

t.test('closing waits for what was written', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  const writes = [put(store, 'a', '1'), put(store, 'b', '1', false)]
  await store.close()
  await Promise.all(writes)
  await t.rejects(put(store, 'c', '1'), { code: 'ERR_RIOLOG_CLOSED' })
  const again = await openStore(device)
  t.same([...(await contentOf(again)).keys()], ['a', 'b'])
  await again.close()
})

t.test('what is handed out may be changed', async t => {
  const store = await openStore(new SimulatedDevice())
  const value = Buffer.from('value')
  const writing = put(store, 'key', value)
  await writing
  const found = await store.load(store.map.get('key')!)
  found.fill(0)
  t.equal(await get(store, 'key'), 'value')
  // More than share one piece of memory.
  const copies = Array.from({ length: 20_000 }, async (_, i) => {
    const copy = await store.load(store.map.get('key')!)
    copy[0] = i
    return copy
  })
  const all = await Promise.all(copies)
  t.ok(all.every((copy, i) => copy[0] === i % 256 && copy.subarray(1).equals(value.subarray(1))))
  await store.close()
})

t.test('records that this version does not know are refused, not skipped', async t => {
  const put = encodeBatch([{ type: 'put', key: 'k', value: Buffer.from('value') }])
  const future = Buffer.from(put)
  future[0]++
  const cases: [string, Buffer, string][] = [
    ['of a future version', future, 'ERR_KV_FUTURE_VERSION'],
    ['empty', Buffer.alloc(0), 'ERR_KV_CORRUPT'],
    ['cut', put.subarray(0, -1), 'ERR_KV_CORRUPT'],
    ['of an unknown kind', Buffer.of(1, 9, 0), 'ERR_KV_CORRUPT'],
    ['with a length beyond numbers', Buffer.of(1, 0, ...Array(9).fill(255), 1), 'ERR_KV_CORRUPT'],
  ]
  for (const [name, record, code] of cases) {
    const device = new SimulatedDevice()
    const log = await openSimulated(device)
    await log.appendDurable(record)
    await log.close()
    await t.rejects(openStore(device), { code }, name)
    await t.rejects(openStore(device), { code }, `${name}: the log was let go`)
  }
})

t.test(
  'a key that is not made of bytes is refused, not cut to what it would share with another',
  async t => {
    const store = await openStore(new SimulatedDevice())
    t.throws(() => put(store, '\u0141', 'L'), { code: 'ERR_KV_INVALID_KEY' })
    await put(store, 'A', 'one')
    t.throws(() => del(store, '\u0141'), { code: 'ERR_KV_INVALID_KEY' })
    t.equal(await get(store, 'A'), 'one')
    t.equal(store.map.size, 1)
    await store.close()
  },
)

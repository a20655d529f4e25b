/** What happens at the same time, and what callers do from within: nothing is doubled, lost or left behind. */
import t from 'tap'
import type { Store } from '../../examples/kv/src/index.ts'
import { OrderedMap } from '../../examples/kv/src/ordered-map.ts'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { checkpointsOn, contentOf, get, openStore, put } from './support.ts'

const CLOSED = 'ERR_RIOLOG_CLOSED'
const bytesOf = async (store: Store, key: string) => store.load(store.map.get(key)!)
const turn = () => new Promise<void>(resolve => setImmediate(resolve))

t.test('a write from within an append comes behind it, once', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  const written: Promise<void>[] = []
  // The first append of an opening moves the durable LSN.
  const stop = store.log.onDurable(() => {
    stop()
    written.push(put(store, 'key', 'newer'))
  })
  written.push(put(store, 'key', 'older'), put(store, 'other', '1'))
  await Promise.all([...written])
  await Promise.all(written)
  t.equal(String(await get(store, 'key')), 'newer')
  let records = 0
  for await (const _ of store.log.scan()) records++
  t.equal(records, 3)
  await store.close()
})

t.test('no checkpoint begins beside a close', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  const written = Array.from({ length: 50 }, (_, i) => put(store, `key ${i}`, 'x'))
  const closing = store.close()
  await t.rejects(store.checkpoint(), { code: CLOSED })
  await Promise.all([closing, ...written])
  t.same(checkpointsOn(device), [])
  await t.rejects(store.checkpoint(), { code: CLOSED })
  const again = await openStore(device)
  t.equal((await contentOf(again)).size, 50)
  await again.close()
})

t.test('a write that a close refuses is not there later', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  const told = new Map<string, Promise<boolean>>()
  const write = () => {
    const key = `key ${told.size}`
    const written = put(store, key, '1').then(
      () => true,
      error => {
        t.equal(error.code, CLOSED)
        return false
      },
    )
    told.set(key, written)
  }
  write()
  let isClosed = false
  const closing = store.close().then(() => {
    isClosed = true
  })
  while (!isClosed) {
    write()
    await turn()
  }
  await closing
  write()
  const again = await openStore(device)
  const found = await contentOf(again)
  for (const [key, written] of told) t.equal(found.has(key), await written, key)
  await again.close()
})

t.test('a value that somebody carries off takes no others along', async t => {
  const store = await openStore(new SimulatedDevice())
  await put(store, 'a', 'value of a')
  await put(store, 'b', 'value of b')
  const [a, b] = await Promise.all(['a', 'b'].map(async key => bytesOf(store, key)))
  try {
    structuredClone(a, { transfer: [a.buffer as ArrayBuffer] })
  } catch {
    // Node 20 gives a copy, later ones refuse.
  }
  t.equal(String(b), 'value of b')
  t.equal(String(await get(store, 'b')), 'value of b')
  await store.close()
})

t.test('a long value that is being read is not trimmed meanwhile', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device, {}, { segmentSize: 4 << 20 })
  const long = (fill: string) => Buffer.alloc(3_000_000, fill)
  await put(store, 'key', long('old'))
  for (let i = 0; i < 3; i++) await put(store, 'other', long(String(i)))
  let reads = 0
  device.interference = ({ kind, name }) => {
    if (kind !== 'read' || name !== '0000000000000001.seg') return undefined
    reads++
    return { kind: 'slow', milliseconds: 300 }
  }
  const reading = bytesOf(store, 'key')
  for (let i = 0; i < 3; i++) await put(store, 'key', long(String(i)))
  for (let i = 0; i < 3; i++) await put(store, 'other', long(String(i)))
  await store.checkpoint()
  t.ok((await reading).equals(long('old')))
  t.ok(reads > 0)
  device.interference = undefined
  await store.checkpoint()
  t.ok(store.log.trimLsn > 4 << 20, 'it holds the trim back for as long as it is read')
  await store.close()
})

t.test('what cannot be shown is told, and refuses writes until the next opening', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  await put(store, 'a', '1')
  const { set } = OrderedMap.prototype
  const failure = new RangeError('Array buffer allocation failed')
  OrderedMap.prototype.set = function (this: OrderedMap<unknown>, key, value) {
    if (key === 'bad') throw failure
    return set.call(this, key, value)
  }
  const writes = ['x', 'bad', 'y'].map(key => put(store, key, '1'))
  const outcomes = await Promise.allSettled(writes)
  OrderedMap.prototype.set = set
  t.same(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  )
  await t.rejects(put(store, 'z', '1'), failure)
  await t.rejects(store.checkpoint(), failure)
  t.same(checkpointsOn(device), [], 'what is in memory is not what the log says')
  t.equal(String(await get(store, 'a')), '1')
  await store.close()
  const again = await openStore(device)
  t.same([...(await contentOf(again)).keys()].sort(), ['a', 'bad', 'x', 'y'])
  await again.close()
})

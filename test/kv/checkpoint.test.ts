/** Checkpoints: what they free, what they keep, and what becomes of damaged ones. */
import t from 'tap'
import { keyOf } from '../../examples/kv/src/bytes.ts'
import { ioError } from '../../src/disk/simulated/effects.ts'
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { KIB, openSimulated } from '../support/simulated.ts'
import { checkpointsOn, contentOf, del, get, openStore, put } from './support.ts'

/** With a checkpoint after some writes, and some writes behind it. */
async function checkpointed(): Promise<{ device: SimulatedDevice; content: Map<string, string> }> {
  const device = new SimulatedDevice()
  const store = await openStore(device, { largeBytes: 100 })
  for (let i = 0; i < 20; i++) await put(store, `key ${i}`, `value ${i}`)
  await put(store, 'large', 'x'.repeat(200))
  await store.checkpoint()
  await del(store, 'key 3')
  await put(store, 'behind', '1')
  const content = await contentOf(store)
  await store.close()
  return { device, content }
}

t.test('an opening reads the checkpoint, and the log behind it', async t => {
  const { device, content } = await checkpointed()
  t.equal(checkpointsOn(device).length, 1)
  const store = await openStore(device, { largeBytes: 100 })
  t.same(await contentOf(store), content)
  await store.checkpoint()
  t.equal(checkpointsOn(device).length, 1, 'the older one is gone')
  await store.close()
  const again = await openStore(device, { largeBytes: 100 })
  t.same(await contentOf(again), content)
  await again.close()
})

t.test(
  'each byte of a checkpoint that changes is a coded error, as each length that it is cut to',
  async t => {
    const { device } = await checkpointed()
    const [name] = checkpointsOn(device)
    const whole = Buffer.from(device.bytesOf(name))
    // Frames of the simulated files: three blocks of 4 KiB, of which little is used.
    const used = [...whole.keys()].filter(at => at % 4096 < 64)
    for (const at of used) {
      const length = whole.readUInt32LE(at - (at % 4096)) + 4
      if (at % 4096 >= length) continue
      const changed = Buffer.from(whole)
      changed[at] ^= 1
      await expectDamage(changed, `byte ${at}`)
    }
    for (let at = 0; at < whole.length; at += 4096) {
      await expectDamage(whole.subarray(0, at), `cut to ${at}`)
    }

    async function expectDamage(bytes: Buffer, what: string): Promise<void> {
      const damaged = device.afterKill()
      damaged.putFile(name, bytes)
      await t.rejects(
        openStore(damaged),
        { code: /^ERR_KV_(CORRUPT|FOREIGN|FUTURE_VERSION)$/ },
        what,
      )
    }
  },
)

t.test(
  'a checkpoint that is missing, of another log, or under another name is an error',
  async t => {
    const { device } = await checkpointed()
    const [name] = checkpointsOn(device)
    const missing = device.afterKill()
    missing.removeFile(name)
    await t.rejects(openStore(missing), { code: 'ERR_KV_CORRUPT' })

    const foreign = new SimulatedDevice()
    await (await openStore(foreign)).close()
    foreign.putFile(name, device.bytesOf(name))
    await t.rejects(openStore(foreign), { code: 'ERR_KV_FOREIGN' })

    const renamed = device.afterKill()
    renamed.removeFile(name)
    const next = Number(name.slice(-16)) + 1
    renamed.putFile(`checkpoint-${String(next).padStart(16, '0')}`, device.bytesOf(name))
    await t.rejects(openStore(renamed), { code: 'ERR_KV_CORRUPT' })
  },
)

t.test('a checkpoint that knows more than its log, an older copy, is an error', async t => {
  const { device } = await checkpointed()
  const older = device.snapshot()
  const store = await openStore(device)
  await put(store, 'newer', '1')
  await store.checkpoint()
  await store.close()
  const [name] = checkpointsOn(device)
  older.putFile(name, device.bytesOf(name))
  await t.rejects(openStore(older), { code: 'ERR_KV_CORRUPT' })
})

t.test(
  'the log stays short under overwrites, though one large value is never written again',
  async t => {
    const device = new SimulatedDevice()
    const options = { largeBytes: 1000, checkpointBytes: 128 * KIB }
    let store = await openStore(device, options)
    await put(store, 'cold', 'c'.repeat(5000))
    let most = 0
    for (let i = 0; i < 1000; i++) {
      await put(store, `hot ${i % 10}`, String(i).padEnd(3000, '.'))
      const { segments } = store.log.info()
      most = Math.max(most, segments.length * 64 * KIB)
    }
    t.equal(await get(store, 'cold'), 'c'.repeat(5000))
    t.equal(await get(store, 'hot 9'), '999'.padEnd(3000, '.'))
    // 4 MiB and more were written. What may stay: three times the values, two checkpoints, two segments.
    t.ok(most <= 3 * 35 * KIB + 2 * 128 * KIB + 3 * 64 * KIB, `${most} bytes at most`)
    await store.close()
    store = await openStore(device, options)
    t.equal(await get(store, 'cold'), 'c'.repeat(5000))
    t.equal(await get(store, 'hot 0'), '990'.padEnd(3000, '.'))
    await store.close()
  },
)

t.test('values of a map that takes several turns are all kept', async t => {
  const device = new SimulatedDevice()
  const options = { largeBytes: 50, checkpointBytes: 1024 * KIB }
  const store = await openStore(device, options)
  const keyAt = (i: number) => `key ${String(i).padStart(5, '0')}`
  // The oldest is looked at in the first turn, and the last of a map that is more than one turn long.
  const count = 9000
  for (const oldest of [0, count - 1]) {
    await put(store, keyAt(oldest), 'old'.padEnd(100))
    for (let i = 0; i < count; i++) {
      if (i !== oldest) await put(store, keyAt(i), String(i).padEnd(50), i % 500 === 0)
    }
    await store.checkpoint()
    t.equal(await get(store, keyAt(oldest)), 'old'.padEnd(100))
  }
  await store.close()
})

t.test(
  'openings make a checkpoint due once their segments are as much as it is to free',
  async t => {
    const device = new SimulatedDevice()
    let most = 0
    for (let i = 0; i < 40; i++) {
      const store = await openStore(device, { checkpointBytes: 512 * KIB })
      await put(store, `key ${i}`, 'value')
      most = Math.max(most, store.log.info().segments.length)
      if (i === 4) t.same(checkpointsOn(device), [], 'not by a few of them')
      await store.close()
    }
    t.equal(checkpointsOn(device).length, 1)
    t.ok(most <= 12, `${most} segments of 64 KiB`)
    const store = await openStore(device)
    t.equal((await contentOf(store)).size, 40)
    await store.close()
  },
)

t.test('short writes that are each synced take a block each, and are counted so', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device, { checkpointBytes: 64 * KIB })
  let puts = 0
  while (checkpointsOn(device).length === 0) await put(store, `key ${puts++ % 10}`, 'value')
  t.ok(puts <= 40, `${puts} puts of 4 KiB each`)
  await store.close()
})

t.test(
  'values that fit into no record together are moved one by one, and the log stays short',
  async t => {
    const device = new SimulatedDevice()
    const store = await openStore(device, { checkpointBytes: 64 * KIB })
    for (let i = 0; i < 30; i++) await put(store, `cold ${i}`, Buffer.alloc(5000, 'c'))
    t.ok(store.log.maxRecordBytes < 30 * 5000)
    for (let i = 0; i < 400; i++) {
      await put(store, 'hot', Buffer.alloc(5000, String(i)))
      if (i % 20 === 19) await store.checkpoint()
    }
    const { segments } = store.log.info()
    t.ok(segments.length < 30, `${segments.length} segments of 64 KiB`)
    for (let i = 0; i < 30; i++) t.equal((await get(store, `cold ${i}`))?.length, 5000)
    await store.close()
  },
)

t.test(
  'the longest value that is taken can be moved, and the log is trimmed behind it',
  async t => {
    const device = new SimulatedDevice()
    const store = await openStore(device, { checkpointBytes: 64 * KIB, largeBytes: 1000 })
    const key = 'cold'
    // Version, kind, length of the key, the key, length of the value; and eight bytes for where it came from.
    const longest = store.log.maxRecordBytes - (1 + 1 + 1 + key.length + 3) - 8
    const tooLong = put(store, key, Buffer.alloc(longest + 1))
    await t.rejects(tooLong, { code: 'ERR_RIOLOG_RECORD_TOO_LARGE' })
    await put(store, key, Buffer.alloc(longest, 'c'))
    const lsnOf = () => (store.map.get(keyOf(Buffer.from(key))) as { lsn: number }).lsn
    const lsn = lsnOf()
    for (let i = 0; i < 400; i++) {
      await put(store, 'hot', Buffer.alloc(5000, String(i)))
      if (i % 20 === 19) await store.checkpoint()
    }
    t.ok(lsnOf() > lsn, 'it was moved')
    t.ok(store.log.trimLsn > lsn)
    t.equal((await get(store, key))?.length, longest)
    await store.close()
  },
)

t.test('a checkpoint that is due when the store is opened waits for the replay', async t => {
  const device = new SimulatedDevice()
  const first = await openStore(device, { largeBytes: 100 })
  await put(first, 'cold', 'c'.repeat(3000))
  // Many segments, so that a replay takes many turns, in which there is something to move already.
  for (let i = 0; i < 1000; i++) {
    await put(first, `key ${i % 10}`, String(i).padEnd(3000), i % 50 === 0)
  }
  const content = await contentOf(first)
  await first.close()
  const second = await openStore(device, { largeBytes: 100, checkpointBytes: 8 * KIB })
  t.same(await contentOf(second), content)
  await second.close()
  t.equal(checkpointsOn(device).length, 1)
  const third = await openStore(device, { largeBytes: 100 })
  t.same(await contentOf(third), content)
  await third.close()
})

t.test('a view reads its values whatever is written, moved and trimmed since', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device, { largeBytes: 100, checkpointBytes: 64 * KIB })
  await put(store, 'key', 'old'.padEnd(1000))
  const view = store.view()
  for (let i = 0; i < 500; i++) await put(store, 'key', 'new'.padEnd(1000))
  await store.checkpoint()
  const old = view.map.get('key')!
  t.equal(String(await store.load(old)), 'old'.padEnd(1000))
  t.equal(store.log.trimLsn, 0)
  view.close()
  await store.checkpoint()
  t.ok(store.log.trimLsn > 0, 'what the view held back is free')
  await t.rejects(async () => store.load(old), { code: 'ERR_RIOLOG_TRIMMED' })
  await store.close()
})

t.test('a move does not undo what was written meanwhile', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device, { largeBytes: 100, checkpointBytes: 1024 * KIB })
  const key = 'key'
  await put(store, 'key', 'old'.padEnd(200))
  const { lsn } = store.map.get(key) as { lsn: number }
  const value = Buffer.from('old'.padEnd(200))
  const writing = put(store, 'key', 'new'.padEnd(200))
  // Behind the put in the log, though it was not yet visible when the move was decided on.
  await store.write([{ type: 'move', key, from: lsn, value }], true)
  await writing
  t.equal(await get(store, 'key'), 'new'.padEnd(200))
  await store.close()
  const again = await openStore(device, { largeBytes: 100 })
  t.equal(await get(again, 'key'), 'new'.padEnd(200))
  await again.close()
})

t.test('writes go on while a checkpoint is written, and are not in it', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  for (let i = 0; i < 300; i++) await put(store, `key ${i}`, 'x'.repeat(1000), i % 50 === 0)
  const checkpoint = store.checkpoint()
  let isDone = false
  checkpoint.then(() => (isDone = true))
  let meanwhile = 0
  for (; !isDone; meanwhile++) await put(store, `key ${meanwhile}`, 'new')
  t.ok(meanwhile > 1, `${meanwhile} writes meanwhile`)
  t.ok((await checkpoint) < store.log.durableLsn)
  const content = await contentOf(store)
  await store.close()
  const again = await openStore(device)
  t.same(await contentOf(again), content)
  await again.close()
})

t.test('a checkpoint does not say what the log cannot prove yet', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device)
  await put(store, 'durable', '1')
  // The log's disk answers nothing any more; what is visible without a sync is in memory only.
  const isLogs = (name: string) => !name.startsWith('checkpoint')
  device.interference = ({ kind, name }) =>
    kind === 'write' && isLogs(name) ? { kind: 'stuck' } : undefined
  await put(store, 'loose', '1', false)
  void store.checkpoint()
  for (let turns = 0; turns < 100; turns++) await new Promise(resolve => setImmediate(resolve))
  t.equal(await get(store, 'loose'), '1')
  t.same(checkpointsOn(device), [])
})

t.test('a checkpoint that cannot be written is told, and the store goes on', async t => {
  const device = new SimulatedDevice()
  const store = await openStore(device, { checkpointBytes: 64 * KIB })
  device.interference = ({ kind, name }) =>
    kind === 'write' && name === 'checkpoint.tmp' ? ioError('write') : undefined
  const warned = new Promise<Error>(resolve => process.once('warning', resolve))
  for (let i = 0; i < 100; i++) await put(store, `key ${i}`, 'x'.repeat(1000))
  t.match(await warned, { code: 'RIOLOG_KV_CHECKPOINT' })
  t.equal(store.log.trimLsn, 0)
  device.interference = undefined
  for (let i = 0; i < 100; i++) await put(store, `key ${i}`, 'x'.repeat(1000))
  await store.checkpoint()
  t.ok(store.log.trimLsn > 0, 'the next one was written')
  await store.close()
})

t.test('a log that is trimmed but was never a store is not one', async t => {
  const device = new SimulatedDevice()
  const log = await openSimulated(device)
  const lsn = await log.appendDurable(Buffer.from('1'))
  await log.trim(lsn + 1)
  await log.close()
  await t.rejects(openStore(device), { code: 'ERR_KV_CORRUPT' })
})

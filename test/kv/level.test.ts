/** The store as a Level database on a real disk: what abstract-level's suite does not ask. */
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RiologLevel, type RiologLevelOptions } from '../../examples/kv/src/index.ts'
import { temporaryDirectory } from '../support/engines.ts'

const SMALL = { logOptions: { segmentSize: 1 << 20 } }
const LOOSE = { sync: false } as object

function open(directory: string, options: RiologLevelOptions<string, string> = {}) {
  return new RiologLevel(directory, { ...SMALL, ...options })
}

t.test(
  'what was written is there after an opening, from checkpoint and log, sublevels too',
  async t => {
    const directory = temporaryDirectory(t)
    const db = open(directory)
    await db.put('before', '1')
    await db.sublevel('sub').put('key', 'x'.repeat(10_000))
    await db.checkpoint()
    await db.batch().put('behind', '2').del('before').write()
    await db.put('loose', '3', LOOSE)
    await db.close()
    const [checkpoint, ...others] = readdirSync(directory).filter(name => name !== 'log')
    t.same(others, [])
    t.equal(statSync(join(directory, checkpoint)).mode & 0o777, 0o600)
    writeFileSync(join(directory, 'checkpoint.tmp'), 'what a crash has left')

    const again = open(directory, { createIfMissing: false })
    t.same(await again.getMany(['before', 'behind', 'loose']), [undefined, '2', '3'])
    t.equal(await again.sublevel('sub').get('key'), 'x'.repeat(10_000))
    t.same(readdirSync(directory).sort(), [checkpoint, 'log'])
    await again.close()
  },
)

t.test('checkpoints come by themselves, while iterators see what they began with', async t => {
  const directory = temporaryDirectory(t)
  const db = open(directory, { checkpointBytes: 64 * 1024, largeBytes: 500 })
  await db.put('key 0', 'first'.repeat(200))
  const iterator = db.iterator()
  const snapshot = db.snapshot()
  for (let i = 0; i < 400; i++) await db.put(`key ${i % 7}`, `${i} `.repeat(300), LOOSE)
  await db.checkpoint()
  t.same(await iterator.all(), [['key 0', 'first'.repeat(200)]])
  t.equal(await db.get('key 0', { snapshot }), 'first'.repeat(200))
  t.same(await db.keys({ snapshot }).all(), ['key 0'])
  await snapshot.close()
  t.equal((await db.values({ reverse: true, limit: 1 }).all())[0], '398 '.repeat(300))
  t.ok(readdirSync(directory).length >= 2)
  await db.close()
})

t.test('clear deletes more than one record can sensibly hold, and only its range', async t => {
  const db = open(temporaryDirectory(t), { sync: false })
  const keys = Array.from({ length: 2500 }, (_, i) => String(i).padStart(4, '0'))
  await db.batch(keys.map(key => ({ type: 'put', key, value: '' })))
  await db.clear({ gte: '0100', lt: '2400' })
  t.equal((await db.keys().all()).length, 200)
  await db.clear({ reverse: true, limit: 150 })
  t.same(await db.keys({ reverse: true, limit: 1 }).all(), ['0049'])
  await db.close()
})

t.test('one process at a time; a wrong option and a missing store are told', async t => {
  const directory = temporaryDirectory(t)
  const db = open(directory)
  await db.open()
  const cause = async (options: RiologLevelOptions<string, string>, path = directory) => {
    const other = open(path, { logOptions: { lockWaitMs: 0 }, ...options })
    const error = await other.open().catch(error => error)
    t.equal(error.code, 'LEVEL_DATABASE_NOT_OPEN')
    return error.cause.code
  }
  t.equal(await cause({}), 'ERR_RIOLOG_LOCKED')
  t.equal(await cause({ errorIfExists: true }), 'ERR_KV_EXISTS')
  t.equal(await cause({ createIfMissing: false }, join(directory, 'none')), 'ERR_KV_NOT_FOUND')
  t.equal(await cause({ largeBytes: 0 }), 'ERR_KV_INVALID_OPTION')
  await db.close()
  await t.rejects(db.put('key', ''), { code: 'LEVEL_DATABASE_NOT_OPEN' })
  await db.open()
  await db.put('key', 'reopened')
  await db.close()
})

t.test('an encoding of the caller may give any Uint8Array', async t => {
  const db = open(temporaryDirectory(t))
  const keyEncoding = {
    name: 'numbers',
    format: 'buffer',
    encode: (numbers: number[]) => Uint8Array.from(numbers),
    decode: (bytes: Buffer) => [...bytes],
  } as const
  await db.put([7, 200] as never, 'value', { keyEncoding } as never)
  t.equal(await db.get([7, 200] as never, { keyEncoding } as never), 'value')
  t.same(await db.keys({ keyEncoding: 'buffer' } as never).all(), [Buffer.from([7, 200])])
  await db.close()
})

t.test('strings and bytes are the same keys and values, in the order of the bytes', async t => {
  const directory = temporaryDirectory(t)
  const db = open(directory)
  const keys = ['', 'a', 'a\0', 'z', '\x7f', '\x80', 'ä', '€', '\uffee', '😀']
  const ofBytes = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const
  await db.put('a', 'the first')
  await db.batch(keys.map(key => ({ type: 'put', key, value: `${key}=` }) as const))
  const large = '€'.repeat(5000)
  await db.put('large', large)
  const check = async (db: RiologLevel<string, string>) => {
    t.same(await db.keys({ lt: 'b' }).all(), ['', 'a', 'a\0'])
    t.same(
      (await db.keys().all()).filter(key => key !== 'large'),
      keys,
    )
    t.same(await db.keys({ gte: 'ä', reverse: true }).all(), ['😀', '\uffee', '€', 'ä'])
    const iterator = db.iterator()
    iterator.seek('€')
    t.same(await iterator.next(), ['€', '€='])
    await iterator.close()
    for (const key of keys) {
      t.equal(await db.get(key), `${key}=`)
      const bytes = Buffer.from(key)
      t.same(await db.get<Buffer, Buffer>(bytes, ofBytes), Buffer.from(`${key}=`))
    }
    const range = { ...ofBytes, gt: Buffer.from('ä'), lt: Buffer.from('😀') }
    t.same(await db.keys<Buffer>(range).all(), [Buffer.from('€'), Buffer.from('\uffee')])
    t.same(await db.getMany(['large', 'not there']), [large, undefined])
    t.same(await db.values({ gte: 'large', lte: 'large' }).all(), [large])
  }
  await check(db)
  await db.close()
  const again = open(directory)
  await check(again)
  await again.put<Buffer, Buffer>(Buffer.from('ä'), Buffer.from('new'), ofBytes)
  t.equal(await again.get('ä'), 'new')
  await again.del('ä')
  t.equal(await again.get<Buffer, Buffer>(Buffer.from('ä'), ofBytes), undefined)
  // Not UTF-8: as strings such bytes are told by a replacement character, as everywhere in Node.
  await again.put<Buffer, Buffer>(Buffer.of(0xff, 0), Buffer.of(0xfe), ofBytes)
  t.same(await again.iterator({ gt: '😀' }).all(), [['\ufffd\0', '\ufffd']])
  await again.close()
})

t.test('a checkpoint may be asked for before the store is open', async t => {
  const db = open(temporaryDirectory(t))
  t.type(await db.checkpoint(), 'number')
  await db.close()
})

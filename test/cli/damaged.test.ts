/** dump, stats, salvage and verify --deep, of whole logs and of damaged ones. */
import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log } from '../../src/index.ts'
import { COPY_AT } from '../../src/log/segments/manifest.ts'
import { type Test, temporaryDirectory } from '../support/engines.ts'
import { jsonOf, linesOf, type Ran, riolog } from './command.ts'

const SIZE = 64 * 1024
const RECORDS = 30
const payload = (i: number) => Buffer.from(`record ${i} `.padEnd(6000, `${i}`))

/** A log over several segments, from two openings; `cutOff`: as its writer left it when it was killed. */
async function makeLog(t: Test, cutOff = false): Promise<{ dir: string; lsns: number[] }> {
  const dir = join(temporaryDirectory(t), 'log')
  const lsns: number[] = []
  let log = await Log.open(dir, { segmentSize: SIZE, idleStampMs: 0 })
  for (let i = 0; i < RECORDS; i++) {
    if (i === 10) {
      await log.close()
      log = await Log.open(dir, { segmentSize: SIZE, idleStampMs: 0 })
    }
    lsns.push(await log.appendDurable(payload(i)))
  }
  if (cutOff) cpSync(dir, `${dir}.copy`, { recursive: true })
  await log.close()
  return { dir: cutOff ? `${dir}.copy` : dir, lsns }
}

function change(dir: string, name: string, at: number, to?: Buffer): void {
  const bytes = readFileSync(join(dir, name))
  if (to === undefined) bytes[at] ^= 1
  else to.copy(bytes, at)
  writeFileSync(join(dir, name), bytes)
}

const fileOf = (lsn: number) => `${String(Math.floor(lsn / SIZE)).padStart(16, '0')}.seg`

async function dataOf(dir: string): Promise<string[]> {
  const log = await Log.open(dir, { readOnly: true })
  const found: string[] = []
  for await (const { data } of log.scan()) found.push(data.toString())
  await log.close()
  return found
}

function snapshotOf(dir: string): Map<string, string> {
  return new Map(readdirSync(dir).map(name => [name, readFileSync(join(dir, name), 'latin1')]))
}

const jsonLines = (ran: Ran) => linesOf(ran.stdout).map(line => JSON.parse(line))

/** Salvages, and says which records came over, and what was told. */
async function salvage(t: Test, dir: string) {
  const to = join(temporaryDirectory(t), 'new')
  const before = snapshotOf(dir)
  const ran = await riolog(['salvage', dir, '--to', to, '--json'])
  t.same(snapshotOf(dir), before, 'nothing is written to the source')
  const told = jsonOf(ran) as {
    ok: boolean
    records: number
    holes: { segment: number; offset: number; from: number; to: number }[]
  }
  const found = await dataOf(to)
  t.equal(told.records, found.length)
  return { code: ran.code, told, found }
}

const without = (...gone: number[]) =>
  Array.from({ length: RECORDS }, (_, i) => i)
    .filter(i => !gone.includes(i))
    .map(i => payload(i).toString())

t.test('records longer than a group, compressed ones, and a hole in one of them', async t => {
  const dir = join(temporaryDirectory(t), 'log')
  const log = await Log.open(dir, { segmentSize: 16 << 20, idleStampMs: 0, compression: 'deflate' })
  const long = [randomBytes(3_000_000), Buffer.alloc(2_500_000, 'again '), randomBytes(2_200_000)]
  const lsns: number[] = []
  for (const data of long) lsns.push(await log.appendDurable(data))
  await log.close()
  const dumped = jsonLines(await riolog(['dump', dir, '--json'])).filter(l => l.kind === 'record')
  const first = dumped.filter(({ lsn }) => lsn >= lsns[0] && lsn < lsns[1])
  t.same(
    first.map(({ stored }) => stored),
    [['goes on'], ['goes on', 'continuation'], ['continuation']],
  )
  t.same(dumped.find(({ lsn }) => lsn === lsns[1]).stored, ['compressed'])
  t.equal(jsonOf(await riolog(['stats', dir, '--json'])).records, 3)
  const whole = await salvage(t, dir)
  t.equal(whole.code, 0)
  t.same(
    whole.found.map(data => data.length),
    long.map(data => data.toString().length),
  )
  t.ok(whole.found.every((data, i) => data === long[i].toString()))

  // In the middle of the first: it is gone as a whole, and nothing is made of its rest.
  const at = first[1].lsn % (16 << 20)
  change(dir, `${String(Math.floor(lsns[0] / (16 << 20))).padStart(16, '0')}.seg`, at + 1000)
  const holed = await salvage(t, dir)
  t.equal(holed.code, 1)
  t.equal(holed.told.holes.length, 1)
  t.ok(holed.found.length === 2 && holed.found.every((data, i) => data === long[i + 1].toString()))
})

t.test('a whole log', async t => {
  const { dir, lsns } = await makeLog(t)
  const dumped = jsonLines(await riolog(['dump', dir, '--json']))
  const kinds = (kind: string) => dumped.filter(line => line.kind === kind)
  t.same(
    kinds('record').map(({ lsn, data }) => [lsn, Buffer.from(data, 'base64').toString()]),
    lsns.map((lsn, i) => [lsn, payload(i).toString()]),
  )
  t.equal(kinds('group').length, RECORDS + 2, 'and two link groups')
  t.ok(kinds('segment').length >= 4)
  t.same([kinds('manifest').length, kinds('hole').length, kinds('end').length], [1, 0, 1])

  const some = jsonLines(
    await riolog(['dump', dir, '--json', '--from', `${lsns[4]}`, '--to', `${lsns[6]}`]),
  )
  const shown = some.filter(({ kind }) => kind === 'record').map(({ lsn }) => lsn)
  t.same(shown, lsns.slice(4, 6))
  const text = linesOf((await riolog(['dump', dir])).stdout)
  t.equal(text.length, dumped.length, 'one line each')
  t.match(
    text.find(line => line.includes('record 7 ')),
    /^ {4}record LSN \d+, 6000 bytes "record 7 /,
  )

  const deep = await riolog(['verify', dir, '--deep', '--json'])
  t.equal(deep.code, 0)
  t.match(jsonOf(deep), { ok: true, deep: { records: RECORDS, groups: RECORDS + 2 } })

  const stats = jsonOf(await riolog(['stats', dir, '--json'])) as {
    records: number
    writtenBytes: number
    overhead: number
    segments: { records: number }[]
  }
  const writtenBytes = RECORDS * 8192 + 2 * 4096
  t.match(stats, {
    ok: true,
    records: RECORDS,
    recordBytes: RECORDS * 6000,
    holes: 0,
    writtenBytes,
  })
  t.equal(stats.overhead, 1 - (RECORDS * 6000) / writtenBytes)
  t.equal(
    stats.segments.reduce((sum, { records }) => sum + records, 0),
    RECORDS,
  )
  const table = String((await riolog(['stats', dir])).stdout)
  t.match(table, /records: +30\n[\s\S]*\n *segment +file +groups +records +bytes +overhead\n/)

  const { code, told, found } = await salvage(t, dir)
  t.same([code, told.ok, told.holes], [0, true, []])
  t.same(found, without())
})

t.test('a byte in a middle group', async t => {
  const { dir, lsns } = await makeLog(t)
  change(dir, fileOf(lsns[5]), (lsns[5] % SIZE) + 500)
  t.equal((await riolog(['verify', dir])).code, 1)
  const { code, told, found } = await salvage(t, dir)
  t.same(found, without(5))
  const [from, segment] = [lsns[5] - 64, Math.floor(lsns[5] / SIZE)]
  t.match(told.holes, [{ segment, offset: from % SIZE, from, to: from + 8192 }])
  t.same([code, told.ok], [1, false])
  const dumped = await riolog(['dump', dir, '--json'])
  t.equal(dumped.code, 1)
  t.equal(jsonLines(dumped).filter(({ kind }) => kind === 'record').length, RECORDS - 1)
  t.match(jsonLines(dumped).at(-1), { ok: false, code: 'ERR_RIOLOG_CORRUPT', lsn: from })
  const stats = await riolog(['stats', dir, '--json'])
  const told2 = { ok: false, code: 'ERR_RIOLOG_CORRUPT', holes: 1, records: RECORDS - 1 }
  t.match(jsonOf(stats), told2)
  t.equal(stats.code, 1)
})

t.test('what was trimmed and damaged: only verify --deep tells', async t => {
  const { dir, lsns } = await makeLog(t)
  await riolog(['trim', dir, `${lsns[3]}`])
  change(dir, fileOf(lsns[0]), (lsns[0] % SIZE) + 500)
  t.equal((await riolog(['verify', dir])).code, 0)
  const deep = await riolog(['verify', dir, '--deep', '--json'])
  t.equal(deep.code, 1)
  t.match(jsonOf(deep), { ok: false, code: 'ERR_RIOLOG_CORRUPT', lsn: lsns[0] - 64 })
})

t.test('a missing segment in the middle', async t => {
  const { dir, lsns } = await makeLog(t)
  const segment = Math.floor(lsns[16] / SIZE)
  const gone = lsns.flatMap((lsn, i) => (Math.floor(lsn / SIZE) === segment ? [i] : []))
  unlinkSync(join(dir, fileOf(lsns[16])))
  const { code, told, found } = await salvage(t, dir)
  t.same(found, without(...gone))
  t.match(told.holes, [{ segment, offset: 0, from: segment * SIZE }])
  t.ok(told.holes[0].to > lsns[gone.at(-1)!])
  t.equal(code, 1)
  t.equal((await riolog(['verify', dir, '--deep'])).code, 1)
})

t.test('a torn tail is no loss', async t => {
  const { dir, lsns } = await makeLog(t, true)
  change(dir, fileOf(lsns[29]), (lsns[29] % SIZE) + 4032, Buffer.alloc(4096))
  const { code, told, found } = await salvage(t, dir)
  t.same(found, without(29))
  t.same([code, told.holes], [0, []])
  const last = jsonLines(await riolog(['dump', dir, '--json'])).at(-1)
  t.match(last, { kind: 'end', isTorn: true, lsn: lsns[29] - 64 })
  // And with a group behind it that is whole, it is.
  change(dir, fileOf(lsns[28]), (lsns[28] % SIZE) + 40)
  const more = await salvage(t, dir)
  t.same(more.found, without(28, 29), 'nothing proves what was the last')
})

t.test('a damaged copy of the manifest, and both', async t => {
  const { dir } = await makeLog(t)
  change(dir, 'MANIFEST', COPY_AT[0] + 40)
  const one = await salvage(t, dir)
  t.same([one.code, one.told.holes], [0, []])
  t.same(one.found, without())
  change(dir, 'MANIFEST', COPY_AT[1] + 40)
  t.equal((await riolog(['cat', dir])).code, 1)
  const both = await salvage(t, dir)
  t.same(both.found, without(), 'all of it')
  t.match(both.told, { ok: false, manifest: 'no copy verifies', holes: [] })
  t.equal(both.code, 1, 'nothing tells where it ended')
  const dumped = await riolog(['dump', dir, '--json'])
  t.match(jsonLines(dumped)[0], { kind: 'manifest', problem: 'no copy verifies' })
  t.equal(dumped.code, 1)
  t.equal((await riolog(['stats', dir])).code, 1)
  unlinkSync(join(dir, 'MANIFEST'))
  t.same((await salvage(t, dir)).found, without())
})

t.test('salvage writes into no log that is there, and the commands say what they take', async t => {
  const { dir } = await makeLog(t)
  const to = join(temporaryDirectory(t), 'used')
  await (await Log.open(to, { segmentSize: SIZE })).close()
  const cases: [string[], number, string][] = [
    [['salvage', dir, '--to', to], 1, 'ERR_RIOLOG_FENCED'],
    [['salvage', dir, '--to', dir], 1, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['salvage', dir], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['salvage', `${dir}/none`, '--to', `${to}2`], 1, 'ERR_RIOLOG_NO_LOG'],
    [['dump', `${dir}/none`], 1, 'ERR_RIOLOG_NO_LOG'],
    [['stats', temporaryDirectory(t)], 1, 'ERR_RIOLOG_NO_LOG'],
    [['dump', dir, '--from', 'x'], 2, 'ERR_RIOLOG_INVALID_ARGUMENT'],
    [['dump', join(dir, 'MANIFEST')], 1, 'ERR_RIOLOG_NOT_A_DIRECTORY'],
  ]
  for (const [args, exitCode, code] of cases) {
    const ran = await riolog([...args, '--json'])
    t.equal(ran.code, exitCode)
    t.match(jsonOf(ran), { ok: false, code: new RegExp(`^${code}`) })
  }
  t.notOk(existsSync(`${to}2`), 'nothing is made for a log that is not there')
  for (const command of ['dump', 'stats', 'salvage', 'verify']) {
    const help = await riolog([command, '--help'])
    t.equal(help.code, 0)
    t.match(String(help.stdout), /--json/)
  }
})

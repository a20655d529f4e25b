import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { courseOf } from '../../src/cli/verify.ts'
import { Log } from '../../src/index.ts'
import { type Test, temporaryDirectory } from '../support/engines.ts'
import { jsonOf, linesOf, riolog, start } from './command.ts'

/** A closed log of these records; each inner list is an opening, and so a segment, of its own. */
async function logOf(t: Test, ...openings: string[][]): Promise<{ dir: string; lsns: number[] }> {
  const dir = temporaryDirectory(t)
  const lsns: number[] = []
  for (const records of openings) {
    await using log = await Log.open(dir, { segmentSize: 2 ** 20 })
    for (const record of records) lsns.push(await log.appendDurable(Buffer.from(record)))
  }
  return { dir, lsns }
}

/** Flips one bit of the byte where the text lies in a segment file. */
function damage(dir: string, text: string): { name: string; offset: number } {
  for (const name of readdirSync(dir).filter(name => name.endsWith('.seg'))) {
    const bytes = readFileSync(join(dir, name))
    const offset = bytes.indexOf(text)
    if (offset === -1) continue
    bytes[offset] ^= 1
    writeFileSync(join(dir, name), bytes)
    return { name, offset }
  }
  throw new Error(`no segment file holds ${text}`)
}

t.test('cat --from begins at the record of that LSN, or at the next', async t => {
  const { dir, lsns } = await logOf(t, ['first', 'second'], ['third'])
  const from = async (lsn: number) =>
    linesOf((await riolog(['cat', dir, '--from', String(lsn)])).stdout)
  t.same(await from(0), ['first', 'second', 'third'])
  t.same(await from(lsns[1]), ['second', 'third'])
  t.same(await from(lsns[1] + 1), ['third'])
  t.same(await from(lsns[2] + 1), [])
})

t.test('cat --json tells LSN, length and data', async t => {
  const { dir, lsns } = await logOf(t, ['', 'a\nb\xff'])
  const { stdout, code } = await riolog(['cat', dir, '--json'])
  const data = Buffer.from('a\nb\xff')
  t.same(
    linesOf(stdout).map(line => JSON.parse(line)),
    [
      { lsn: lsns[0], length: 0, data: '' },
      { lsn: lsns[1], length: data.length, data: data.toString('base64') },
    ],
  )
  t.equal(code, 0)
})

t.test('cat ends quietly when its reader leaves', async t => {
  const { dir } = await logOf(t, Array(24).fill('x'.repeat(500_000)))
  const child = start('cat', dir)
  await once(child.stdout, 'readable')
  child.stdout.destroy()
  const [stderr, [code]] = await Promise.all([
    child.stderr.setEncoding('utf8').toArray(),
    once(child, 'close'),
  ])
  t.equal(stderr.join('').replace(/^riolog: warning: .*\n/, ''), '')
  t.equal(code, 0)
})

t.test('verify counts a good log', async t => {
  const { dir } = await logOf(t, ['first', 'second'], ['third'])
  const { durableLsn } = jsonOf(await riolog(['info', dir, '--json']))
  const told = { ok: true, verdict: 'clean end', records: 3, bytes: 16, durableLsn }
  const ran = await riolog(['verify', dir, '--json'])
  t.same(jsonOf(ran), told)
  t.equal(ran.code, 0)
  const { stdout } = await riolog(['verify', dir])
  t.match(
    String(stdout),
    new RegExp(
      `^verdict: +good \\(clean end\\)\\nrecords: +3\\nbytes: +16 .*\\n` +
        `durable LSN: +${durableLsn}\\n$`,
    ),
  )
})

t.test('verify tells where a log is corrupt; cat gives what lies before', async t => {
  const { dir, lsns } = await logOf(t, ['first', 'second'], ['third', 'needle', 'last'])
  const segments = jsonOf(await riolog(['info', dir, '--json'])).segments as {
    number: number
    firstLsn: number
  }[]
  const { name, offset } = damage(dir, 'needle')
  const segment = Number.parseInt(name, 10)
  const ran = await riolog(['verify', dir, '--json'])
  const told = jsonOf(ran) as { segment: number; offset: number; lsn: number }
  t.match(told, { ok: false, code: 'ERR_RIOLOG_CORRUPT', message: String, segment })
  t.equal(told.offset, offset - (offset % 4096), 'the group that holds the damage')
  const { firstLsn } = segments.find(one => one.number === segment)!
  t.equal(told.lsn - told.offset, firstLsn - 4096, 'LSN and offset name the same place')
  t.ok(told.lsn <= lsns[3] && told.lsn > lsns[2], 'past the good, not past the damaged record')
  t.match(ran.stderr, [/^riolog: .* \(ERR_RIOLOG_CORRUPT\)$/])
  t.equal(ran.code, 1)

  const inWords = await riolog(['verify', dir])
  const { lsn } = told
  t.match(
    String(inWords.stdout),
    new RegExp(
      `^verdict: +corrupt\\nsegment: +${segment}\\noffset: +${told.offset}\\nLSN: +${lsn}\\n$`,
    ),
  )
  t.equal(inWords.code, 1)

  const given = await riolog(['cat', dir])
  t.same(linesOf(given.stdout), ['first', 'second', 'third'])
  t.equal(given.code, 1)
})

t.test('info shows what the log is made of', async t => {
  const { dir } = await logOf(t, ['first'], ['second'])
  await using log = await Log.open(dir, { readOnly: true })
  const info = JSON.parse(JSON.stringify(log.info()))
  for (const segment of info.segments) segment.metadata = ''
  const ran = await riolog(['info', dir, '--json'])
  t.same(jsonOf(ran), { ok: true, ...info })
  const { stdout, code } = await riolog(['info', dir])
  const lines = linesOf(stdout)
  t.match(lines[0], new RegExp(`^path: +${dir}$`))
  t.ok(lines.includes(`segment size:   ${2 ** 20} (1 MiB)`), 'the segment size')
  t.ok(lines.includes(`durable LSN:    ${info.durableLsn}`), 'the durable LSN')
  const table = lines.slice(lines.indexOf('') + 2).map(line => line.trim().split(/ {2,}/))
  t.same(
    table.map(([number, firstLsn]) => [Number(number), Number(firstLsn)]),
    info.segments.map((one: { number: number; firstLsn: number }) => [one.number, one.firstLsn]),
  )
  t.equal(table.length, 2)
  t.equal(code, 0)
})

t.test('info shows the metadata of each segment, and lets none of it steer a terminal', async t => {
  const dir = temporaryDirectory(t)
  const given = [Buffer.from('shard 7'), Buffer.from('\u001b[2Jünder'), Buffer.alloc(0)]
  for (const metadata of given) {
    const log = await Log.open(dir, { metadata })
    await log.appendDurable(Buffer.from('one'))
    await log.close()
  }
  const { segments } = jsonOf(await riolog(['info', dir, '--json'])) as {
    segments: { metadata: string }[]
  }
  t.same(
    segments.map(({ metadata }) => metadata),
    given.map(metadata => metadata.toString('base64')),
  )
  const lines = linesOf((await riolog(['info', dir])).stdout)
  t.match(lines.at(-4), /metadata$/)
  t.match(lines.at(-3), /shard 7$/)
  t.match(lines.at(-2), new RegExp(`base64:${given[1].toString('base64')}$`))
})

t.test('the course of verify runs over the files, not over the gaps between them', async t => {
  const { dir, lsns } = await logOf(t, ['first'], ['second'])
  await using log = await Log.open(dir, { readOnly: true })
  const info = log.info()
  const course = courseOf(info)
  const [one, two] = info.segments
  t.equal(course.before(one.firstLsn), 0)
  t.equal(course.before(two.firstLsn), one.fileBytes - info.alignment)
  t.ok(course.before(lsns[1]) > course.before(two.firstLsn))
  t.ok(course.before(course.end) > course.before(lsns[1]))
  t.equal(courseOf({ ...info, trimLsn: two.firstLsn }).before(two.firstLsn), 0)
})

t.test('tail follows a writer, record by record', async t => {
  const { dir } = await logOf(t, ['first', 'second'])
  await using log = await Log.open(dir, { idleStampMs: 5 })
  const child = start('tail', dir)
  let output = ''
  child.stdout.on('data', data => (output += data))
  const shows = async (text: string) => {
    while (output !== text) await once(child.stdout, 'data')
  }
  await shows('first\nsecond\n')
  await log.appendDurable(Buffer.from('third'))
  await shows('first\nsecond\nthird\n')
  child.kill('SIGINT')
  const [code, signal] = await once(child, 'close')
  t.equal(signal ?? code, 'SIGINT')
})

t.test('trim gives up the front; a log in use and one that is not there are refused', async t => {
  const { dir, lsns } = await logOf(t, ['first', 'second'], ['third'])
  const trimmed = await riolog(['trim', dir, String(lsns[1]), '--json'])
  t.equal(trimmed.code, 0)
  t.match(jsonOf(trimmed), { ok: true, trimLsn: lsns[1] })
  t.same(linesOf((await riolog(['cat', dir])).stdout), ['second', 'third'])
  const beyond = await riolog(['trim', dir, String(2 ** 50), '--json'])
  t.match(jsonOf(beyond), { ok: false, code: 'ERR_RIOLOG_INVALID_ARGUMENT' })
  const missing = await riolog(['trim', `${dir}/none`, '1', '--json'])
  t.match(jsonOf(missing), { ok: false, code: 'ERR_RIOLOG_NO_LOG' })
  await using log = await Log.open(dir)
  t.equal(log.trimLsn, lsns[1])
  const used = await riolog(['trim', dir, '1', '--json'])
  t.match(jsonOf(used), { ok: false, code: 'ERR_RIOLOG_LOCKED' })
})

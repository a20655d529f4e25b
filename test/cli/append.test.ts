import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { appendEach } from '../../src/cli/append.ts'
import { frame } from '../../src/cli/framing.ts'
import { Tally } from '../../src/cli/progress.ts'
import { RiologError } from '../../src/errors.ts'
import { Log } from '../../src/index.ts'
import { temporaryDirectory } from '../support/engines.ts'
import { finish, jsonOf, linesOf, riolog, start } from './command.ts'

/** Every byte value, empty records, and records longer than a pipe's chunk. */
function awkwardRecords(mayHoldNewlines: boolean): Buffer[] {
  const allBytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const bytes = mayHoldNewlines ? allBytes : allBytes.filter(byte => byte !== 0x0a)
  const long = Buffer.alloc(200_000, bytes)
  const empty = Buffer.alloc(0)
  const many = Array.from({ length: 5000 }, (_, at) => Buffer.from(`record ${at}`))
  return [empty, Buffer.from(bytes), empty, long, ...many, empty]
}

t.test('append and cat give back the same bytes', async t => {
  for (const framing of ['line', 'length'] as const) {
    const records = awkwardRecords(framing === 'length')
    const input = Buffer.concat(records.flatMap(record => frame(framing, record)))
    // Cuts that fall inside records, prefixes and between them.
    const chunks = [0, 1, 3, 260, 262, 100_001].map((from, at, all) =>
      input.subarray(from, all[at + 1]),
    )
    const dir = temporaryDirectory(t)
    const appended = await riolog(['append', dir, '--framing', framing, '--json'], ...chunks)
    const bytes = records.reduce((sum, record) => sum + record.length, 0)
    t.match(jsonOf(appended), { ok: true, interrupted: false, records: records.length, bytes })
    const written = await riolog(['cat', dir, '--framing', framing])
    t.ok(written.stdout.equals(input), `${framing} framing`)
    t.same(
      [appended.code, appended.stderr, written.code, written.stderr],
      [0, [], 0, []],
      'and both say that all went well',
    )
  }
})

t.test('the last line may lack its newline; appending goes on where it ended', async t => {
  const dir = temporaryDirectory(t)
  const first = jsonOf(await riolog(['append', dir, '--json'], 'a\n\nb'))
  const second = jsonOf(await riolog(['append', dir, '--json'], 'c\n'))
  t.match(first, { records: 3, bytes: 2 })
  t.match(second, { records: 1, bytes: 1 })
  t.ok((second.durableLsn as number) > (first.durableLsn as number))
  t.equal(String((await riolog(['cat', dir])).stdout), 'a\n\nb\nc\n')
})

t.test('without --json it prints what it did, in words', async t => {
  const dir = temporaryDirectory(t)
  const { stdout, code } = await riolog(['append', dir], 'four\n')
  t.match(String(stdout), /^records: +1\nbytes: +4 \(4 B\)\ndurable LSN: +\d+\nengine: +\w+\n$/)
  t.equal(code, 0)
})

t.test('the engine and the segment size are those asked for', async t => {
  const dir = temporaryDirectory(t)
  const asked = ['--engine', 'threadpool', '--segment-size', '1MiB', '--json']
  t.match(jsonOf(await riolog(['append', dir, ...asked], 'x\n')), { engine: 'threadpool' })
  t.match(jsonOf(await riolog(['info', dir, '--json'])), { segmentSize: 2 ** 20 })
  const other = await riolog(['append', dir, '--segment-size', '2M', '--json'], 'y\n')
  t.match(jsonOf(other), { ok: false, code: 'ERR_RIOLOG_INVALID_OPTION' })
  t.equal(other.code, 2)
})

t.test('more than the memory for records passes through, in order', async t => {
  const dir = temporaryDirectory(t)
  const line = `${'riolog '.repeat(140)}\n`
  const chunk = Buffer.from(line.repeat(1024))
  const chunks = Array.from({ length: 40 }, () => chunk)
  const appended = jsonOf(await riolog(['append', dir, '--json'], ...chunks))
  t.match(appended, { records: 40 * 1024, bytes: 40 * (chunk.length - 1024) })
  const { stdout } = await riolog(['cat', dir])
  const hash = (all: Buffer[]) => createHash('sha256').update(Buffer.concat(all)).digest('hex')
  t.equal(hash([stdout]), hash(chunks))
})

t.test('a record that back-pressure refused is appended again, once', async t => {
  const taken: string[] = []
  let room = 2
  let drained = 0
  const log = {
    append(record: Uint8Array): number {
      if (room-- <= 0) throw new RiologError('ERR_RIOLOG_BACKPRESSURE', 'full')
      return taken.push(String(record))
    },
    async drain() {
      // Room that someone else was quicker to take, and then room.
      room = drained++ % 2
    },
  }
  const tally = new Tally()
  await appendEach(log, [...'abcd'].map(Buffer.from as (text: string) => Buffer), tally)
  t.same(taken, [...'abcd'])
  t.equal(drained, 4)
  t.match(tally, { records: 4, bytes: 4 })
})

t.test('a truncated input fails, with all before it durable', async t => {
  const dir = temporaryDirectory(t)
  const whole = Buffer.concat(frame('length', Buffer.from('whole')))
  const args = ['append', dir, '--framing', 'length', '--json']
  const ran = await riolog(args, whole, whole.subarray(0, 7))
  t.match(jsonOf(ran), { ok: false, code: 'ERR_RIOLOG_INVALID_ARGUMENT', records: 1, bytes: 5 })
  t.equal(ran.code, 1)
  t.match(ran.stderr, [/^riolog: the input ends inside .* byte 9: .* \(ERR_RIOLOG_INVALID_ARGUM/])
  t.equal(ran.stderr.length, 1)
  t.equal(String((await riolog(['cat', dir])).stdout), 'whole\n')
})

t.test('a record that is too long fails, with all before it durable', async t => {
  const dir = temporaryDirectory(t)
  const ran = await riolog(['append', dir], 'short\n', Buffer.alloc(20_000_000, 'x'), '\nlater\n')
  t.equal(ran.code, 1)
  t.match(String(ran.stdout), /^records: +1\n/)
  t.match(ran.stderr, [/^riolog: .* byte 6 .* \(ERR_RIOLOG_RECORD_TOO_LARGE\)$/])
  t.equal(String((await riolog(['cat', dir])).stdout), 'short\n')
})

t.test('an interrupt makes durable what was read, says so and exits with 130', async t => {
  const dir = temporaryDirectory(t)
  const child = start('append', dir, '--json')
  const finished = finish(child)
  child.stdin.write('one\ntwo\nhal')
  while (!onDisk(dir, 'two')) await setTimeout(20)
  child.kill('SIGINT')
  const ran = await finished
  t.equal(ran.code, 130)
  t.match(jsonOf(ran), { ok: false, interrupted: true, records: 2, bytes: 6 })
  t.same(ran.stderr, [])
  t.equal(String((await riolog(['cat', dir])).stdout), 'one\ntwo\n', 'no half of a line')
  const verdict = jsonOf(await riolog(['verify', dir, '--json'])).verdict
  t.equal(verdict, 'clean end', 'it closed the log')
})

function onDisk(dir: string, text: string): boolean {
  const segments = readdirSync(dir).filter(name => name.endsWith('.seg'))
  return segments.some(name => readFileSync(join(dir, name)).includes(text))
}

t.test('a log that someone else writes to is refused', async t => {
  const dir = temporaryDirectory(t)
  await using log = await Log.open(dir)
  await log.appendDurable(Buffer.from('mine'))
  const ran = await riolog(['append', dir], 'theirs\n')
  t.equal(ran.code, 1)
  t.equal(ran.stderr.length, 1)
  t.match(ran.stderr[0], /^riolog: .*\(ERR_RIOLOG_LOCKED\)$/)
  t.same(linesOf(ran.stdout), [])
})

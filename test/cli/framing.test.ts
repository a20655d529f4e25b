import fc from 'fast-check'
import t from 'tap'
import { createSplitter, FRAMINGS, type Framing, frame } from '../../src/cli/framing.ts'

const MAX = 64

/** The records that come out of an input in these chunks. Copies: each is a view until the next. */
function split(framing: Framing, chunks: Buffer[], max = MAX): Buffer[] {
  const splitter = createSplitter(framing, max)
  const records: Buffer[] = []
  for (const chunk of chunks) {
    for (const record of splitter.push(chunk)) records.push(Buffer.from(record))
  }
  for (const record of splitter.end()) records.push(Buffer.from(record))
  return records
}

function cut(input: Buffer, places: number[]): Buffer[] {
  const sorted = [...places.map(place => place % (input.length + 1)), input.length]
  sorted.sort((a, b) => a - b)
  return sorted.map((to, at) => input.subarray(sorted[at - 1] ?? 0, to))
}

const text = (records: Buffer[]) => records.map(record => record.toString('latin1'))

for (const framing of FRAMINGS) {
  t.test(`${framing}: records come back however the stream is cut`, async t => {
    const byte = fc.integer({ min: 0, max: 255 }).filter(b => framing === 'length' || b !== 0x0a)
    const record = fc.array(byte, { maxLength: MAX }).map(bytes => Buffer.from(bytes))
    fc.assert(
      fc.property(fc.array(record), fc.array(fc.nat()), (records, places) => {
        const input = Buffer.concat(records.flatMap(one => frame(framing, one)))
        t.same(text(split(framing, cut(input, places))), text(records))
      }),
      { numRuns: 300 },
    )
  })

  t.test(`${framing}: one byte a chunk`, async t => {
    const records = ['', 'a', '', '', 'bc'.repeat(20), ''].map(record => Buffer.from(record))
    const input = Buffer.concat(records.flatMap(record => frame(framing, record)))
    const bytes = [...input].map(byte => Buffer.of(byte))
    t.same(text(split(framing, bytes)), text(records))
  })

  t.test(`${framing}: the longest record is taken, a longer one is not`, async t => {
    const longest = Buffer.alloc(MAX, 'x')
    const good = Buffer.concat(frame(framing, longest))
    t.equal(split(framing, [good.subarray(0, 9), good.subarray(9)])[0].length, MAX)
    const first = Buffer.concat(frame(framing, Buffer.from('first')))
    const long = Buffer.concat(frame(framing, Buffer.alloc(MAX + 1, 'x')))
    const message = new RegExp(`starts at byte ${first.length} of the input`)
    for (const chunks of [
      [first, long],
      [first, long.subarray(0, 30), long.subarray(30)],
    ]) {
      const refused = { code: 'ERR_RIOLOG_RECORD_TOO_LARGE', message }
      t.throws(() => split(framing, chunks), refused)
    }
  })
}

t.test('the last line needs no newline, and a newline starts no line', async t => {
  t.same(text(split('line', [Buffer.from('a\nb')])), ['a', 'b'])
  t.same(text(split('line', [Buffer.from('a\nb\n')])), ['a', 'b'])
  t.same(text(split('line', [Buffer.from('\n')])), [''])
  t.same(text(split('line', [])), [])
})

t.test('a line that never ends is refused before it fills the memory', async t => {
  const splitter = createSplitter('line', MAX)
  const refused = { code: 'ERR_RIOLOG_RECORD_TOO_LARGE' }
  t.same([...splitter.push(Buffer.alloc(MAX))], [])
  t.throws(() => [...splitter.push(Buffer.alloc(1))], refused)
})

t.test('a length of gigabytes is refused when it is read', async t => {
  const splitter = createSplitter('length', MAX)
  t.same([...splitter.push(Buffer.from('ffffff', 'hex'))], [])
  t.throws(() => [...splitter.push(Buffer.from('ff', 'hex'))], {
    code: 'ERR_RIOLOG_RECORD_TOO_LARGE',
  })
})

t.test('an input that ends inside a record names the record', async t => {
  const whole = Buffer.concat(frame('length', Buffer.from('abc')))
  const code = 'ERR_RIOLOG_INVALID_ARGUMENT'
  for (let bytes = 1; bytes < whole.length; bytes++) {
    const message = /inside the record that starts at byte 7:/
    t.throws(() => split('length', [whole, whole.subarray(0, bytes)]), { code, message })
  }
  t.same(text(split('length', [whole, whole])), ['abc', 'abc'])
})

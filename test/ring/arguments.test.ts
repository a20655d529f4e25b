import t from 'tap'
import { IoBuffer, Ring } from '../../src/ring/index.ts'
import { codeOf, openRing, temporaryFile, withRing } from './support.ts'

const INVALID = 'ERR_RIOLOG_INVALID_ARGUMENT'

// What a caller in JavaScript, whom no type checker stops, may pass.
const BAD_OFFSETS: unknown[] = [Number.NaN, -1, -0.5, 0.5, 2 ** 53, 1e300, Infinity, -Infinity]
const BAD_OFFSET_TYPES: unknown[] = ['0', 0n, null, undefined, {}, []]
const BAD_FILES: unknown[] = [-1, 0.5, Number.NaN, 2 ** 31, '3', null, undefined, {}, { fd: -1 }]
const BAD_BYTES: unknown[] = [
  null,
  undefined,
  'text',
  8,
  {},
  [1, 2, 3],
  new ArrayBuffer(8),
  new Float64Array(8),
  new DataView(new ArrayBuffer(8)),
  { length: 8, lent: false },
]

withRing(t, 'bad arguments are refused before the kernel sees them', async t => {
  const ring = openRing(t)
  const fd = temporaryFile(t)
  const bytes = new Uint8Array(8)
  for (const operation of ['readAt', 'writeAt'] as const) {
    const call = (file: unknown, buffer: unknown, offset: unknown) =>
      codeOf(() => ring[operation](file as number, buffer as Uint8Array, offset as number))
    const chained = (file: unknown, buffer: unknown, offset: unknown) =>
      codeOf(() => ring.chain()[operation](file as number, buffer as Uint8Array, offset as number))
    for (const ask of [call, chained]) {
      for (const offset of [...BAD_OFFSETS, ...BAD_OFFSET_TYPES]) {
        t.equal(await ask(fd, bytes, offset), INVALID, `${operation} at ${String(offset)}`)
      }
      for (const file of BAD_FILES) t.equal(await ask(file, bytes, 0), INVALID)
      for (const buffer of BAD_BYTES) t.equal(await ask(fd, buffer, 0), INVALID)
    }
  }
  for (const file of BAD_FILES) {
    t.equal(await codeOf(() => ring.fsync(file as number)), INVALID)
    t.equal(await codeOf(() => ring.fdatasync(file as number)), INVALID)
    t.equal(await codeOf(() => ring.chain().fsync(file as number)), INVALID)
  }
  t.equal(ring.inFlight, 0)
})

withRing(t, 'a refused operation leaves its buffer with the caller', async t => {
  const ring = openRing(t)
  const buffer = IoBuffer.alloc(8)
  t.equal(await codeOf(() => ring.readAt(-1, buffer, 0)), INVALID)
  t.equal(await codeOf(() => ring.readAt(0, buffer, -1)), INVALID)
  t.equal(buffer.lent, false)
})

t.test('sizes that no queue has are refused', async t => {
  for (const entries of [0, -1, 0.5, Number.NaN, 32769, 2 ** 32, '8']) {
    t.equal(await codeOf(() => Ring.open({ depth: entries as number })), INVALID)
  }
  for (const cqDepth of [0, 7, Number.NaN, 65537]) {
    t.equal(await codeOf(() => Ring.open({ depth: 8, cqDepth })), INVALID)
  }
})

import t from 'tap'
import {
  checkFormat,
  MAX_SEGMENT_SIZE,
  maxGroupBytes,
  maxSegmentNumber,
  maxWholeRecordBytes,
  minFileBytes,
  parseSegmentName,
  recordSpan,
  segmentName,
  segmentOf,
  segmentOfEnd,
} from '../../src/segment/format.ts'
import { decodeSegmentHeader, encodeSegmentHeader } from '../../src/segment/header.ts'

const MIB = 2 ** 20

t.test('the constants agree with each other and with native code', async t => {
  checkFormat()
  t.equal(maxGroupBytes(64 * MIB, 4096), MIB + 8192)
  t.equal(maxGroupBytes(65536, 4096), 65536 - 8192)
  t.equal(minFileBytes(65536, 4096), 65536)
  t.ok(maxWholeRecordBytes(64 * MIB, 4096) >= MIB, 'a record of 1 MiB fits into a group')
  t.equal(maxWholeRecordBytes(64 * MIB, 4096) % 8, 4, 'and ends where the next would begin')
})

t.test('places', async t => {
  const size = 64 * MIB
  t.equal(segmentOf(size, size), 1)
  t.equal(segmentOf(2 * size - 1, size), 1)
  t.equal(segmentOfEnd(2 * size, size), 1, 'an end is never the first place of the next segment')
  t.equal(segmentOfEnd(size + 1, size), 1)
  const highest = maxSegmentNumber(MAX_SEGMENT_SIZE)
  t.ok(Number.isSafeInteger((highest + 1) * MAX_SEGMENT_SIZE))
  t.equal(segmentOf(highest * size + 5000, size), highest, 'far beyond 2^31')
  t.same([0, 1, 4, 5, 12, 13].map(recordSpan), [16, 16, 16, 24, 24, 32])
})

t.test('names', async t => {
  const size = 64 * MIB
  for (const number of [1, 42, maxSegmentNumber(size)]) {
    t.equal(parseSegmentName(segmentName(number), size), number)
  }
  const foreign = [
    '1.seg',
    '0000000000000000.seg',
    '00000000000000001.seg',
    '000000000000000a.seg',
    '0000000000000001.SEG',
    '0000000000000001.seg.tmp',
    '../0000000000000001.seg',
    segmentName(maxSegmentNumber(size) + 1),
    'MANIFEST',
    '',
  ]
  for (const name of foreign) t.equal(parseSegmentName(name, size), undefined, name)
})

t.test('segment headers', async t => {
  const header = {
    uuid: '00112233445566778899aabbccddeeff',
    number: 2 ** 26,
    epoch: 9,
    salt: { low: 0xfedcba98, high: 0x76543210 },
    parent: { number: 5, salt: { low: 1, high: 0xffffffff } },
    fileBytes: 4 * MIB,
    segmentSize: 64 * MIB,
    alignment: 4096,
    metadata: Buffer.from('the user’s'),
  }
  const block = encodeSegmentHeader(header)
  t.equal(block.length, 4096)
  const found = decodeSegmentHeader(block)
  t.equal(found.kind, 'good')
  if (found.kind === 'good')
    t.same({ ...found.header, metadata: Buffer.from(found.header.metadata) }, header)
  t.same(decodeSegmentHeader(block.subarray(0, 95)), { kind: 'bad' }, 'too short')
  t.same(decodeSegmentHeader(new Uint8Array(4096)), { kind: 'bad' }, 'zeros')
  const hostile = block.slice()
  new DataView(hostile.buffer).setUint32(92, 0xffffffff, true)
  t.same(decodeSegmentHeader(hostile), { kind: 'bad' }, 'a metadata length beyond the block')
  t.throws(() => encodeSegmentHeader({ ...header, number: 2 ** 53 }), RangeError)
  const loop = encodeSegmentHeader({
    ...header,
    parent: { ...header.parent, number: header.number },
  })
  t.same(decodeSegmentHeader(loop), { kind: 'bad' }, 'a parent that is not older')
})

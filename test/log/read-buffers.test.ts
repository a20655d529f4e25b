/** The memory of single reads: pieces of two huge pages, and beyond them memory of a read's own. */
import t from 'tap'
import { HUGE_PAGE_BYTES } from '../../src/disk/buffer.ts'
import { Log } from '../../src/log/log.ts'
import { giveReadBuffer, type ReadBuffer, takeReadBuffer } from '../../src/log/read-buffers.ts'
import { onEachEngine, temporaryDirectory } from '../support/engines.ts'
import { KIB } from '../support/simulated.ts'

const PIECES = (2 * HUGE_PAGE_BYTES) / (64 * KIB)

function placesOf(taken: readonly ReadBuffer[]): Set<string> {
  const memories = [...new Set(taken.map(({ buffer }) => buffer))]
  return new Set(taken.map(({ buffer, offset }) => `${memories.indexOf(buffer)}:${offset}`))
}

t.test('reads share two huge pages, each with a place of its own', async t => {
  const taken = Array.from({ length: PIECES }, () => takeReadBuffer(8 * KIB))
  t.equal(placesOf(taken).size, PIECES)
  t.equal(new Set(taken.map(({ buffer }) => buffer)).size, 2)
  for (const { buffer, offset, bytes } of taken) {
    t.equal(buffer.bytes.length, HUGE_PAGE_BYTES)
    t.equal(bytes.length, 64 * KIB)
    t.equal(bytes.byteOffset - buffer.bytes.byteOffset, offset)
  }

  const [more, long] = [takeReadBuffer(64 * KIB), takeReadBuffer(68 * KIB)]
  t.equal(more.bytes.length, 64 * KIB)
  t.equal(long.bytes.length, 68 * KIB)
  for (const { buffer, offset, bytes } of [more, long]) {
    t.equal(offset, 0)
    t.equal(buffer.bytes.length, bytes.length)
  }

  for (const piece of [more, long, ...taken]) giveReadBuffer(piece)
  const again = Array.from({ length: PIECES }, () => takeReadBuffer(4 * KIB))
  t.same(new Set(again), new Set(taken), 'the same ones, and not those beyond them')
  for (const piece of again) giveReadBuffer(piece)
})

onEachEngine(t, 'three times as many reads at once as there are pieces', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine })
  const lengths = [10, 5000, 70 * KIB, 150 * KIB]
  const payload = (i: number) => Buffer.alloc(lengths[i % lengths.length], i + 1)
  const lsns = Array.from({ length: 40 }, (_, i) => log.append(payload(i)))
  await log.flush()
  for (let round = 0; round < 2; round++) {
    const wanted = Array.from({ length: 3 * PIECES }, (_, i) => (i * 7) % lsns.length)
    const found = await Promise.all(wanted.map(i => log.read(lsns[i])))
    t.ok(found.every((data, i) => data.equals(payload(wanted[i]))))
  }
  await log.close()
})

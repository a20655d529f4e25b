/** Reads of single records: into pieces of two huge pages or memory of their own, and as much as such records need. */
import t from 'tap'
import { HUGE_PAGE_BYTES } from '../../../src/disk/buffer.ts'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import {
  giveReadBuffer,
  type ReadBuffer,
  takeReadBuffer,
} from '../../../src/log/reading/read-buffers.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../../support/engines.ts'
import { KIB, withFiles } from '../../support/simulated.ts'

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

/** Reads records of these lengths in this order, and tells for each the lengths of what was read of the file. */
async function readsOf(t: Test, lengths: readonly number[]): Promise<number[][]> {
  const reads: number[] = []
  const disk = withFiles(new SimulatedDisk(new SimulatedDevice()), file => ({
    read(buffer, offset, length, position) {
      reads.push(length)
      return file.read(buffer, offset, length, position)
    },
  }))
  const log = await Log.openOn(disk, 'log', checkOptions({}))
  const payloads = lengths.map((length, i) => Buffer.alloc(length, i + 1))
  const lsns: number[] = []
  // One by one, so that each begins at the same place of its block.
  for (const payload of payloads) lsns.push(await log.appendDurable(payload))
  const found: number[][] = []
  for (const [i, lsn] of lsns.entries()) {
    reads.length = 0
    t.ok((await log.read(lsn)).equals(payloads[i]))
    found.push([...reads])
  }
  await log.close()
  return found
}

const times = <T>(count: number, value: T) => Array<T>(count).fill(value)

t.test('records of 16 KiB are read at once when some have been', async t => {
  const reads = await readsOf(t, times(20, 16 * KIB))
  t.same(reads[0], [8 * KIB, 20 * KIB], 'of the first one nothing is known')
  t.same(reads.slice(3), times(17, [20 * KIB]))
})

t.test('one short record among long ones makes none of them take two reads', async t => {
  const lengths = [...times(10, 16 * KIB), 100, ...times(5, 16 * KIB)]
  const reads = await readsOf(t, lengths)
  t.same(reads.slice(11), times(5, [20 * KIB]))
})

t.test('for the sake of few long records no more is read of short ones', async t => {
  const lengths = Array.from({ length: 100 }, (_, i) => (i % 10 === 5 ? 50 * KIB : 100))
  const reads = await readsOf(t, lengths)
  const short = reads.filter((_, i) => lengths[i] === 100)
  t.ok(short.every(lengths => lengths.length === 1 && lengths[0] <= 12 * KIB))
})

t.test('the longest are never guessed at', async t => {
  const reads = await readsOf(t, [...times(40, 100 * KIB), ...times(2, 100)])
  t.same(reads.slice(1, 40), times(39, [8 * KIB, 104 * KIB]))
})

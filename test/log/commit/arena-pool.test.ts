/** The memory of groups: a bound for all of them, and huge pages once they are long. */
import t from 'tap'
import { HUGE_PAGE_BYTES } from '../../../src/disk/buffer.ts'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { type Arena, ArenaPool } from '../../../src/log/commit/arena-pool.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import type { Test } from '../../support/engines.ts'
import { KIB, recordsOf, withFiles } from '../../support/simulated.ts'

const MIB = 1024 * KIB
const isHuge = ({ buffer }: Arena) => buffer.bytes.length >= HUGE_PAGE_BYTES

t.test('two arenas are alone, and those beyond them lie together', async t => {
  const pool = new ArenaPool(8, MIB)
  const arenas = Array.from({ length: 8 }, () => pool.take())
  t.same(arenas.map(isHuge), [false, false, true, true, true, true, true, true])
  t.equal(pool.available, 0)
  t.equal(pool.bytesInUse, 8 * MIB)
  const memories = [...new Set(arenas.map(({ buffer }) => buffer))]
  const places = arenas.map(({ buffer, offset }) => `${memories.indexOf(buffer)}:${offset}`)
  t.equal(new Set(places).size, 8, 'each of them has a place of its own')
})

t.test('where groups are long, those alone are replaced as they come back', async t => {
  const pool = new ArenaPool(8, MIB)
  const [free, inUse] = [pool.take(), pool.take()]
  pool.give(free)
  t.equal(pool.available, 7)
  pool.expectLong()
  t.equal(pool.available, 7, 'what was free can be taken all the same')
  const first = pool.take()
  t.ok(isHuge(first))
  t.equal(pool.available, 6)
  pool.give(inUse)
  t.equal(pool.available, 7)
  pool.give(first)
  const all = Array.from({ length: 8 }, () => pool.take())
  t.ok(all.every(arena => arena !== free && arena !== inUse))
  t.equal(pool.available, 0, 'never more than were promised')
  for (const arena of all) pool.give(arena)
  pool.expectLong()
  t.equal(pool.available, 8)
  t.ok(all.includes(pool.take()), 'and what lies together is used again')
})

/** Appends records of these lengths one by one, and tells what memory each commit was written from, by its length. */
async function memoryOf(t: Test, lengths: readonly number[]): Promise<number[]> {
  const memories: number[] = []
  const disk = withFiles(new SimulatedDisk(new SimulatedDevice()), file => ({
    commit(buffer, offset, length, position, sync, done) {
      memories.push(buffer.bytes.length)
      file.commit(buffer, offset, length, position, sync, done)
    },
  }))
  const log = await Log.openOn(disk, 'log', checkOptions({}))
  const payloads = lengths.map((length, i) => Buffer.alloc(length, i + 1))
  for (const payload of payloads) await log.appendDurable(payload)
  const records = await recordsOf(log)
  t.equal(records.length, lengths.length)
  t.ok(records.every(({ data }, i) => data.equals(payloads[i])))
  await log.close()
  t.equal(memories.length, lengths.length)
  return memories
}

const times = (count: number, length: number) => Array<number>(count).fill(length)

t.test('a log of short groups touches small pages alone', async t => {
  const memories = await memoryOf(t, times(60, 12 * KIB))
  t.ok(memories.every(length => length < HUGE_PAGE_BYTES))
})

t.test('a log of long groups writes them from huge pages', async t => {
  const memories = await memoryOf(t, times(60, 64 * KIB))
  t.ok(memories[0] < HUGE_PAGE_BYTES)
  t.ok(memories.slice(30).every(length => length >= HUGE_PAGE_BYTES))
})

t.test('one long record among short ones asks for none', async t => {
  const memories = await memoryOf(t, [...times(20, KIB), 256 * KIB, ...times(20, KIB)])
  t.ok(memories.every(length => length < HUGE_PAGE_BYTES))
})

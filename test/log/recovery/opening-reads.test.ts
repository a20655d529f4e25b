/** What an opening reads does not grow with the log: a block of each segment, and groups from the floor on. */
import t from 'tap'
import { SimulatedDevice } from '../../../src/disk/simulated.ts'
import {
  COPY_AT,
  COPY_BYTES,
  decodeManifest,
  MANIFEST_NAME,
} from '../../../src/log/segments/manifest.ts'
import { KIB, openSimulated, recordsOf } from '../../support/simulated.ts'

const ALIGNMENT = 4096
const RECORD_BYTES = 3000

/** A log over at least so many segments; none of it is in a manifest's floor but by their preparation. */
async function longLog(segments: number) {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { idleStampMs: 0 })
  let records = 0
  while (log.info().segments.length < segments) {
    await log.appendDurable(Buffer.alloc(RECORD_BYTES, records++))
  }
  return { device, log, records }
}

function floorOf(device: SimulatedDevice): number {
  const floors = COPY_AT.map(at => {
    const found = decodeManifest(device.bytesOf(MANIFEST_NAME).subarray(at, at + COPY_BYTES))
    return found.kind === 'good' ? found.manifest.floor : 0
  })
  return Math.max(...floors)
}

/** Opens, and tells which segments it read groups of: all but the header block and the first group's header. */
async function readAtOpening(device: SimulatedDevice) {
  const groupsOf = new Map<string, number>()
  let reads = 0
  device.interference = ({ kind, name, position, length }) => {
    if (kind !== 'read' || !name.endsWith('.seg')) return undefined
    reads++
    const beyond = Math.max(0, position + length - 2 * ALIGNMENT)
    if (beyond > 0) groupsOf.set(name, (groupsOf.get(name) ?? 0) + Math.min(length, beyond))
    return undefined
  }
  const log = await openSimulated(device, { idleStampMs: 0 })
  device.interference = undefined
  return { log, reads, groupsOf }
}

for (const segments of [4, 16, 64]) {
  t.test(`${segments} segments, closed: no group is read`, async t => {
    const { device, log, records } = await longLog(segments)
    await log.close()
    const opened = await readAtOpening(device)
    t.equal(opened.log.recovery.verdict, 'clean end')
    t.same([...opened.groupsOf], [])
    t.equal(opened.reads, opened.log.info().segments.length, 'one read each, of two blocks')
    t.equal((await recordsOf(opened.log)).length, records)
  })

  t.test(`${segments} segments, killed: groups of the last ones are read`, async t => {
    const { device, log, records } = await longLog(segments)
    const killed = device.afterKill()
    const { number } = log.info().segments.at(-1)!
    const opened = await readAtOpening(killed)
    t.not(opened.log.recovery.verdict, 'clean end')
    // The floor was raised when the last segment was prepared, in the one before it.
    const read = [...opened.groupsOf.keys()].map(name => Number.parseInt(name, 10))
    t.ok(read.length >= 1 && read.every(one => one >= number - 1), `of ${number}: ${read}`)
    const bytes = [...opened.groupsOf.values()].reduce((sum, one) => sum + one, 0)
    t.ok(bytes <= 4 * 64 * KIB, `${bytes} bytes`)
    t.equal((await recordsOf(opened.log)).length, records)
  })
}

t.test(
  'killed anywhere: groups are read of the segment that holds the newest record alone',
  async t => {
    const holding = new Set<number>()
    for (let records = 30; records < 90; records++) {
      const device = new SimulatedDevice()
      const log = await openSimulated(device)
      let lsn = 0
      for (let i = 0; i < records; i++) {
        lsn = await log.appendDurable(Buffer.alloc(RECORD_BYTES, i))
        // The manifest is updated, and the next segment prepared, beside the commits.
        for (let turns = 0; turns < 20; turns++) await new Promise(resolve => setImmediate(resolve))
      }
      const { number } = log.info().segments.findLast(({ firstLsn }) => firstLsn <= lsn)!
      holding.add(number)
      const opened = await readAtOpening(device.afterKill())
      const read = [...opened.groupsOf.keys()].map(name => Number.parseInt(name, 10))
      t.ok(
        read.every(one => one >= number),
        `${records} records, the last one in ${number}: ${read}`,
      )
      t.equal((await recordsOf(opened.log)).length, records)
      const behind = lsn - floorOf(device)
      t.ok(behind <= 32 * KIB + 2 * ALIGNMENT, `${behind} bytes: half of it, and two commits`)
    }
    t.ok(holding.size > 3, `${holding.size} segments`)
  },
)

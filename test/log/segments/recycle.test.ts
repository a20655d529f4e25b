/** Files of dead segments become new ones, and never anything that a reader or a backup still has. */
import { linkSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { chooseDisk } from '../../../src/disk/choose.ts'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { openSimulated, recordsOf, withFiles } from '../../support/simulated.ts'

const SEGMENT = 64 << 10
const RECORD = Buffer.alloc(3000, 'r')
const segmentsIn = (directory: string) => readdirSync(directory).filter(name => /\.seg$/.test(name))
const inodesIn = (directory: string) =>
  new Set(segmentsIn(directory).map(name => statSync(join(directory, name)).ino))

/** Appends until the log has gone on to so many segments more, trimming behind itself. */
async function rotate(log: Log, rotations: number, { trims = true } = {}): Promise<void> {
  const until = log.metrics().rotations + rotations
  while (log.metrics().rotations < until) {
    const lsn = await log.appendDurable(RECORD)
    if (trims) await log.trim(lsn)
  }
}

onEachEngine(t, 'rotation makes no file, also after a restart', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const options = { engine, segmentSize: SEGMENT } as const
  let log = await Log.open(directory, options)
  await rotate(log, 6)
  const steady = inodesIn(directory)
  t.ok(steady.size <= 5, `${steady.size} files`)
  await rotate(log, 20)
  t.same(
    [...inodesIn(directory)].filter(inode => !steady.has(inode)),
    [],
    'no other file',
  )
  await log.close()

  log = await Log.open(directory, options)
  await rotate(log, 20)
  const fresh = [...inodesIn(directory)].filter(inode => !steady.has(inode))
  t.ok(fresh.length <= 2, 'one for the fork, and one where the pool was not filled in time')
  t.ok(
    [...steady].some(inode => inodesIn(directory).has(inode)),
    'others are used again',
  )
  await log.close()
})

onEachEngine(t, 'recycledSegments bounds what is kept', async (t, engine) => {
  for (const recycledSegments of [0, 1, 3]) {
    const directory = temporaryDirectory(t)
    const options = { engine, segmentSize: SEGMENT, recycledSegments, zeroedSegments: 0 }
    const log = await Log.open(directory, options)
    await rotate(log, 8, { trims: false })
    await log.trim(log.durableLsn)
    t.equal(log.metrics().pooledSegments, recycledSegments)
    await log.close()
  }
})

onEachEngine(t, 'a file with a second name is left as it is', async (t, engine) => {
  const directory = temporaryDirectory(t)
  const log = await Log.open(directory, { engine, segmentSize: SEGMENT, zeroedSegments: 0 })
  await rotate(log, 8, { trims: false })
  const [before, dying] = segmentsIn(directory).sort()
  linkSync(join(directory, before), join(directory, 'backup-before'))
  await log.trim(log.durableLsn)
  t.equal(log.metrics().pooledSegments, 2)
  const pooled = segmentsIn(directory).sort()[0]
  t.not(pooled, before, 'not kept')
  t.equal(pooled, dying)
  linkSync(join(directory, pooled), join(directory, 'backup-after'))
  const backups = ['backup-before', 'backup-after'].map(name => join(directory, name))
  const bytes = backups.map(path => readFileSync(path))
  await rotate(log, 8)
  t.same(
    backups.map(path => readFileSync(path)),
    bytes,
  )
  await log.close()
})

onEachEngine(t, 'a file that somebody has locked is not kept', async (t, engine) => {
  const directory = temporaryDirectory(t)
  let log = await Log.open(directory, { engine, segmentSize: SEGMENT })
  await rotate(log, 8, { trims: false })
  await log.close()
  log = await Log.open(directory, { engine, segmentSize: SEGMENT })

  // As a request of a killed process would that the kernel has not finished.
  const disk = chooseDisk('threadpool')
  const folder = await disk.openDirectory(directory, undefined)
  const oldest = segmentsIn(directory).sort()[0]
  const file = await folder.open(oldest, 'write', 0)
  t.ok(file.tryLock())
  await log.appendDurable(RECORD)
  await log.trim(log.durableLsn)
  await rotate(log, 1)
  t.notOk(segmentsIn(directory).includes(oldest))
  t.equal(file.links(), 0, 'it was deleted, not renamed')
  file.close()
  folder.close()
  await disk.close()
  await log.close()
})

onEachEngine(t, 'a scan whose segments become new ones is told so', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: SEGMENT })
  const first = await log.appendDurable(Buffer.from('first'))
  await rotate(log, 3, { trims: false })
  const scan = log.scan()
  t.equal((await scan.next()).value?.lsn, first)
  await log.trim(log.durableLsn)
  await rotate(log, 6)
  let told: unknown
  try {
    // What it had read before stays good.
    for await (const { data } of scan) t.ok(data.equals(RECORD))
  } catch (error) {
    told = error
  }
  t.match(told, { code: 'ERR_RIOLOG_TRIMMED' })
  await t.rejects(log.read(first), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
})

onEachEngine(t, 'a scan at the end of a segment is told of trims behind it', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: SEGMENT })
  await rotate(log, 4, { trims: false })
  const { segments, segmentSize } = log.info()
  const inFirst = []
  for await (const { lsn } of log.scan())
    if (lsn < segments[0].firstLsn + segmentSize) inFirst.push(lsn)
  const ahead = log.scan()
  const level = log.scan()
  for (const lsn of inFirst) {
    t.equal((await ahead.next()).value?.lsn, lsn)
    t.equal((await level.next()).value?.lsn, lsn)
  }
  await log.trim(segments[1].firstLsn)
  t.ok((await level.next()).value.lsn >= segments[1].firstLsn, 'just what it has read is gone')
  await log.trim(segments[2].firstLsn)
  await t.rejects(ahead.next(), { code: 'ERR_RIOLOG_TRIMMED' })
  await log.close()
})

onEachEngine(t, 'only files of full length are kept', async (t, engine) => {
  const log = await Log.open(temporaryDirectory(t), { engine, segmentSize: 16 << 20 })
  const megabyte = Buffer.alloc(1_000_000)
  while (log.metrics().rotations < 1) await log.appendDurable(megabyte)
  t.ok(log.info().segments[0].fileBytes < 16 << 20)
  await log.trim(log.durableLsn)
  t.equal(log.metrics().pooledSegments, 0)
  while (log.metrics().rotations < 2) await log.appendDurable(megabyte)
  await log.trim(log.durableLsn)
  t.equal(log.metrics().pooledSegments, 1)
  await log.close()
})

t.test('a file that is being read is not kept', async t => {
  const simulated = new SimulatedDisk(new SimulatedDevice())
  let heldName = ''
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const disk = withFiles(simulated, file => {
    const { name } = file
    return {
      read: async (...asked) => {
        if (name === heldName) await held
        return file.read(...asked)
      },
    }
  })
  const options = checkOptions({ segmentSize: SEGMENT, idleStampMs: 0, recycledSegments: 8 })
  let log = await Log.openOn(disk, 'simulated', options)
  const first = await log.appendDurable(RECORD)
  await rotate(log, 3, { trims: false })
  await log.close()
  // Whose writer is gone: its lock protects it no more.
  log = await Log.openOn(disk, 'simulated', options)
  await log.appendDurable(RECORD)
  const files = () => simulated.device.names().filter(name => name.endsWith('.seg'))
  const [oldest, next] = files()
  heldName = oldest
  const reading = log.read(first)
  await log.trim(log.durableLsn)
  t.notOk(files().includes(oldest), 'it is deleted: who reads it finds what it was')
  t.ok(files().includes(next), 'others are kept')
  await rotate(log, 6)
  release()
  t.ok((await reading).equals(RECORD))
  await log.close()
})

/** Appends over several segments with trims behind; tells what was acknowledged. */
async function recycling(device: SimulatedDevice, acknowledged: Map<number, number>) {
  const log = await openSimulated(device, { idleStampMs: 0 })
  for (let i = 0; i < 90; i++) {
    const data = Buffer.alloc(3000, i)
    const lsn = await log.appendDurable(data)
    acknowledged.set(lsn, i)
    if (i % 30 === 29) await log.trim(lsn)
  }
  return log
}

t.test('the power is cut at each step of recycling', async t => {
  const whole = new SimulatedDevice()
  const renames: number[] = []
  whole.interference = ({ kind, index }) => {
    if (kind === 'rename') renames.push(index)
    return undefined
  }
  await recycling(whole, new Map())
  t.ok(renames.length >= 2, 'it recycles')
  const survivals = [() => true, () => false, alternating(), alternating(true)]
  let crashes = 0
  for (const rename of renames.slice(0, 2)) {
    // From before the trim's manifest update to behind the first commits in the new segment.
    for (let cutAt = rename - 12; cutAt < rename + 24; cutAt++) {
      for (const survives of survivals) {
        const device = new SimulatedDevice()
        const acknowledged = new Map<number, number>()
        const off = new Promise<void>(resolve => {
          device.interference = ({ index }) => {
            if (index !== cutAt) return undefined
            device.cutPower()
            resolve()
            return undefined
          }
        })
        void recycling(device, acknowledged).catch(() => {})
        await off
        await new Promise(resolve => setImmediate(resolve))
        const log = await openSimulated(device.afterPowerCut(survives))
        const found = new Map((await recordsOf(log)).map(({ lsn, data }) => [lsn, data]))
        for (const [lsn, value] of acknowledged) {
          if (lsn < log.trimLsn) continue
          if (found.get(lsn)?.equals(Buffer.alloc(3000, value)) === true) continue
          t.fail(`the record at LSN ${lsn} is lost or changed, cut at operation ${cutAt}`)
        }
        if (found.size > acknowledged.size + 1) t.fail(`${found.size} records were found`)
        await log.close()
        crashes++
      }
    }
  }
  t.equal(crashes, 2 * 36 * survivals.length)
})

function alternating(first = false): () => boolean {
  let last = !first
  return () => {
    last = !last
    return last
  }
}

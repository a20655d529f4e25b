/** Where large groups fill segments faster than zeros can be written, the next one's space is only allocated. */
import t from 'tap'
import { allocateBuffer } from '../../../src/disk/buffer.ts'
import type { DiskFile } from '../../../src/disk/disk.ts'
import { type SectorFate, SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { ThreadPoolDisk } from '../../../src/disk/threadpool.ts'
import { UringDisk } from '../../../src/disk/uring.ts'
import { SystemError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions, type LogOptions } from '../../../src/log/options.ts'
import { segmentName } from '../../../src/segment/format.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../../support/engines.ts'
import { KIB, recordsOf, withFiles } from '../../support/simulated.ts'

const MIB = 1024 * KIB
const ENOSPC = -28

const turn = () => new Promise(setImmediate)
const payload = (i: number, bytes: number) => Buffer.alloc(bytes, i + 1)

/** Appends so many records of a length as fast as they are taken. */
async function stream(log: Log, count: number, bytes: number, from = 0): Promise<void> {
  for (let i = from; i < count; ) {
    try {
      for (; i < count; i++) log.append(payload(i, bytes))
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
      await log.drain()
    }
  }
  await log.flush()
}

async function isWhole(t: Test, log: Log, count: number, bytes: number): Promise<void> {
  const records = await recordsOf(log)
  t.equal(records.length, count)
  t.ok(records.every(({ data }, i) => data.equals(payload(i, bytes))))
}

/** A log on a simulated disk that tells what is done to its files. */
async function watched(
  options: LogOptions,
  allocate?: (file: DiskFile) => Promise<boolean>,
  { longOnesTakeTurns = 0 } = {},
) {
  const allocated: { position: number; length: number }[] = []
  const writes: number[] = []
  const transfer = async (length: number) => {
    for (let i = 0; length >= 256 * KIB && i < longOnesTakeTurns; i++) await turn()
  }
  const device = new SimulatedDevice()
  const disk = withFiles(new SimulatedDisk(device), file => ({
    allocate(position, length) {
      allocated.push({ position, length })
      return allocate === undefined ? file.allocate(position, length) : allocate(file)
    },
    async write(buffer, offset, length, position) {
      writes.push(length)
      await transfer(length)
      await file.write(buffer, offset, length, position)
    },
    commit(buffer, offset, length, position, sync, done) {
      file.commit(buffer, offset, length, position, sync, error => {
        transfer(length).then(() => done(error))
      })
    },
  }))
  const open = () =>
    Log.openOn(disk, 'streamed', checkOptions({ segmentSize: 16 * MIB, ...options }))
  return { open, device, allocated, writes }
}

t.test('an import outruns zeros: the rest of the file is allocated, up to its end', async t => {
  const { open, device, allocated } = await watched({})
  const log = await open()
  await stream(log, 60, MIB / 2)
  t.ok(allocated.length > 0)
  const ends = new Set(device.names().map(name => device.bytesOf(name)?.length))
  t.ok(allocated.every(({ position, length }) => ends.has(position + length)))
  await isWhole(t, log, 60, MIB / 2)
  await log.close()
  const again = await open()
  await isWhole(t, again, 60, MIB / 2)
  await again.close()
})

t.test(
  'long groups are a stream also where they do not run full: of one record, of many callers',
  async t => {
    for (const [count, bytes] of [
      [1, MIB / 2],
      [150, KIB],
    ] as const) {
      const { open, allocated } = await watched({})
      const log = await open()
      let made = 0
      for (; made * bytes < 30 * MIB; made += count) await stream(log, made + count, bytes, made)
      t.ok(allocated.length > 0, `${count} of ${bytes} bytes`)
      await isWhole(t, log, made, bytes)
      await log.close()
    }
  },
)

t.test(
  'a long record now and then is none: the short ones behind it are written into zeros',
  async t => {
    const { open, allocated } = await watched({}, undefined, { longOnesTakeTurns: 20 })
    const log = await open()
    for (let i = 0; i < 60 * 16; i++) {
      await log.appendDurable(payload(i, i % 16 === 0 ? MIB / 2 : 10 * KIB))
    }
    t.ok(log.info().segments.length > 2)
    t.same(allocated, [])
    await log.close()
  },
)

t.test('short groups are written into zeros, however fast they come', async t => {
  const { open, allocated, writes } = await watched({ maxGroupBytes: 64 * KIB })
  const log = await open()
  const opening = writes.length
  for (let i = 0; i < 300; i++) await log.appendDurable(payload(i, 60 * KIB))
  const pieces = writes.slice(opening).filter(length => length > 64 * KIB)
  t.ok(pieces.length > 50)
  t.ok(
    pieces.every(length => length <= 256 * KIB),
    'in short pieces, also where they fall behind: a commit beside a long one would wait for it',
  )
  await stream(log, 600, 60 * KIB, 300)
  t.same(allocated, [])
  await isWhole(t, log, 600, 60 * KIB)
  await log.close()
})

/** Streams until the space of the next segment is only allocated; cuts the power behind so many pieces of its zeros. */
async function cutAmongZeros(t: Test, pieces: number, fate: SectorFate): Promise<number> {
  const device = new SimulatedDevice()
  let spare: string | undefined
  let [made, isMadeUp] = [0, false]
  const disk = withFiles(new SimulatedDisk(device), file => ({
    async allocate(position, length) {
      const isTaken = await file.allocate(position, length)
      // The file before it is long enough: nobody waits for this one.
      if (file.name > segmentName(3)) spare = file.name
      return isTaken
    },
    async write(buffer, offset, length, position) {
      // So slow that an import outruns them.
      for (let i = 0; spare === undefined && i < 50 && length <= 256 * KIB; i++) await turn()
      await file.write(buffer, offset, length, position)
      if (file.name === spare && length === 256 * KIB && ++made === pieces) device.cutPower()
    },
    async sync() {
      await file.sync()
      if (file.name === spare && made > 0) isMadeUp = true
    },
  }))
  const options = checkOptions({ segmentSize: 32 * MIB })
  const log = await Log.openOn(disk, 'streamed', options)
  let count = 0
  while (spare === undefined) {
    await stream(log, count + 4, MIB / 2, count)
    count += 4
    t.equal(made, 0, 'none beside an import')
  }
  while (!isMadeUp && !device.isOff) await turn()
  const left = device.afterPowerCut({ survives: () => true, fate: () => fate, garbage: () => 7 })
  const again = await Log.openOn(new SimulatedDisk(left), 'streamed', options)
  await isWhole(t, again, count, MIB / 2)
  await again.appendDurable(Buffer.from('and it goes on'))
  await again.close()
  return made
}

t.test('zeros that were outrun are made up for; a power cut among them loses nothing', async t => {
  const all = await cutAmongZeros(t, Number.POSITIVE_INFINITY, 'new')
  t.ok(all > 50, `${all} pieces`)
  for (const pieces of [1, Math.ceil(all / 2)]) {
    for (const fate of ['old', 'garbage', 'stale'] as const) {
      t.equal(await cutAmongZeros(t, pieces, fate), pieces)
    }
  }
})

t.test('a file system that allocates nothing is given zeros', async t => {
  const { open, allocated, writes } = await watched({}, async () => false)
  const log = await open()
  await stream(log, 60, MIB / 2)
  t.ok(allocated.length > 0)
  t.ok(writes.filter(length => length === MIB).length > 8)
  await isWhole(t, log, 60, MIB / 2)
  await log.close()
})

t.test(
  'no space to allocate: the append is refused, and the log goes on when there is',
  async t => {
    let isFull = true
    const { open } = await watched({}, async () => {
      if (isFull) throw new SystemError(ENOSPC, 'fallocate')
      return false
    })
    const log = await open()
    await t.rejects(stream(log, 60, MIB / 2), { code: 'ERR_RIOLOG_NO_SPACE' })
    await log.flush()
    const kept = (await recordsOf(log)).length
    t.ok(kept > 4 && kept < 60)
    isFull = false
    let taken = false
    while (!taken) {
      try {
        await log.appendDurable(payload(kept, MIB / 2))
        taken = true
      } catch (error) {
        t.equal(
          (error as { code: string }).code,
          'ERR_RIOLOG_NO_SPACE',
          'an old refusal, told once',
        )
      }
    }
    await isWhole(t, log, kept + 1, MIB / 2)
    await log.close()
  },
)

t.test('simulated space is whole, also where a write of it is cut short', async t => {
  const device = new SimulatedDevice()
  const directory = await new SimulatedDisk(device).openDirectory('/')
  const file = await directory.open('file', 'createNew', 0)
  let cuts = 0
  device.interference = ({ kind }) =>
    kind === 'write' && cuts++ === 0 ? { kind: 'short', bytes: 4 * KIB } : undefined
  t.ok(await file.allocate(4 * KIB, 60 * KIB))
  t.equal(cuts, 2, 'it went on')
  t.equal(file.size(), 64 * KIB)
})

onEachEngine(t, 'allocated space reads as zeros, and what is there stays', async (t, engine) => {
  const disk = engine === 'uring' ? new UringDisk() : new ThreadPoolDisk()
  const directory = await disk.openDirectory(temporaryDirectory(t), undefined)
  const file = await directory.open('file', 'createNew', 0o600)
  const buffer = allocateBuffer(MIB)
  buffer.bytes.fill(1)
  await file.write(buffer, 0, 8 * KIB, 0)
  if (await file.allocate(4 * KIB, MIB - 4 * KIB)) {
    t.equal(file.size(), MIB)
    t.equal(await file.read(buffer, 0, MIB, 0), MIB)
    t.ok(buffer.bytes.subarray(0, 8 * KIB).every(byte => byte === 1))
    t.ok(buffer.bytes.subarray(8 * KIB).every(byte => byte === 0))
  } else t.equal(file.size(), 8 * KIB, 'not on this file system')
  await t.rejects(file.allocate(0, 0), { code: 'ERR_RIOLOG_SYSTEM', syscall: 'fallocate' })
  file.close()
  directory.close()
  await disk.close()
})

onEachEngine(t, 'what is streamed is there again', async (t, engine) => {
  const path = temporaryDirectory(t)
  const options = { engine, segmentSize: 16 * MIB }
  const log = await Log.open(path, options)
  await stream(log, 100, MIB / 2)
  await isWhole(t, log, 100, MIB / 2)
  await log.close()
  const again = await Log.open(path, options)
  await isWhole(t, again, 100, MIB / 2)
  await again.close()
})

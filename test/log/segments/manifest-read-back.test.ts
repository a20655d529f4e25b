/**
 * A copy of the manifest is looked at behind its sync: a device can lose a write and say that it is done
 * (ONDISK's faults of a medium). A copy that is left behind by one update would be in force again when a
 * power cut tears the other one in the next.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { allocateBuffer } from '../../../src/disk/buffer.ts'
import type { Disk } from '../../../src/disk/disk.ts'
import { type Effect, type Outcome, SimulatedDevice } from '../../../src/disk/simulated.ts'
import { ThreadPoolDisk } from '../../../src/disk/threadpool.ts'
import { UringDisk } from '../../../src/disk/uring.ts'
import type { PoisonedError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log/log.ts'
import { COPY_AT, MANIFEST_NAME } from '../../../src/log/segments/manifest.ts'
import { onEachEngine, type Test, temporaryDirectory } from '../../support/engines.ts'
import { openSimulated, recordsOf } from '../../support/simulated.ts'

const FAULTS: Record<string, Effect> = {
  lost: { kind: 'lost' },
  misdirected: { kind: 'misdirected', name: MANIFEST_NAME, position: 8192 },
}

/** Does it to the next write of one copy. */
function faultNext(device: SimulatedDevice, copy: 0 | 1, effect: Effect): () => boolean {
  let done = false
  device.interference = ({ kind, name, position }) => {
    if (done || kind !== 'write' || name !== MANIFEST_NAME || position !== COPY_AT[copy]) return
    done = true
    return effect
  }
  return () => done
}

const textsOf = async (log: Log) => (await recordsOf(log)).map(({ data }) => String(data))

/** What is left where the power is cut at each sync of the manifest to come, and what was not synced is garbage. */
function tornAtUpdates(device: SimulatedDevice): SimulatedDevice[] {
  const cuts: SimulatedDevice[] = []
  const torn: Outcome = { survives: () => true, fate: () => 'garbage', garbage: () => 0xee }
  device.interference = ({ kind, name }) => {
    if (kind !== 'sync' || name !== MANIFEST_NAME) return undefined
    const now = device.snapshot()
    if (now.unsynced(512).length > 0) cuts.push(now.afterPowerCut(torn))
    return undefined
  }
  return cuts
}

interface Procedure {
  readonly name: string
  run(log: Log, lsns: readonly number[]): Promise<unknown>
  /** What it leaves. */
  after(texts: string[]): string[]
}

const PROCEDURES: readonly Procedure[] = [
  { name: 'trim', run: (log, lsns) => log.trim(lsns[2]), after: texts => texts.slice(2) },
  { name: 'rewind', run: (log, lsns) => log.rewind(lsns[1]), after: texts => texts.slice(0, 1) },
  // The first append of an opening tells the manifest of its segment before it returns.
  {
    name: 'the first append of an opening',
    run: async log => log.append(Buffer.from('next')),
    after: texts => texts,
  },
]

for (const { name, run, after } of PROCEDURES) {
  for (const [fault, effect] of Object.entries(FAULTS)) {
    for (const copy of [0, 1] as const) {
      t.test(`${name}, copy ${copy} ${fault}: refused, and what is left is whole`, async t => {
        const device = new SimulatedDevice()
        let log = await openSimulated(device)
        const lsns: number[] = []
        for (const text of ['a', 'b', 'c']) lsns.push(await log.appendDurable(Buffer.from(text)))
        if (name.startsWith('the first')) {
          await log.close()
          log = await openSimulated(device)
        }
        const isDone = faultNext(device, copy, effect)
        const error = (await run(log, lsns).then(
          () => undefined,
          reason => reason,
        )) as PoisonedError | undefined
        t.ok(isDone(), 'the fault was met')
        t.equal(error?.code, 'ERR_RIOLOG_POISONED')
        t.match(error?.cause, { errnoName: 'EIO', syscall: 'read back' })
        await log.close().catch(() => {})

        device.interference = undefined
        const left = device.afterKill()
        const cuts = tornAtUpdates(left)
        const again = await openSimulated(left)
        const shown = await textsOf(again)
        const [all, ifDone] = [['a', 'b', 'c'], after(['a', 'b', 'c'])]
        t.ok([all.join(), ifDone.join()].includes(shown.join()), shown.join())
        await again.close()

        t.ok(cuts.length >= 2, 'both copies were written by the opening')
        for (const cut of cuts) t.same(await textsOf(await openSimulated(cut)), shown)
      })
    }
  }
}

async function readBack(t: Test, disk: Disk, path: string): Promise<void> {
  const directory = await disk.openDirectory(path, { mode: 0o700 })
  const file = await directory.open('file', 'createNew', 0o600)
  const [written, found] = [allocateBuffer(12_288), allocateBuffer(12_288)]
  written.bytes.fill(7)
  file.writeBlocking(written, 0, 8192, 4096)
  file.syncBlocking()
  t.equal(file.readBlocking(found, 4096, 4096, 8192), 4096)
  t.same(Buffer.from(found.bytes.subarray(4096, 8192)), Buffer.alloc(4096, 7))
  t.equal(
    Buffer.from(found.bytes.subarray(0, 4096)).some(byte => byte !== 0),
    false,
    'nothing more',
  )
  t.equal(file.readBlocking(found, 0, 12_288, 4096), 8192, 'up to the end of the file')
  t.equal(file.readBlocking(found, 0, 4096, 12_288), 0)
  t.equal(readFileSync(join(path, 'file')).length, 12_288)
  file.close()
  directory.close()
  await disk.close()
}

onEachEngine(t, 'reads while holding up the thread', async (t, engine) => {
  const disk = engine === 'uring' ? new UringDisk() : new ThreadPoolDisk()
  await readBack(t, disk, temporaryDirectory(t))
})

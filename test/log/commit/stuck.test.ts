/** A disk that answers nothing: whoever waits is told in bounded time, where a limit is set. */
import { existsSync } from 'node:fs'
import t from 'tap'
import {
  type OperationKind,
  PowerCut,
  SimulatedDevice,
  SimulatedDisk,
} from '../../../src/disk/simulated.ts'
import { PoisonedError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import { segmentName } from '../../../src/segment/format.ts'
import { onEachEngine, temporaryDirectory } from '../../support/engines.ts'
import { KIB, openSimulated, recordsOf, withFiles } from '../../support/simulated.ts'

/** Longer than a busy machine holds up what does end. */
const LIMIT_MS = 250
const SEGMENT = /\.seg$/

/** From now on operations of a kind on a file are never answered; counts them. */
function stick(device: SimulatedDevice, kind: OperationKind, file: RegExp): () => number {
  let stuck = 0
  device.interference = operation => {
    if (operation.kind !== kind || !file.test(operation.name)) return undefined
    stuck++
    return new PowerCut() // for this operation alone: the device goes on
  }
  return () => stuck
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => Promise.reject(new Error('expected a rejection')),
    error => error,
  )
}

function isStuck(error: unknown): boolean {
  const { cause } = error as { cause?: { code?: unknown } }
  return error instanceof PoisonedError && cause?.code === 'ERR_RIOLOG_TIMEOUT'
}

async function startedLog(
  limitMs = LIMIT_MS,
): Promise<{ device: SimulatedDevice; log: Log; lsns: number[] }> {
  const device = new SimulatedDevice()
  const log = await openSimulated(device, { commitTimeoutMs: limitMs, idleStampMs: 0 })
  const lsns = []
  for (let i = 0; i < 3; i++) lsns.push(await log.appendDurable(Buffer.from(`durable ${i}`)))
  return { device, log, lsns }
}

for (const kind of ['write', 'sync'] as const) {
  t.test(`a ${kind} that never ends rejects all who wait, and reads go on`, async t => {
    const { device, log, lsns } = await startedLog()
    const stuck = stick(device, kind, SEGMENT)
    const waiting = [log.appendDurable(Buffer.from('a')), log.appendDurable(Buffer.from('b'))]
    const errors = await Promise.all([...waiting, log.flush()].map(rejection))
    t.ok(stuck() >= 1)
    t.ok(errors.every(isStuck))
    t.throws(() => log.append(Buffer.from('c')), { code: 'ERR_RIOLOG_POISONED' })
    t.equal((await log.read(lsns[2])).toString(), 'durable 2')
    const again = await openSimulated(device.afterPowerCut(() => true))
    t.same(
      (await recordsOf(again)).slice(0, 3).map(({ lsn }) => lsn),
      lsns,
    )
  })
}

t.test('so does the preparation of a segment, once somebody needs it', async t => {
  const { device, log } = await startedLog()
  const stuck = stick(device, 'sync', /0003\.seg$|0002\.seg$/)
  const told = await rejection(
    (async () => {
      for (;;) await log.appendDurable(Buffer.alloc(4000))
    })(),
  )
  t.equal(stuck(), 1)
  t.ok(isStuck(told))
})

for (const [name, change] of [
  ['trim', (log: Log, lsn: number) => log.trim(lsn)],
  ['rewind', (log: Log, lsn: number) => log.rewind(lsn)],
] as const) {
  t.test(`a ${name} whose manifest update never ends is undecided`, async t => {
    const { device, log, lsns } = await startedLog()
    const stuck = stick(device, 'sync', /manifest/i)
    t.ok(isStuck(await rejection(change(log, lsns[1]))))
    t.equal(stuck(), 1)
    t.throws(() => log.append(Buffer.from('c')), { code: 'ERR_RIOLOG_POISONED' })
  })
}

// Which sync of the file is the last one: of a fork's the first is its preparation's.
for (const [name, file, heldSync, change] of [
  ['trim', /^MANIFEST$/, 1, (log: Log, lsn: number) => log.trim(lsn)],
  ['rewind', /^MANIFEST$/, 1, (log: Log, lsn: number) => log.rewind(lsn)],
  ["preparation of a rewind's fork", SEGMENT, 1, (log: Log, lsn: number) => log.rewind(lsn)],
  ["rewind's fork", SEGMENT, 2, (log: Log, lsn: number) => log.rewind(lsn)],
] as const) {
  t.test(`no file is closed under a ${name} that the disk may still do`, async t => {
    const simulated = new SimulatedDisk(new SimulatedDevice())
    let holds = false
    let syncs = 0
    let release = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    const inFlight = new Set<string>()
    const closedEarly: string[] = []
    const disk = withFiles(simulated, opened => ({
      sync: async () => {
        if (holds && file.test(opened.name) && ++syncs === heldSync) {
          inFlight.add(opened.name)
          await held
        }
        await opened.sync()
        inFlight.delete(opened.name)
      },
      close: () => {
        if (inFlight.has(opened.name)) closedEarly.push(opened.name)
        opened.close()
      },
    }))
    // So large that no other segment is on its way: nothing else holds the close up.
    const options = { segmentSize: 1024 * KIB, commitTimeoutMs: LIMIT_MS, idleStampMs: 0 }
    const log = await Log.openOn(disk, 'simulated', checkOptions(options))
    const lsns = []
    for (let i = 0; i < 3; i++) lsns.push(await log.appendDurable(Buffer.from(`durable ${i}`)))
    holds = true
    t.ok(isStuck(await rejection(change(log, lsns[1]))))
    t.equal(inFlight.size, 1)
    let isClosed = false
    const closing = rejection(log.close()).then(error => {
      isClosed = true
      return error
    })
    await new Promise(resolve => setTimeout(resolve, 20))
    t.notOk(isClosed, 'it waits for what the disk has')
    release()
    t.match(await closing, { code: 'ERR_RIOLOG_POISONED' })
    t.same(closedEarly, [])
  })
}

t.test('a slow disk is no stuck one, and an idle log is never late', async t => {
  const { device, log } = await startedLog(500)
  await new Promise(resolve => setTimeout(resolve, 600))
  device.interference = ({ kind }) => {
    if (kind === 'sync') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    return undefined
  }
  for (let i = 0; i < 6; i++) await log.appendDurable(Buffer.from('slow'))
  // More than there is memory for: somebody waits all the time, and far longer than the limit.
  await Promise.all(Array.from({ length: 50 }, () => log.appendDurable(Buffer.alloc(45_000))))
  t.equal((await recordsOf(log)).length, 3 + 6 + 50)
  await log.close()
})

onEachEngine(
  t,
  'a thread that was busy for longer looks at what the disk has answered',
  async (t, engine) => {
    const log = await Log.open(temporaryDirectory(t), { engine, commitTimeoutMs: LIMIT_MS })
    await log.appendDurable(Buffer.from('first'))
    await new Promise(setImmediate)
    const durable = log.appendDurable(Buffer.from('a'))
    await new Promise<void>(resolve => {
      // Behind the cut, which comes at the end of this turn; system calls let io_uring do its part.
      let ticks = 3
      const work = () => {
        if (--ticks > 0) return process.nextTick(work)
        for (const end = performance.now() + 2 * LIMIT_MS; performance.now() < end; )
          existsSync('/')
        resolve()
      }
      process.nextTick(work)
    })
    t.ok((await durable) < log.durableLsn)
    await log.close()
  },
)

t.test('a segment that takes long is not stuck while the disk answers its pieces', async t => {
  const device = new SimulatedDevice()
  let pieces = 0
  const disk = withFiles(new SimulatedDisk(device), file => ({
    async write(buffer, offset, length, position) {
      if (file.name === segmentName(2) && length > 64 * KIB) {
        pieces++
        await new Promise(resolve => setTimeout(resolve, LIMIT_MS / 3))
      }
      await file.write(buffer, offset, length, position)
    },
  }))
  const options = { segmentSize: 64 * 1024 * KIB, idleStampMs: 0, commitTimeoutMs: LIMIT_MS }
  const log = await Log.openOn(disk, 'simulated', checkOptions(options))
  // Shorter than a stream's, whose next file is allocated alone.
  for (let i = 0; i < 100; i++) await log.appendDurable(Buffer.alloc(50 * KIB))
  t.ok(pieces > 5, `${pieces} pieces`)
  await log.close()
})

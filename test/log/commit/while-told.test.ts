/**
 * Callers' code that runs while riolog tells of what is durable (callbacks, listeners, subscribers of a channel) may append and
 * hold up the thread with `flushSync`, and so comes back into what is telling it.
 */
import { spawnSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Disk, DiskFile } from '../../../src/disk/disk.ts'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { ThreadPoolDisk } from '../../../src/disk/threadpool.ts'
import { UringDisk } from '../../../src/disk/uring.ts'
import { SystemError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import { onEachEngine, temporaryDirectory, whyNoRing } from '../../support/engines.ts'
import { failingBatch, KIB, openSimulated, recordsOf, withFiles } from '../../support/simulated.ts'

const CHILD_LIMIT_MS = 30_000
const child = fileURLToPath(new URL('../children/two-logs.ts', import.meta.url))

/** A disk, and how many of its commits have been asked for and not answered, the file system's word for it. */
function counting(disk: Disk): { disk: Disk; underWay: () => number } {
  let underWay = 0
  const counted = withFiles(
    disk,
    (file): Partial<DiskFile> => ({
      commit(buffer, offset, length, position, sync, done) {
        underWay++
        file.commit(buffer, offset, length, position, sync, error => {
          underWay--
          done(error)
        })
      },
    }),
  )
  return { disk: counted, underWay: () => underWay }
}

for (const sync of ['dsync', 'fdatasync'] as const) {
  onEachEngine(
    t,
    `a flushSync in a callback of a flushSync waits for its own commit, by ${sync}`,
    async (t, engine) => {
      const own = engine === 'uring' ? new UringDisk() : new ThreadPoolDisk()
      const { disk, underWay } = counting(own)
      const options = checkOptions({ sync, busyPoll: 'never', idleStampMs: 0, overlap: 'never' })
      const log = await Log.openOn(disk, temporaryDirectory(t), options)
      await log.appendDurable(Buffer.from('first'))
      const told: { depth: number; durable: boolean; underWay: number; inFlight: number }[] = []
      const appendAndFlush = (depth: number) => {
        const lsn = log.append(Buffer.from(`at depth ${depth}`), () => {
          if (depth < 4) appendAndFlush(depth + 1)
        })
        log.flushSync()
        const inFlight = own instanceof UringDisk ? own.queue.inFlight : 0
        told.push({ depth, durable: log.durableLsn > lsn, underWay: underWay(), inFlight })
      }
      // What the opening left to be done: the next segment, and the zeros in it.
      while (own instanceof UringDisk && own.queue.inFlight > 0) await new Promise(setImmediate)
      appendAndFlush(1)
      t.same(
        told,
        [4, 3, 2, 1].map(depth => ({ depth, durable: true, underWay: 0, inFlight: 0 })),
      )
      t.equal((await recordsOf(log)).length, 5)
      await log.close()
    },
  )
}

onEachEngine(
  t,
  'a flushSync of one log in a callback of another, both of which came back together',
  async (t, engine) => {
    const args = ['--import=tsx', child, temporaryDirectory(t), temporaryDirectory(t), engine]
    const ended = spawnSync(process.execPath, args, {
      encoding: 'utf8',
      timeout: CHILD_LIMIT_MS,
      killSignal: 'SIGKILL',
    })
    t.equal(ended.stdout, 'a is durable\nb is flushed\nclosed\n', ended.stderr)
  },
)

/** The commits of a simulated log, two at a time, that come back when they are let go. */
async function heldLog(): Promise<{ log: Log; device: SimulatedDevice; letGo: (() => void)[] }> {
  const device = new SimulatedDevice()
  const letGo: (() => void)[] = []
  let holds = false
  const disk = withFiles(new SimulatedDisk(device), file => ({
    commit(buffer, offset, length, position, sync, done) {
      file.commit(buffer, offset, length, position, sync, error => {
        if (holds) letGo.push(() => done(error))
        else done(error)
      })
    },
  }))
  const options = { segmentSize: 64 * KIB, commitsInFlight: 2, maxGroupBytes: 4 * KIB }
  const log = await Log.openOn(disk, 'simulated', checkOptions({ ...options, idleStampMs: 0 }))
  await log.appendDurable(Buffer.from('first'))
  holds = true
  return { log, device, letGo }
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(setImmediate)
}

t.test('a flushSync in a callback, behind which another commit has come back already', async t => {
  const { log, letGo } = await heldLog()
  const told: string[] = []
  log.append(Buffer.alloc(3000, 1), () => {
    told.push('first')
    t.equal(log.flushSync(), log.durableLsn)
    told.push('flushed')
  })
  log.append(Buffer.alloc(3000, 2), () => told.push('second'))
  await until(() => letGo.length === 2)
  letGo[1]()
  t.same(told, [], 'one beside it might have taken its bytes along')
  letGo[0]()
  t.same(told, ['first', 'second', 'flushed'])
  await log.close()
})

t.test('a poison in a callback: what came back good behind it does not count', async t => {
  const { log, device, letGo } = await heldLog()
  let durableLsn: number | undefined
  log.append(Buffer.alloc(3000, 1), () => {
    t.match(failingBatch(log), { code: 'ERR_RIOLOG_POISONED' })
    durableLsn = log.durableLsn
  })
  const second = log.appendDurable(Buffer.alloc(3000, 2))
  await until(() => letGo.length === 2)
  letGo[1]()
  letGo[0]()
  await t.rejects(second, { code: 'ERR_RIOLOG_POISONED' })
  t.equal(log.durableLsn, durableLsn)
  t.equal(log.poison?.durableLsn, durableLsn)
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
  const again = await openSimulated(device.afterKill())
  t.ok(
    (await recordsOf(again)).every(({ data }) => String(data) !== 'of a batch'),
    'nothing of the batch',
  )
  await again.close()
})

for (const end of ['close', 'kill'] as const) {
  t.test(
    `a flushSync in a subscriber of riolog:commit, within a batch, and then a ${end}`,
    async t => {
      const device = new SimulatedDevice()
      const log = await openSimulated(device, { maxGroupBytes: 8 * KIB, idleStampMs: 0 })
      await log.appendDurable(Buffer.from('before'))
      let told = 0
      const listen = () => {
        told++
        log.flushSync()
      }
      subscribe('riolog:commit', listen)
      log.appendBatch([1, 2, 3].map(i => Buffer.alloc(7000, i)))
      await log.flush()
      unsubscribe('riolog:commit', listen)
      t.equal(told, 3, 'a batch of three groups')
      const lsn = await log.appendDurable(Buffer.from('behind'))
      t.ok(log.durableLsn > lsn)
      if (end === 'close') await log.close()
      const again = await openSimulated(end === 'close' ? device : device.afterKill())
      t.same(
        (await recordsOf(again)).map(({ data }) => data.length),
        [6, 7000, 7000, 7000, 6],
      )
      await again.close()
    },
  )
}

t.test('a flushSync in a callback that fails ends the one around it, too', async t => {
  for (const engine of ['uring', 'threadpool', 'simulated'] as const) {
    if (engine === 'uring' && (await whyNoRing()) !== undefined) continue
    const own =
      engine === 'uring'
        ? new UringDisk()
        : engine === 'threadpool'
          ? new ThreadPoolDisk()
          : new SimulatedDisk(new SimulatedDevice())
    let fails = false
    const disk = withFiles(own, file => ({
      commit(buffer, offset, length, position, sync, done) {
        if (fails) throw new SystemError(-5, 'write')
        file.commit(buffer, offset, length, position, sync, done)
      },
    }))
    const log = await Log.openOn(disk, temporaryDirectory(t), checkOptions({ idleStampMs: 0 }))
    await log.appendDurable(Buffer.from('first'))
    log.append(Buffer.from('a'), () => {
      log.append(Buffer.from('b'))
      log.append(Buffer.from('c'))
      fails = true
      t.throws(() => log.flushSync(), { code: 'ERR_RIOLOG_POISONED' }, engine)
    })
    t.throws(() => log.flushSync(), { code: 'ERR_RIOLOG_POISONED' }, engine)
    await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
  }
})

t.test('promises go on in the order of their records, whoever flushes in a callback', async t => {
  const log = await openSimulated(new SimulatedDevice())
  await log.appendDurable(Buffer.from('first'))
  const order: string[] = []
  const later: Promise<unknown>[] = []
  const goOn = (name: string) => log.appendDurable(Buffer.from(name)).then(() => order.push(name))
  const [a, b] = [goOn('a'), goOn('b')]
  log.append(Buffer.from('callback'), () => {
    order.push('callback')
    later.push(goOn('c'), goOn('d'))
    log.flushSync()
  })
  await Promise.all([a, b])
  await Promise.all(later)
  t.same(order, ['callback', 'a', 'b', 'c', 'd'])
  await log.close()
})

t.test('a poison beside what is durable: who waited for that is told so', async t => {
  const log = await openSimulated(new SimulatedDevice())
  await log.appendDurable(Buffer.from('first'))
  const listen = () => {
    unsubscribe('riolog:commit', listen)
    t.match(failingBatch(log), { code: 'ERR_RIOLOG_POISONED' })
  }
  subscribe('riolog:commit', listen)
  const lsn = await log.appendDurable(Buffer.from('a'))
  t.ok(log.poison !== undefined)
  t.ok(log.poison!.durableLsn > lsn)
  await t.rejects(log.close(), { code: 'ERR_RIOLOG_POISONED' })
})

t.test('the memory of a group is not used again before all who waited for it are told', async t => {
  const options = { maxGroupBytes: 4 * KIB, segmentSize: 4096 * KIB }
  const log = await openSimulated(new SimulatedDevice(), options)
  await log.appendDurable(Buffer.from('first'))
  const told: [name: string, lsn: number, durable: boolean][] = []
  const append = (name: string, then = () => {}) =>
    log.append(Buffer.alloc(1300), (_, lsn) => {
      told.push([name, lsn, log.durableLsn > lsn])
      then()
    })
  const lsns: number[] = []
  const names: string[] = []
  // Two groups, and then more than these two can have left.
  const others = () => {
    for (let i = 0; i < 24; i++) {
      names.push(`other ${i}`)
      lsns.push(append(names.at(-1)!))
      if (i === 5 || i === 23) log.flushSync()
    }
  }
  const a = append('a', others)
  const b = append('b')
  await log.flush()
  t.same(
    told,
    ['a', ...names, 'b'].map((name, i) => [name, [a, ...lsns, b][i], true]),
  )
  await log.close()
})

t.test('more flushes in one callback than there are groups in memory', async t => {
  const options = { maxBufferedBytes: 2048 * KIB, segmentSize: 4096 * KIB }
  const log = await openSimulated(new SimulatedDevice(), options)
  await log.appendDurable(Buffer.from('first'))
  let flushed = 0
  await new Promise<void>(resolve => {
    log.append(Buffer.from('a'), () => {
      for (; flushed < 100; flushed++) {
        log.append(Buffer.from('b'))
        log.flushSync()
      }
      resolve()
    })
  })
  t.equal(flushed, 100)
  await log.close()
})

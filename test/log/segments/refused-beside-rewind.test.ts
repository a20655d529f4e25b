/**
 * The disk was full when the next segment was made, and has space again: who appends, waits or drains while a rewind makes its
 * own segment asks for no other one, which would have what the rewind drops for a parent.
 */
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { SystemError } from '../../../src/errors.ts'
import { Log } from '../../../src/log/log.ts'
import { checkOptions } from '../../../src/log/options.ts'
import { segmentName } from '../../../src/segment/format.ts'
import { KIB, openSimulated, recordsOf, withFiles } from '../../support/simulated.ts'

const ENOSPC = -28

/** Something that is awaited until it is let go. */
class Gate {
  readonly passed: Promise<void>
  letGo: () => void = () => {}

  constructor() {
    this.passed = new Promise(resolve => {
      this.letGo = resolve
    })
  }
}

async function turns(count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate)
}

const WAYS = {
  append: (log: Log) => {
    try {
      log.append(Buffer.from('beside'))
      return 'taken'
    } catch (error) {
      return (error as { code: string }).code
    }
  },
  appendDurable: (log: Log) => log.appendDurable(Buffer.from('beside')).then(() => 'taken'),
  appendBatchDurable: (log: Log) =>
    log.appendBatchDurable([Buffer.from('beside'), Buffer.from('beside')]).then(() => 'taken'),
  appendSlicesDurable: (log: Log) =>
    log.appendSlicesDurable(Buffer.from('besides'), Uint32Array.of(0, 6, 0, 6)).then(() => 'taken'),
  drain: (log: Log) => log.drain().then(() => 'room'),
}

for (const [name, ask] of Object.entries(WAYS)) {
  for (const end of ['close', 'kill'] as const) {
    t.test(`${name}, and then a ${end}`, async t => {
      const device = new SimulatedDevice()
      let isFull = true
      const [fork, spare] = [new Gate(), new Gate()]
      let isForking = false
      const disk = withFiles(new SimulatedDisk(device), file => ({
        async write(buffer, offset, length, position) {
          if (isFull && file.name === segmentName(2)) throw new SystemError(ENOSPC, 'write')
          await file.write(buffer, offset, length, position)
        },
        async sync() {
          if (file.name === segmentName(3)) {
            isForking = true
            await fork.passed
          }
          if (file.name === segmentName(4)) await spare.passed
          await file.sync()
        },
      }))
      const log = await Log.openOn(disk, 'simulated', checkOptions({ segmentSize: 64 * KIB }))
      const lsns: number[] = []
      for (let i = 0; i < 6; i++) lsns.push(await log.appendDurable(Buffer.alloc(4000, i)))
      await turns()
      t.notOk(device.names().includes(segmentName(2)), 'the next segment was refused')
      isFull = false
      const rewinding = log.rewind(lsns[3])
      while (!isForking) await turns(1)
      const asked = ask(log)
      await turns()
      fork.letGo()
      await rewinding
      spare.letGo()
      // Beside a rewind there is no room, whatever was refused before it.
      t.match(await asked, name === 'append' ? 'ERR_RIOLOG_BACKPRESSURE' : /taken|room/)
      await turns()
      await log.appendDurable(Buffer.from('behind'))
      await turns()
      if (end === 'close') await log.close()
      const again = await openSimulated(end === 'close' ? device : device.afterKill())
      const found = (await recordsOf(again)).map(({ data }) => data)
      t.same(
        found.slice(0, 3),
        [0, 1, 2].map(i => Buffer.alloc(4000, i)),
      )
      t.equal(found.at(-1)?.toString(), 'behind')
      await again.close()
    })
  }
}

t.test(
  'where the rewind is refused, too, who waits is told, and the next segment is asked for again',
  async t => {
    const device = new SimulatedDevice()
    let isFull = true
    const fork = new Gate()
    let isForking = false
    const disk = withFiles(new SimulatedDisk(device), file => ({
      async write(buffer, offset, length, position) {
        if (file.name === segmentName(3)) {
          isForking = true
          await fork.passed
        }
        if (isFull && file.name !== segmentName(1) && file.name.endsWith('.seg')) {
          throw new SystemError(ENOSPC, 'write')
        }
        await file.write(buffer, offset, length, position)
      },
    }))
    const log = await Log.openOn(disk, 'simulated', checkOptions({ segmentSize: 64 * KIB }))
    const lsns: number[] = []
    for (let i = 0; i < 14; i++) lsns.push(await log.appendDurable(Buffer.alloc(4000, i)))
    await turns()
    const { bufferBytesInUse } = log.metrics()
    const rewinding = t.rejects(log.rewind(lsns[3]), { code: 'ERR_RIOLOG_NO_SPACE' })
    while (!isForking) await turns(1)
    const room = t.rejects(log.appendDurable(Buffer.alloc(9000)), { code: 'ERR_RIOLOG_NO_SPACE' })
    fork.letGo()
    await Promise.all([rewinding, room])
    t.equal(log.metrics().bufferBytesInUse, bufferBytesInUse, 'what it took is given back')
    isFull = false
    for (let i = 14; i < 40; i++) await log.appendDurable(Buffer.alloc(4000, i))
    t.ok(log.info().segments.length > 1)
    t.equal((await recordsOf(log)).length, 40)
    await log.close()
  },
)

/** Ways to end without closing the log. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { pino } from 'pino'
import t from 'tap'
import { SimulatedDevice, SimulatedDisk } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import { checkOptions } from '../../src/log/options.ts'
import { segmentName } from '../../src/segment/format.ts'
import { onEachEngine, type RealEngine, type Test, temporaryDirectory } from '../support/engines.ts'
import { KIB, openSimulated, withFiles } from '../support/simulated.ts'

const CHILD = fileURLToPath(new URL('../support/lifecycle-child.ts', import.meta.url))
const WORKERS = 5
/** On Node 20 a worker does not take `--import=tsx` over. */
const LOAD_CHILD = `import('tsx/esm/api').then(({ register }) => {
  register()
  return import(${JSON.stringify(CHILD)})
})`

async function finds(t: Test, directory: string, engine: RealEngine): Promise<void> {
  const log = await Log.open(directory, { engine })
  const { value } = await log.scan().next()
  t.equal(String(value?.data), 'acknowledged')
  await log.appendDurable(Buffer.from('goes on'))
  await log.close()
}

const ENDINGS: [string, string, number][] = [
  ['idle', 'an idle open log does not hold the process open', 0],
  ['exit', 'process.exit with a commit in flight', 0],
  ['throw', 'an uncaught throw with a commit in flight', 1],
]
for (const [ending, name, status] of ENDINGS) {
  onEachEngine(t, name, async (t, engine) => {
    const directory = temporaryDirectory(t)
    const args = ['--import=tsx', CHILD, directory, engine, ending]
    const child = spawnSync(process.execPath, args, { timeout: 20_000, encoding: 'utf8' })
    t.equal(child.signal, null, 'it ended by itself')
    t.equal(child.status, status, child.stderr)
    await finds(t, directory, engine)
  })
}

onEachEngine(t, 'worker.terminate() with commits in flight', async (t, engine) => {
  for (let i = 0; i < WORKERS; i++) {
    const directory = temporaryDirectory(t)
    const worker = new Worker(LOAD_CHILD, {
      eval: true,
      workerData: [directory, engine, 'flight'],
    })
    await new Promise((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
    })
    await new Promise(resolve => setTimeout(resolve, 40 + i * 20))
    await worker.terminate()
    await finds(t, directory, engine)
  }
})

t.test('a log whose logger throws at opening is closed again', async t => {
  const device = new SimulatedDevice()
  const thrown = new Error('nowhere to log to')
  const info = () => {
    throw thrown
  }
  const logger = Object.assign(pino({ level: 'silent' }), { info })
  await t.rejects(openSimulated(device, { logger }), thrown)
  await (await openSimulated(device, { lockWaitMs: 0 })).close()
})

t.test('who waits for room at a close is told that the log is closed', async t => {
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const disk = withFiles(new SimulatedDisk(new SimulatedDevice()), file => ({
    async sync() {
      if (file.name === segmentName(2)) await held
      await file.sync()
    },
  }))
  const log = await Log.openOn(
    disk,
    'simulated',
    checkOptions({ segmentSize: 64 * KIB, idleStampMs: 0 }),
  )
  for (let i = 0; i < 12; i++) await log.appendDurable(Buffer.alloc(4000))
  const batch = log.appendBatchDurable([Buffer.alloc(9000), Buffer.alloc(9000)])
  const waiting = [t.rejects(batch, { code: 'ERR_RIOLOG_CLOSED' })]
  await new Promise(setImmediate)
  waiting.push(t.rejects(log.drain(), { code: 'ERR_RIOLOG_CLOSED' }))
  const closing = log.close()
  await new Promise(resolve => setTimeout(resolve, 20))
  release()
  await Promise.all([closing, ...waiting])
})

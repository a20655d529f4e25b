/** Every operation in every state that a log can be in: what each gives or throws, in one table. */
import t from 'tap'
import { ioError, SimulatedDevice } from '../../src/disk/simulated.ts'
import type { Log } from '../../src/log/log.ts'
import { openSimulated } from '../support/simulated.ts'

const ONE = Buffer.from('one')

interface State {
  readonly name: string
  /** A log in which the record at `lsn` is durable. */
  make(): Promise<{ log: Log; lsn: number; end(): Promise<void> }>
}

async function started(device = new SimulatedDevice()) {
  const log = await openSimulated(device)
  const lsn = await log.appendDurable(ONE)
  return { device, log, lsn }
}

const close = (log: Log) => () => log.close()

const STATES: readonly State[] = [
  {
    name: 'open',
    async make() {
      const { log, lsn } = await started()
      return { log, lsn, end: close(log) }
    },
  },
  {
    name: 'reopened',
    async make() {
      const { device, log: first, lsn } = await started()
      await first.close()
      const log = await openSimulated(device)
      return { log, lsn, end: close(log) }
    },
  },
  {
    name: 'read-only',
    async make() {
      const { device, log: first, lsn } = await started()
      await first.close()
      const log = await openSimulated(device, { readOnly: true })
      return { log, lsn, end: close(log) }
    },
  },
  {
    name: 'poisoned',
    async make() {
      const { device, log, lsn } = await started()
      device.interference = ({ kind }) => (kind === 'sync' ? ioError(kind) : undefined)
      await log.appendDurable(ONE).catch(() => {})
      return { log, lsn, end: () => log.close().catch(() => {}) }
    },
  },
  {
    name: 'closing',
    async make() {
      const { log, lsn } = await started()
      log.append(ONE)
      const closing = log.close()
      return { log, lsn, end: () => closing }
    },
  },
  {
    name: 'closed',
    async make() {
      const { log, lsn } = await started()
      await log.close()
      return { log, lsn, end: async () => {} }
    },
  },
]

const CLOSED = 'ERR_RIOLOG_CLOSED'
const READ_ONLY = 'ERR_RIOLOG_READ_ONLY'
const POISONED = 'ERR_RIOLOG_POISONED'
/** [open, reopened, read-only, poisoned, closing, closed]: a code, or 'ok'. */
const WRITES = ['ok', 'ok', READ_ONLY, POISONED, CLOSED, CLOSED]
const READS = ['ok', 'ok', 'ok', 'ok', CLOSED, CLOSED]
const ALWAYS = ['ok', 'ok', 'ok', 'ok', 'ok', 'ok']

const OPERATIONS: [string, readonly string[], (log: Log, lsn: number) => unknown][] = [
  ['append', WRITES, log => log.append(ONE)],
  ['appendDurable', WRITES, log => log.appendDurable(ONE)],
  ['appendBatch', WRITES, log => log.appendBatch([ONE, ONE])],
  ['appendBatchDurable', WRITES, log => log.appendBatchDurable([ONE, ONE])],
  ['flush', WRITES, log => log.flush()],
  ['flushSync', WRITES, log => log.flushSync()],
  ['drain', WRITES, log => log.drain()],
  ['trim', WRITES, (log, lsn) => log.trim(lsn)],
  ['rewind', WRITES, (log, lsn) => log.rewind(lsn)],
  // Only in memory: a poisoned log can still be read, and so be held.
  ['pin', ['ok', 'ok', READ_ONLY, 'ok', CLOSED, CLOSED], (log, lsn) => log.pin('a', lsn)],
  // Of a poisoned log they tell what came before.
  ['metrics', ['ok', 'ok', READ_ONLY, 'ok', CLOSED, CLOSED], log => log.metrics()],
  ['read', READS, (log, lsn) => log.read(lsn)],
  ['readMany', READS, (log, lsn) => log.readMany([lsn, lsn])],
  ['scan', READS, log => log.scan().next()],
  ['tail', READS, log => log.tail().next()],
  // Behind the last durable record.
  [
    'tail at the end',
    ['waits', 'waits', 'waits', POISONED, CLOSED, CLOSED],
    log => log.tail({ from: log.durableLsn }).next(),
  ],
  ['durableLsn', ALWAYS, log => log.durableLsn],
  ['trimLsn', ALWAYS, log => log.trimLsn],
  ['recovery', ALWAYS, log => log.recovery],
  ['info', ALWAYS, log => log.info()],
  ['close', ['ok', 'ok', 'ok', POISONED, 'ok', 'ok'], log => log.close()],
]

async function outcome(run: () => unknown): Promise<string> {
  const waits = new Promise<string>(resolve => setTimeout(() => resolve('waits'), 100))
  const result = (async () => {
    await run()
    return 'ok'
  })().catch(error => String(error.code ?? error))
  return Promise.race([result, waits])
}

for (const [at, { name, make }] of STATES.entries()) {
  t.test(name, async t => {
    for (const [operation, outcomes, run] of OPERATIONS) {
      const { log, lsn, end } = await make()
      t.equal(await outcome(() => run(log, lsn)), outcomes[at], operation)
      await end()
    }
  })
}

t.test('opening: a log that is not there yet takes nothing', async t => {
  const device = new SimulatedDevice()
  const opening = openSimulated(device)
  await t.rejects(openSimulated(device, { lockWaitMs: 0 }), { code: 'ERR_RIOLOG_LOCKED' })
  await (await opening).close()
})

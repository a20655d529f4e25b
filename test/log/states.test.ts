/** Every operation in every state that a log can be in: what each gives or throws, in one table. */
import t from 'tap'
import { ioError, SimulatedDevice } from '../../src/disk/simulated.ts'
import { Log } from '../../src/log/log.ts'
import { openSimulated, recordsOf } from '../support/simulated.ts'

const ONE = Buffer.from('one')
const HALVES = Uint32Array.of(0, 2, 2, 3)

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
    name: 'rewinding',
    async make() {
      const { log, lsn } = await started()
      const rewinding = log.rewind(await log.appendDurable(ONE))
      const end = async () => {
        await rewinding
        await log.close()
      }
      return { log, lsn, end }
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
      const { log, lsn } = await poisoned()
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
    name: 'closing after a poison',
    async make() {
      const { log, lsn } = await poisoned()
      const closing = log.close().catch(() => {})
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

async function poisoned() {
  const { device, log, lsn } = await started()
  device.interference = ({ kind }) => (kind === 'sync' ? ioError(kind) : undefined)
  await log.appendDurable(ONE).catch(() => {})
  return { log, lsn }
}

const CLOSED = 'ERR_RIOLOG_CLOSED'
const READ_ONLY = 'ERR_RIOLOG_READ_ONLY'
const POISONED = 'ERR_RIOLOG_POISONED'
const FULL = 'ERR_RIOLOG_BACKPRESSURE'
/**
 * What each state gives, in the order of the table above: a code, 'ok', or 'waits' for more.
 * [open, reopened, rewinding, read-only, poisoned, closing, closing after a poison, closed]
 */
const ENDED = [CLOSED, CLOSED, CLOSED]
const WRITES = ['ok', 'ok', 'ok', READ_ONLY, POISONED, ...ENDED]
/** A rewind is waited for by those who can wait. */
const AT_ONCE = ['ok', 'ok', FULL, READ_ONLY, POISONED, ...ENDED]
const READS = ['ok', 'ok', 'ok', 'ok', 'ok', ...ENDED]
const MORE = ['waits', 'waits', 'ok', 'waits', POISONED, ...ENDED]
/** Only in memory: of a poisoned log they tell what came before, and what can be read can be held. */
const MEMORY = ['ok', 'ok', 'ok', READ_ONLY, 'ok', ...ENDED]
const ALWAYS = Array(STATES.length).fill('ok')
const CLOSES = ['ok', 'ok', 'ok', 'ok', POISONED, 'ok', POISONED, 'ok']

type Member = keyof Log
type Operation = [Member, readonly string[], (log: Log, lsn: number) => unknown, string?]

const OPERATIONS: readonly Operation[] = [
  ['append', AT_ONCE, log => log.append(ONE)],
  ['appendDurable', WRITES, log => log.appendDurable(ONE)],
  ['appendBatch', AT_ONCE, log => log.appendBatch([ONE, ONE])],
  ['appendBatchDurable', WRITES, log => log.appendBatchDurable([ONE, ONE])],
  ['appendSlices', AT_ONCE, log => log.appendSlices(ONE, HALVES)],
  ['appendSlicesDurable', WRITES, log => log.appendSlicesDurable(ONE, HALVES)],
  ['flush', WRITES, log => log.flush()],
  ['flushSync', WRITES, log => log.flushSync()],
  ['drain', WRITES, log => log.drain()],
  ['trim', WRITES, (log, lsn) => log.trim(lsn)],
  ['rewind', WRITES, (log, lsn) => log.rewind(lsn)],
  ['pin', MEMORY, (log, lsn) => log.pin('a', lsn)],
  ['metrics', MEMORY, log => log.metrics()],
  ['onDurable', MEMORY, log => log.onDurable(() => {})],
  ['onSealed', MEMORY, log => log.onSealed(() => {})],
  ['read', READS, (log, lsn) => log.read(lsn)],
  ['readMany', READS, (log, lsn) => log.readMany([lsn, lsn])],
  ['scan', READS, log => log.scan().next()],
  ['scanBatches', READS, log => log.scanBatches().next()],
  ['scan', READS, log => log.scan({ reverse: true }).next(), 'in reverse'],
  ['tail', READS, log => log.tail().next()],
  // Behind the last durable record: of a log that rewinds, that goes.
  [
    'tail',
    MORE.with(2, 'ERR_RIOLOG_REWOUND'),
    log => log.tail({ from: log.durableLsn }).next(),
    'at the end',
  ],
  ['readRaw', READS, log => log.readRaw(0)],
  ['tailRaw', READS, log => log.tailRaw({ from: 0 }).next()],
  // What a rewind goes on with is something new.
  ['tailRaw', MORE, log => log.tailRaw({ from: log.durableLsn }).next(), 'at the end'],
  ['hashAt', READS, log => log.hashAt(log.durableLsn)],
  ['durableLsn', ALWAYS, log => log.durableLsn],
  ['trimLsn', ALWAYS, log => log.trimLsn],
  ['poison', ALWAYS, log => log.poison],
  ['recovery', ALWAYS, log => log.recovery],
  ['maxRecordBytes', ALWAYS, log => log.maxRecordBytes],
  ['info', ALWAYS, log => log.info()],
  ['close', CLOSES, log => log.close()],
  [Symbol.asyncDispose, CLOSES, log => log[Symbol.asyncDispose]()],
]

/** What is not to wait has time on a busy machine, too. */
async function outcome(run: () => unknown, expected: string): Promise<string> {
  const limitMs = expected === 'waits' ? 100 : 30_000
  let timer: NodeJS.Timeout | undefined
  const waits = new Promise<string>(resolve => {
    timer = setTimeout(resolve, limitMs, 'waits')
  })
  const result = (async () => {
    await run()
    return 'ok'
  })().catch(error => String(error.code ?? error))
  const given = await Promise.race([result, waits])
  clearTimeout(timer)
  return given
}

for (const [at, { name, make }] of STATES.entries()) {
  t.test(name, async t => {
    for (const [member, outcomes, run, how = ''] of OPERATIONS) {
      const { log, lsn, end } = await make()
      const expected = outcomes[at]
      const given = await outcome(() => run(log, lsn), expected)
      t.equal(given, expected, `${String(member)} ${how}`.trim())
      await end()
    }
  })
}

t.test('every member of a log is in the table', async t => {
  const members = Reflect.ownKeys(Log.prototype).filter(key => key !== 'constructor')
  const named = new Set<string | symbol>(OPERATIONS.map(([member]) => member))
  t.same(
    members.filter(key => !named.has(key)),
    [],
  )
  t.ok(members.length > 20)
})

t.test('opening: the log is not there yet, and nobody else can write', async t => {
  const device = new SimulatedDevice()
  const creating = openSimulated(device)
  await t.rejects(openSimulated(device, { lockWaitMs: 0 }), { code: 'ERR_RIOLOG_LOCKED' })
  const log = await creating
  await log.appendDurable(ONE)
  await log.close()

  const opening = openSimulated(device)
  const [second, reader] = await Promise.allSettled([
    openSimulated(device, { lockWaitMs: 0 }),
    openSimulated(device, { readOnly: true }),
  ])
  t.match(second, { status: 'rejected', reason: { code: 'ERR_RIOLOG_LOCKED' } })
  if (reader.status === 'rejected') throw reader.reason
  t.equal((await recordsOf(reader.value)).length, 1, 'it can be read meanwhile')
  await reader.value.close()
  await (await opening).close()
})

t.test('opening fails: its lock is free for the next one', async t => {
  const device = new SimulatedDevice()
  device.interference = ({ kind }) => (kind === 'write' ? ioError(kind) : undefined)
  await t.rejects(openSimulated(device), { code: 'ERR_RIOLOG_SYSTEM' })
  device.interference = undefined
  await (await openSimulated(device, { lockWaitMs: 0 })).close()
})

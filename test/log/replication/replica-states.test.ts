/** Every operation of a replica in every state that it can be in: what each gives or throws, in one table. */
import t from 'tap'
import { ioError, SimulatedDevice, SimulatedDisk } from '../../../src/disk/simulated.ts'
import { type Log, type RawChunk, Replica } from '../../../src/index.ts'
import { checkReplicaOptions } from '../../../src/log/options.ts'
import { openSimulated, recordsOf } from '../../support/simulated.ts'

function openReplica(device: SimulatedDevice, options = {}): Promise<Replica> {
  return Replica.openOn(new SimulatedDisk(device), 'simulated', checkReplicaOptions(options))
}

interface Made {
  readonly replica: Replica
  /** What is to be applied next. */
  readonly chunk: RawChunk
  end(): Promise<unknown>
}

interface State {
  readonly name: string
  /** Whether anything has been applied. */
  readonly isEmpty: boolean
  make(): Promise<Made>
}

/** A source of two chunks. */
async function source(): Promise<{ log: Log; chunks: RawChunk[] }> {
  const log = await openSimulated(new SimulatedDevice())
  for (const text of ['one', 'two', 'three']) await log.appendDurable(Buffer.from(text))
  const first = await log.readRaw(0, { maxBytes: 1 })
  const second = await log.readRaw(first!.end)
  return { log, chunks: [first!, second!] }
}

async function started(device = new SimulatedDevice()) {
  const { log, chunks } = await source()
  const replica = await openReplica(device)
  await replica.apply(chunks[0])
  return { device, log, replica, chunk: chunks[1] }
}

async function poisoned() {
  const { device, log, replica, chunk } = await started()
  device.interference = ({ kind }) => (kind === 'sync' ? ioError(kind) : undefined)
  await replica.apply(chunk).catch(() => {})
  return { device, log, replica, chunk }
}

const STATES: readonly State[] = [
  {
    name: 'empty',
    isEmpty: true,
    async make() {
      const { log, chunks } = await source()
      const replica = await openReplica(new SimulatedDevice())
      const end = () => Promise.all([replica.close(), log.close()])
      return { replica, chunk: chunks[0], end }
    },
  },
  {
    name: 'open',
    isEmpty: false,
    async make() {
      const { log, replica, chunk } = await started()
      return { replica, chunk, end: () => Promise.all([replica.close(), log.close()]) }
    },
  },
  {
    name: 'reopened',
    isEmpty: false,
    async make() {
      const { device, log, replica: first, chunk } = await started()
      await first.close()
      const replica = await openReplica(device)
      return { replica, chunk, end: () => Promise.all([replica.close(), log.close()]) }
    },
  },
  {
    name: 'poisoned',
    isEmpty: false,
    async make() {
      const { log, replica, chunk } = await poisoned()
      const end = async () => {
        await replica.close().catch(() => {})
        await log.close()
      }
      return { replica, chunk, end }
    },
  },
  {
    name: 'closing',
    isEmpty: false,
    async make() {
      const { log, replica, chunk } = await started()
      const closing = replica.close()
      return { replica, chunk, end: () => Promise.all([closing, log.close()]) }
    },
  },
  {
    name: 'closing after a poison',
    isEmpty: false,
    async make() {
      const { log, replica, chunk } = await poisoned()
      const closing = replica.close().catch(() => {})
      return { replica, chunk, end: () => Promise.all([closing, log.close()]) }
    },
  },
  {
    name: 'closed',
    isEmpty: false,
    async make() {
      const { log, replica, chunk } = await started()
      await replica.close()
      return { replica, chunk, end: () => log.close() }
    },
  },
]

const CLOSED = 'ERR_RIOLOG_CLOSED'
const POISONED = 'ERR_RIOLOG_POISONED'
/** [empty, open, reopened, poisoned, closing, closing after a poison, closed] */
const APPLIES = ['ok', 'ok', 'ok', POISONED, CLOSED, CLOSED, CLOSED]
const CLOSES = ['ok', 'ok', 'ok', POISONED, 'ok', POISONED, 'ok']

const OPERATIONS: [keyof Replica, readonly string[], (made: Made) => unknown][] = [
  ['apply', APPLIES, ({ replica, chunk }) => replica.apply(chunk)],
  ['close', CLOSES, ({ replica }) => replica.close()],
  [Symbol.asyncDispose, CLOSES, ({ replica }) => replica[Symbol.asyncDispose]()],
]

/** These tell the same in each state: of what was applied and is durable. */
const TELLS: [keyof Replica, unknown, (chunk: RawChunk) => unknown][] = [
  ['end', 0, ({ previousEnd }) => previousEnd],
  ['durableLsn', 0, ({ previousEnd }) => previousEnd],
  ['epoch', 0, ({ epoch }) => epoch],
  ['uuid', undefined, ({ uuid }) => uuid],
  ['trimLsn', 0, ({ trimLsn }) => trimLsn],
  ['hash', undefined, () => /^[0-9a-f]{24}$/],
]

for (const [at, { name, isEmpty, make }] of STATES.entries()) {
  t.test(name, async t => {
    for (const [member, outcomes, run] of OPERATIONS) {
      const made = await make()
      const outcome = await (async () => run(made))().then(
        () => 'ok',
        error => String(error.code ?? error),
      )
      t.equal(outcome, outcomes[at], String(member))
      await made.end()
    }
    const { replica, chunk, end } = await make()
    for (const [member, nothing, something] of TELLS) {
      const value = replica[member] as unknown
      if (isEmpty) t.equal(value, nothing, String(member))
      else t.match(value, something(chunk) as never, String(member))
    }
    await end()
  })
}

t.test('every member of a replica is in the tables', async t => {
  const members = Reflect.ownKeys(Replica.prototype).filter(key => key !== 'constructor')
  const named = new Set<string | symbol>([...OPERATIONS, ...TELLS].map(([member]) => member))
  t.same(new Set(members), named)
})

t.test('opening, and open: nobody else writes there, as a replica or as a log', async t => {
  const device = new SimulatedDevice()
  const { log, chunks } = await source()
  const opening = openReplica(device)
  const locked = { code: 'ERR_RIOLOG_LOCKED' }
  await t.rejects(openReplica(device, { lockWaitMs: 0 }), locked)
  await t.rejects(openSimulated(device, { lockWaitMs: 0 }), locked)
  const replica = await opening
  await t.rejects(openSimulated(device, { readOnly: true }), { code: 'ERR_RIOLOG_NO_LOG' })
  for (const chunk of chunks) await replica.apply(chunk)
  await t.rejects(openSimulated(device, { lockWaitMs: 0 }), locked)
  const reader = await openSimulated(device, { readOnly: true })
  t.ok((await recordsOf(reader)).length > 0, 'it can be read meanwhile')
  await reader.close()
  await replica.close()
  await log.close()
})

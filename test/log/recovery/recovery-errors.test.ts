/**
 * What the system refuses is never a verdict: each thing that an opening asks of the disk before it writes
 * fails in turn, and so does each thing that a scan asks. The error is that error, nothing is written, and the
 * next opening is as if there had been none.
 */
import t from 'tap'
import { SimulatedDevice, type SimulatedOperation } from '../../../src/disk/simulated.ts'
import { isErrno, SystemError } from '../../../src/errors.ts'
import type { Test } from '../../support/engines.ts'
import {
  type End,
  FILE_KINDS,
  makeWorld,
  openWorld,
  type World,
} from '../../support/recovery-table.ts'
import { recordsOf } from '../../support/simulated.ts'

const ERRORS = [
  ['EIO', -5],
  ['EACCES', -13],
  ['EMFILE', -24],
] as const

const labelOf = ({ kind, name }: SimulatedOperation) => `${kind} ${name === 'MANIFEST' ? name : ''}`

/** What an opening asks of the disk, up to its first write. */
async function readsOf({ device }: World, readOnly: boolean): Promise<string[]> {
  const asked: string[] = []
  let wrote = false
  const copy = device.afterKill()
  copy.interference = operation => {
    wrote ||= operation.kind === 'write'
    if (!wrote) asked.push(labelOf(operation))
    return undefined
  }
  const log = await openWorld(copy, { readOnly })
  await log.close()
  return asked
}

function snapshot(device: SimulatedDevice): Map<string, string> {
  return new Map(
    device.names().map(name => [name, Buffer.from(device.bytesOf(name)).toString('latin1')]),
  )
}

const CHANGES = new Set(['write', 'unlink', 'rename'])

for (const kind of FILE_KINDS) {
  for (const end of ['killed', 'closed', 'prepared'] as const satisfies readonly End[]) {
    for (const readOnly of [false, true]) {
      const name = `${kind}, ${end}${readOnly ? ', to read' : ''}`
      t.test(`each step of an opening fails: ${name}`, async t => {
        const world = await makeWorld(kind, end)
        const asked = await readsOf(world, readOnly)
        const expected = ['list ', 'open ', 'open MANIFEST', 'read ', 'read MANIFEST']
        const syncs = ['sync ', 'sync MANIFEST', 'syncDirectory ']
        // From a clean end nothing has to be synced but what is behind the floor: the last segment.
        t.same([...new Set(asked)].sort(), [...expected, ...(readOnly ? [] : syncs)])
        for (const [at, step] of asked.entries()) {
          for (const [errno, number] of ERRORS) {
            await failOnce(t, world, { at, step, errno, number, readOnly })
          }
        }
        t.pass(`${asked.length * ERRORS.length} failures`)
      })
    }
  }
}

interface Failure {
  readonly at: number
  readonly step: string
  readonly errno: string
  readonly number: number
  readonly readOnly: boolean
}

async function failOnce(t: Test, world: World, failure: Failure): Promise<void> {
  const { at, step, errno, number, readOnly } = failure
  const device = world.device.afterKill()
  const before = snapshot(device)
  const where = `${errno} at ${at}, ${step}`
  let changes = 0
  device.interference = ({ kind, index }) => {
    if (CHANGES.has(kind)) changes++
    return index === at ? new SystemError(number, step) : undefined
  }
  const error = await openWorld(device, { readOnly }).then(
    () => undefined,
    error => error,
  )
  if (!(error instanceof SystemError && isErrno(error, errno))) t.fail(where, { error })
  t.equal((error as SystemError | undefined)?.code, 'ERR_RIOLOG_SYSTEM', where)
  t.equal(changes, 0, `${where}: nothing was written`)
  device.interference = undefined
  const log = await openWorld(device, { readOnly })
  const found = await recordsOf(log)
  const shown = readOnly ? found.length <= world.records : found.length === world.records
  if (!shown) t.fail(`${where}: ${found.length} records were found behind it`)
  await log.close()
  if (readOnly) t.same(snapshot(device), before)
}

t.test(
  'a scan that the system refuses a read is told so, and goes on when it is asked again',
  async t => {
    const { device, records } = await makeWorld('recycled', 'closed')
    const log = await openWorld(device, { readOnly: false })
    for (const reverse of [false, true]) {
      let reads = 0
      device.interference = ({ kind }) => {
        if (kind === 'read') reads++
        return undefined
      }
      const all = async () => {
        const found = []
        for await (const record of log.scan({ reverse })) found.push(record)
        return found.length
      }
      t.equal(await all(), records)
      t.ok(reads > 1)
      for (let failing = 1; failing <= reads; failing++) {
        let at = 0
        device.interference = ({ kind }) =>
          kind === 'read' && ++at === failing ? new SystemError(-5, 'read') : undefined
        await t.rejects(all(), { code: 'ERR_RIOLOG_SYSTEM', errnoName: 'EIO' })
      }
      device.interference = undefined
      t.equal(await all(), records)
    }
    await log.close()
  },
)

t.test('creating: each step fails, and the next opening creates', async t => {
  const asked: string[] = []
  const whole = new SimulatedDevice()
  whole.interference = ({ kind }) => void asked.push(kind)
  await openWorld(whole)
  for (const [at, kind] of asked.entries()) {
    const device = new SimulatedDevice()
    device.interference = ({ index }) => (index === at ? new SystemError(-5, kind) : undefined)
    const failure = await (async () => {
      const log = await openWorld(device)
      await log.appendDurable(Buffer.from('a'))
    })().catch(error => error)
    // What the next segment lacks is told by the first append.
    t.match(failure, { code: /^ERR_RIOLOG_(SYSTEM|POISONED)$/ }, `${at}, ${kind}`)
    const next = await openWorld(device.afterKill())
    await next.appendDurable(Buffer.from('b'))
    t.equal((await recordsOf(next)).length, 1)
    await next.close()
  }
})

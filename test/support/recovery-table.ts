/**
 * Logs to be damaged, one case a row, and what opening makes of them. Each has a segment in use (the newest
 * that holds records) and its parent; the file of the one in use was full of zeros before, or is recycled.
 */
import { SimulatedDevice } from '../../src/disk/simulated.ts'
import { CorruptionError, RiologError } from '../../src/errors.ts'
import type { LogOptions } from '../../src/log/options.ts'
import { MANIFEST_NAME } from '../../src/log/segments/manifest.ts'
import { alignUp, GROUP_HEADER_BYTES, recordSpan } from '../../src/segment/format.ts'
import { KIB } from '../../src/units.ts'
import type { Test } from './engines.ts'
import { openSimulated, recordsOf } from './simulated.ts'

export const A = 4096
export const SEGMENT = 128 * KIB
/** Three of them, and the rest of a segment but for one block. In bytes. */
const LARGE = 28 * KIB
const REST = 24_496
/** Does not fit behind that any more; the small ones behind it have one block each. */
const FIRST = 5000
const SMALL = 100

export type FileKind = 'full of zeros' | 'recycled'
export const FILE_KINDS: readonly FileKind[] = ['full of zeros', 'recycled']

export interface GroupPlace {
  readonly segment: number
  readonly offset: number
  readonly lsn: number
  readonly length: number
}

export interface World {
  readonly device: SimulatedDevice
  /** The segment in use, and the one before it. */
  readonly number: number
  readonly parent: number
  /**
   * Their groups, of one record each; every one but the last is proven by the next one's D. The floor is
   * behind the parent's second.
   */
  readonly groups: readonly GroupPlace[]
  readonly parentGroups: readonly GroupPlace[]
  /** The file of the segment in use, as it was before it became that. */
  readonly stale: Uint8Array
  /** Records that an opening shows when nothing is damaged. */
  readonly records: number
}

/** `prepared`: killed before the first group of the segment, which the manifest names already. */
export type End = 'killed' | 'closed' | 'prepared'

export async function makeWorld(kind: FileKind, end: End): Promise<World> {
  const device = new SimulatedDevice()
  let stale = new Uint8Array(SEGMENT)
  device.interference = ({ kind, name }) => {
    if (kind === 'rename') stale = Uint8Array.from(device.bytesOf(name))
    return undefined
  }
  const log = await openWorld(device, { recycledSegments: kind === 'recycled' ? 2 : 0 })
  const groups: GroupPlace[] = []
  const add = async (...sizes: number[]) => {
    for (const bytes of sizes) {
      const lsn = await log.appendDurable(Buffer.alloc(bytes, groups.length + 1))
      const segment = Math.floor(lsn / SEGMENT)
      const start = lsn - GROUP_HEADER_BYTES
      const length = alignUp(GROUP_HEADER_BYTES + recordSpan(bytes), A)
      groups.push({ segment, lsn: start, offset: start - segment * SEGMENT, length })
    }
  }
  while (log.metrics().rotations < 2) await add(LARGE)
  await log.trim(log.durableLsn)
  const trimmed = groups.length
  while (log.metrics().rotations < 3) await add(LARGE)
  // The next segment is prepared and named; then a trim moves the floor behind the second group.
  await settled(device)
  await add(LARGE)
  await log.trim(groups[trimmed].lsn + GROUP_HEADER_BYTES)
  await add(LARGE, REST)
  const parent = groups[groups.length - 1].segment
  if (end !== 'prepared') await add(FIRST, SMALL, SMALL, SMALL)
  if (end === 'closed') await log.close()
  return {
    device: device.afterKill(),
    number: parent + 1,
    parent,
    groups: groups.filter(({ segment }) => segment === parent + 1),
    parentGroups: groups.filter(({ segment }) => segment === parent),
    stale,
    records: groups.length - trimmed,
  }
}

export function openWorld(device: SimulatedDevice, options: LogOptions = {}) {
  return openSimulated(device, { segmentSize: SEGMENT, idleStampMs: 0, ...options })
}

/** Nothing is under way any more. */
async function settled(device: SimulatedDevice): Promise<void> {
  for (let before = -1; before !== device.operations; ) {
    before = device.operations
    for (let i = 0; i < 12; i++) await new Promise(resolve => setImmediate(resolve))
  }
}

export interface Outcome {
  /** Records that are not shown any more; all others must be. */
  readonly lost?: number
  readonly verdict?: string
  /** Shown one by one, they end with damage here. */
  readonly badAt?: { readonly segment: number; readonly offset: number }
  /** Of the error that opening ends with instead. */
  readonly code?: string
  readonly where?: { readonly segment: number; readonly offset: number }
  /** L and F, as the error names them. */
  readonly verified?: number
  readonly proven?: number
}

export interface Row {
  readonly name: string
  readonly end: End
  readonly damage: (world: World) => void | Promise<void>
  readonly outcome: (world: World) => Outcome
}

const LIMITS = /verifies up to LSN (\d+), and was durable up to LSN (\d+)/

async function outcomeOf(
  device: SimulatedDevice,
  { records }: World,
  readOnly: boolean,
): Promise<Outcome> {
  let log: Awaited<ReturnType<typeof openWorld>>
  try {
    log = await openWorld(device, { readOnly })
  } catch (error) {
    if (!(error instanceof RiologError)) throw error
    const { code } = error
    if (!(error instanceof CorruptionError)) return { code }
    const [, verified, proven] = LIMITS.exec(error.message) ?? []
    const limits = verified && { verified: Number(verified), proven: Number(proven) }
    return { code, where: { segment: error.segment, offset: error.offset }, ...limits }
  }
  const { verdict } = log.recovery
  try {
    const found = await recordsOf(log)
    return { lost: records - found.length, verdict }
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return { verdict, badAt: { segment: error.segment, offset: error.offset } }
  } finally {
    await log.close()
  }
}

/** Damages a log for each row, opens it, and looks whether anything was written that must not be. */
export async function runRow(t: Test, row: Row, kind: FileKind): Promise<void> {
  const world = await makeWorld(kind, row.end)
  await row.damage(world)
  const expected = row.outcome(world)
  const { device } = world
  const read = await outcomeOf(device, world, true)
  // A reader has no tail: it shows what is proven, which the last group is not.
  t.equal(read.code, expected.code, 'a reader says the same')
  const before = new Map(device.names().map(name => [name, device.bytesOf(name).slice()]))
  t.same(await outcomeOf(device, world, false), expected)
  for (const [name, bytes] of before) {
    const isTold = expected.code === undefined && name === MANIFEST_NAME
    const same = isTold || Buffer.compare(device.bytesOf(name), bytes) === 0
    if (!same) t.fail(`opening wrote into ${name}`)
  }
}

/** Faults of a disk, each done to the first operation that it fits from a given one on. */

import type { SimulatedDevice } from '../disk/simulated/device.ts'
import type { Effect, OperationKind, SimulatedOperation } from '../disk/simulated/effects.ts'
import { BLOCK_BYTES } from '../disk/simulated/inode.ts'
import { SystemError } from '../errors.ts'
import { mixedSeed, Random } from './random.ts'

const ERRNO = { EIO: -5, ENOSPC: -28, ECANCELED: -125 }

/**
 * What a fault does.
 *
 * - `eio`: one operation fails with EIO, and the next ones go well
 * - `eio-late`: a write that was said to be done is lost, and the file's next sync tells
 * - `eio-directory`: the sync of the directory fails
 * - `eio-read`: a read fails once
 * - `enospc`: a write, or the making of a file, finds the disk full
 * - `short`: the device writes a part of what it was asked to
 * - `again`: EINTR or EAGAIN, and the engine asks again
 * - `canceled`: the sync is canceled (ECANCELED)
 * - `slow`, `stuck`: a sync that is answered late, or never
 * - `bit-rot`: a bit of what is durable flips
 * - `lost-write`: a write is said to be done, and is not
 * - `misdirected-write`: a write lands somewhere else
 * - `stale-block`: a block has again what another file had once
 */
export const FAULT_KINDS = [
  'eio',
  'eio-late',
  'eio-directory',
  'eio-read',
  'enospc',
  'short',
  'again',
  'canceled',
  'slow',
  'stuck',
  'bit-rot',
  'lost-write',
  'misdirected-write',
  'stale-block',
] as const

/** One of {@link FAULT_KINDS}. */
export type FaultKind = (typeof FAULT_KINDS)[number]

/** Faults of the medium: what was durable is not any more, and nobody is told. */
const OF_MEDIUM: ReadonlySet<FaultKind> = new Set([
  'bit-rot',
  'lost-write',
  'misdirected-write',
  'stale-block',
])

/** A plain object, as it stands in a plan. */
export interface Fault {
  /** What is done. */
  readonly kind: FaultKind
  /** It is done to the first operation that it fits, from the one of this number on. */
  readonly from: number
  /** Decides what is left open: which bit, how long, where to. */
  readonly seed: number
}

export function isOfMedium({ kind }: Pick<Fault, 'kind'>): boolean {
  return OF_MEDIUM.has(kind)
}

/** Errors that the program is told of or may meet; the others are absorbed or silent. */
const HARMLESS: ReadonlySet<FaultKind> = new Set(['short', 'again', 'slow'])

/** Whether a program that does all that it can still may end with an error. */
export function mayFail({ kind }: Pick<Fault, 'kind'>): boolean {
  return !HARMLESS.has(kind)
}

const FITS: Record<FaultKind, readonly OperationKind[]> = {
  eio: ['write', 'sync', 'open', 'rename', 'unlink'],
  'eio-late': ['write'],
  'eio-directory': ['syncDirectory'],
  'eio-read': ['read'],
  enospc: ['write', 'open'],
  short: ['write'],
  again: ['write', 'sync', 'read', 'open'],
  canceled: ['sync'],
  slow: ['sync', 'syncDirectory'],
  stuck: ['sync'],
  'bit-rot': ['read', 'write', 'sync'],
  'lost-write': ['write'],
  'misdirected-write': ['write'],
  'stale-block': ['read', 'write', 'sync'],
}

/** Faults of one life. */
export class Faults {
  readonly #device: SimulatedDevice
  #waiting: readonly Fault[]
  /** Those that were done. */
  readonly done: Fault[] = []

  constructor(device: SimulatedDevice, faults: readonly Fault[]) {
    this.#device = device
    this.#waiting = faults
  }

  /** What is done to an operation. */
  on(operation: SimulatedOperation): Error | Effect | undefined {
    if (this.#waiting.length === 0) return undefined
    const fault = this.#waiting.find(
      ({ kind, from }) => operation.index >= from && FITS[kind].includes(operation.kind),
    )
    if (fault === undefined) return undefined
    this.#waiting = this.#waiting.filter(other => other !== fault)
    this.done.push(fault)
    return effectOf(fault, operation, this.#device)
  }
}

function effectOf(
  { kind, seed }: Fault,
  operation: SimulatedOperation,
  device: SimulatedDevice,
): Error | Effect | undefined {
  const random = new Random(mixedSeed(seed, 0))
  const error = (name: keyof typeof ERRNO) =>
    new SystemError(ERRNO[name], operation.kind, operation.name)
  switch (kind) {
    case 'eio':
    case 'eio-directory':
    case 'eio-read':
      return error('EIO')
    case 'enospc':
      return error('ENOSPC')
    case 'canceled':
      return error('ECANCELED')
    case 'eio-late':
      return { kind: 'late', error: error('EIO') }
    case 'short':
      return { kind: 'short', bytes: 512 * random.int(1, Math.max(1, operation.length / 512 - 1)) }
    case 'again':
      return { kind: 'again' }
    case 'slow':
      return { kind: 'slow', milliseconds: random.int(1, 5000) }
    case 'stuck':
      return { kind: 'stuck' }
    case 'lost-write':
      return { kind: 'lost' }
    case 'misdirected-write':
      return misdirected(operation, device, random)
    case 'bit-rot':
    case 'stale-block':
      damage(kind, device, random)
      return undefined
  }
}

/** Within what there is: a write beyond the end would make a file longer, which no device does. */
function misdirected(
  { length }: SimulatedOperation,
  device: SimulatedDevice,
  random: Random,
): Effect | undefined {
  const names = device.names().filter(name => device.lookUp(name)!.size >= length)
  if (names.length === 0) return undefined
  const name = random.pick(names)
  const blocks = (device.lookUp(name)!.size - length) / BLOCK_BYTES
  return { kind: 'misdirected', name, position: BLOCK_BYTES * random.int(0, Math.floor(blocks)) }
}

/** Something of what is durable, most of all of what is not zeros. */
function damage(kind: 'bit-rot' | 'stale-block', device: SimulatedDevice, random: Random): void {
  const names = device.names().filter(name => device.lookUp(name)!.size >= BLOCK_BYTES)
  if (names.length === 0) return
  const inode = device.lookUp(random.pick(names))!
  const full = [...inode.durable.keys()].filter(at => inode.durable[at].some(byte => byte !== 0))
  if (full.length === 0) return
  const at = random.pick(full)
  const block =
    kind === 'bit-rot'
      ? flipped(inode.durable[at], random)
      : device.staleBlock(() => random.int(0, 255))
  if (inode.visible[at] === inode.durable[at]) inode.visible[at] = block
  inode.durable[at] = block
}

function flipped(block: Uint8Array, random: Random): Uint8Array {
  const changed = block.slice()
  // Behind the last byte that is not zero there is padding, mostly, of which there is much.
  const last = changed.findLastIndex(byte => byte !== 0)
  changed[random.int(0, Math.min(block.length - 1, last + 8))] ^= 1 << random.int(0, 7)
  return changed
}

/** One or two faults at random; of those of the medium one at most, for two may take all evidence away. */
export function randomFaults(
  random: Random,
  kinds: readonly FaultKind[],
  operations: number,
): Fault[] {
  if (kinds.length === 0) return []
  const faults: Fault[] = []
  const count = random.chance(0.2) ? 2 : 1
  for (let i = 0; i < count; i++) {
    const fault = { kind: random.pick(kinds), from: random.int(0, operations), seed: random.seed() }
    if (!isOfMedium(fault) || !faults.some(isOfMedium)) faults.push(fault)
  }
  return faults
}

/**
 * What may become of a log's directory: bytes, fields, blocks, lengths, names. Checksums of manifests and
 * headers are made to fit in half of the cases, so that what reads behind them is reached. Those of records
 * never are: whoever can forge these can show any record.
 */
import { COPY_AT, MANIFEST_NAME } from '../../src/log/segments/manifest.ts'
import { addon } from '../../src/native.ts'
import { segmentName } from '../../src/segment/format.ts'
import type { Random } from '../support/random.ts'
import type { Original } from './originals.ts'

const A = 4096
const COPY_END = 96
const HEADER_END = 96
const GROUP_END = 64
const METADATA_BYTES_AT = 92

export type Directory = Map<string, Uint8Array>

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.int(0, from.length - 1)]
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function sum(bytes: Uint8Array, ...ranges: [number, number][]): number {
  return ranges.reduce((seed, [from, to]) => addon().crc32c(seed, bytes, from, to), 0)
}

/** Values that break arithmetic when nobody looks at them. */
const NASTY = [0, 1, 2, 3, 511, 4095, 4096, 4097, 65536, 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
const NASTY_LONG = [0n, 1n, 4096n, 2n ** 32n, 2n ** 52n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n]

/** Changes one field of 4 or 8 bytes: to a nasty value, near to what it was, to a place of the log, anything. */
function changeField(
  bytes: Uint8Array,
  from: number,
  to: number,
  { random, original }: Case,
): void {
  const view = viewOf(bytes)
  if (random.chance(0.4)) {
    const at = from + 4 * random.int(0, (to - from) / 4 - 1)
    const anything = random.int(0, 2 ** 32 - 1)
    view.setUint32(at, random.chance(0.6) ? pick(random, NASTY) : anything, true)
    return
  }
  const at = from + 8 * random.int(0, Math.floor((to - from) / 8) - 1)
  const near = BigInt(pick(random, [-A, -8, -1, 1, 8, A, 65536, -65536]))
  const values = [
    () => pick(random, NASTY_LONG),
    () => BigInt.asUintN(64, view.getBigUint64(at, true) + near),
    () => BigInt(pick(random, [0, ...original.records.keys()]) + pick(random, [0, -64, A])),
  ]
  view.setBigUint64(at, BigInt.asUintN(64, pick(random, values)()), true)
}

interface Case {
  readonly random: Random
  readonly original: Original
  readonly others: readonly Original[]
  readonly directory: Directory
  /** Logs whose records may be shown: files of another one may come in. */
  readonly involved: Set<Original>
}

/** A file to damage, as a copy that is the case's own. */
function own(
  one: Case,
  isFit: (name: string, bytes: Uint8Array) => boolean,
): Uint8Array | undefined {
  const fit = [...one.directory].filter(([name, bytes]) => isFit(name, bytes))
  if (fit.length === 0) return undefined
  const [name, bytes] = pick(one.random, fit)
  const copy = bytes.slice()
  one.directory.set(name, copy)
  return copy
}

const isManifest = (name: string, bytes: Uint8Array) =>
  name === MANIFEST_NAME && bytes.length >= COPY_AT[1] + COPY_END
const isSegment = (name: string, bytes: Uint8Array) => name.endsWith('.seg') && bytes.length > 2 * A
const isAny = (_: string, bytes: Uint8Array) => bytes.length > A

function flipBytes(one: Case): void {
  const bytes = own(one, isAny)
  if (bytes === undefined) return
  for (let n = one.random.int(1, 20); n > 0; n--) {
    // Mostly where something stands: the first blocks.
    const most = one.random.chance(0.7) ? Math.min(bytes.length, 12 * A) : bytes.length
    bytes[one.random.int(0, most - 1)] ^= one.random.int(1, 255)
  }
}

/** A block that was lost, or that another one was written over. */
function placeBlock(one: Case): void {
  const { random } = one
  const bytes = own(one, isAny)
  if (bytes === undefined) return
  const blocks = Math.floor(bytes.length / A)
  const to = A * random.int(0, Math.min(blocks, 20) - 1)
  const from = pick(random, [...one.directory.values()])
  const at = A * random.int(0, Math.max(0, Math.floor(from.length / A) - 1))
  if (random.chance(0.3)) bytes.fill(random.chance(0.7) ? 0 : 0xa5, to, to + A)
  else bytes.set(from.slice(at, at + A), to)
}

function resize(one: Case): void {
  const { random, directory } = one
  const [name, bytes] = pick(random, [...directory])
  const lengths = [0, 1, 511, 512, A, A + 1, bytes.length - 1, bytes.length + 1, bytes.length + A]
  const anywhere = random.int(0, bytes.length)
  const length = Math.max(0, random.chance(0.5) ? pick(random, lengths) : anywhere)
  const resized = new Uint8Array(length)
  resized.set(bytes.subarray(0, length))
  directory.set(name, resized)
}

function forgeManifest(one: Case): void {
  const { random } = one
  const bytes = own(one, isManifest)
  if (bytes === undefined) return
  const copies = random.chance(0.5) ? COPY_AT : [pick(random, COPY_AT)]
  const fits = random.chance(0.7)
  // Both copies alike: or they contradict each other, which is told at once.
  const first = bytes.subarray(copies[0], copies[0] + 512)
  for (let n = random.int(1, 2); n > 0; n--) changeField(first, 16, COPY_END, one)
  if (random.chance(0.05)) changeField(first, 0, 16, one)
  if (fits) viewOf(first).setUint32(12, sum(first, [0, 12], [16, COPY_END]), true)
  for (const at of copies) bytes.set(first, at)
}

function swapCopies(one: Case): void {
  const bytes = own(one, isManifest)
  if (bytes === undefined) return
  const [a, b] = COPY_AT.map(at => bytes.slice(at, at + 512))
  // What was cut before has no second place.
  if (one.random.chance(0.5)) bytes.set(b, COPY_AT[0])
  if (one.random.chance(0.5) && bytes.length >= COPY_AT[1] + a.length) bytes.set(a, COPY_AT[1])
}

function forgeHeader(one: Case): void {
  const { random } = one
  const bytes = own(one, isSegment)
  if (bytes === undefined) return
  for (let n = random.int(1, 2); n > 0; n--) changeField(bytes, 16, HEADER_END, one)
  if (random.chance(0.05)) changeField(bytes, 0, 16, one)
  const end = HEADER_END + viewOf(bytes).getUint32(METADATA_BYTES_AT, true)
  if (random.chance(0.3) || end > bytes.length) return
  viewOf(bytes).setUint32(12, sum(bytes, [0, 12], [16, end]), true)
}

/** Manifest and headers agree on dimensions that the files do not have. */
function redimension(one: Case): void {
  const { random, directory } = one
  const segmentSize = 2 ** random.int(14, 36)
  const fileBytes = random.chance(0.5) ? segmentSize : A * random.int(0, 2 ** 20)
  for (const [name, old] of [...directory]) {
    const bytes = old.slice()
    if (isManifest(name, bytes)) {
      for (const at of COPY_AT) {
        const copy = bytes.subarray(at, at + 512)
        viewOf(copy).setBigUint64(32, BigInt(segmentSize), true)
        viewOf(copy).setUint32(12, sum(copy, [0, 12], [16, COPY_END]), true)
      }
    } else if (isSegment(name, bytes)) {
      viewOf(bytes).setBigUint64(72, BigInt(fileBytes), true)
      viewOf(bytes).setBigUint64(80, BigInt(segmentSize), true)
      const end = HEADER_END + viewOf(bytes).getUint32(METADATA_BYTES_AT, true)
      if (end <= bytes.length) viewOf(bytes).setUint32(12, sum(bytes, [0, 12], [16, end]), true)
    }
    directory.set(name, bytes)
  }
}

function forgeGroup(one: Case): void {
  const { random } = one
  const bytes = own(one, isSegment)
  if (bytes === undefined) return
  const used = Math.min(bytes.length / A, 20)
  const at = A * (random.chance(0.4) ? 1 : random.int(1, Math.max(1, Math.floor(used) - 1)))
  const group = bytes.subarray(at, at + A)
  if (group.length < GROUP_END) return
  // Not the payload's checksum, at 4: what is shown is to be a record of the original.
  for (let n = random.int(1, 2); n > 0; n--) changeField(group, 8, GROUP_END, one)
  if (random.chance(0.7)) viewOf(group).setUint32(0, sum(group, [4, GROUP_END]), true)
}

const NAMES = [
  '0.seg',
  '0000000000000000.seg',
  '9007199254740991.seg',
  'MANIFEST.old',
  '..seg',
  'x',
]

function otherName({ random, directory }: Case): string {
  if (random.chance(0.3)) return pick(random, NAMES)
  if (random.chance(0.5)) return pick(random, [...directory.keys()])
  return segmentName(random.chance(0.8) ? random.int(1, 30) : random.int(1, 2 ** 37 - 1))
}

function rename(one: Case): void {
  const { random, directory } = one
  const name = pick(random, [...directory.keys()])
  const to = otherName(one)
  const [a, b] = [directory.get(name)!, directory.get(to)]
  directory.delete(name)
  directory.set(to, a)
  // Half of the time what was there comes into the other's place.
  if (b !== undefined && random.chance(0.5)) directory.set(name, b)
}

function duplicate(one: Case): void {
  const name = pick(one.random, [...one.directory.keys()])
  one.directory.set(otherName(one), one.directory.get(name)!)
}

function remove(one: Case): void {
  one.directory.delete(pick(one.random, [...one.directory.keys()]))
}

function addForeign(one: Case): void {
  const bytes = new Uint8Array(one.random.int(0, 10 * A))
  bytes.fill(one.random.int(0, 255))
  one.directory.set(otherName(one), bytes)
}

function mixIn(one: Case): void {
  const other = pick(one.random, one.others)
  const [name, bytes] = pick(one.random, [...other.files])
  one.involved.add(other)
  one.directory.set(name, bytes)
}

type Damage = (one: Case) => void

/** How often each is chosen. */
const DAMAGES: readonly [Damage, number][] = [
  [flipBytes, 2],
  [placeBlock, 2],
  [resize, 2],
  [forgeManifest, 4],
  [swapCopies, 1],
  [forgeHeader, 3],
  [forgeGroup, 4],
  [redimension, 1],
  [rename, 1],
  [duplicate, 1],
  [remove, 1],
  [addForeign, 1],
  [mixIn, 1],
]
const CHOICES = DAMAGES.flatMap(([damage, weight]) => Array.from({ length: weight }, () => damage))

export interface Damaged {
  readonly directory: Directory
  /** The names of what was done, in order. */
  readonly done: string[]
  readonly involved: ReadonlySet<Original>
}

export function damage(original: Original, others: readonly Original[], random: Random): Damaged {
  const directory = new Map(original.files)
  const involved = new Set([original])
  const done: string[] = []
  for (let n = random.int(1, 3); n > 0 && directory.size > 0; n--) {
    const change = pick(random, CHOICES)
    change({ random, original, others, directory, involved })
    done.push(change.name)
  }
  return { directory, done, involved }
}

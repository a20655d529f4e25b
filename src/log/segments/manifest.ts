/**
 * The manifest: one small file with two copies, which names the newest segment and a floor. Bytes in,
 * values out; manifest-file.ts does the I/O.
 */

import { SECTOR_BYTES } from '../../disk/disk.ts'
import { Fields } from '../../segment/fields.ts'
import { areDimensions, FORMAT_VERSION, maxSegmentNumber, NO_SALT } from '../../segment/format.ts'
import type { SegmentRef } from '../../segment/header.ts'

const MAGIC = 'RIOLOGMF'

const AT = {
  uuid: 16,
  segmentSize: 32,
  alignment: 40,
  pinned: 44,
  epoch: 48,
  update: 56,
  newestNumber: 64,
  newestSalt: 72,
  floor: 80,
  trimLsn: 88,
}
const COPY_END = 96
const UUID_BYTES = 16
/** Openings and updates: out of reach, and still a safe integer when one is added. */
export const MAX_COUNT = 2 ** 52

export const MANIFEST_NAME = 'MANIFEST'
/** Where the copies stand: far enough apart that no one write of any device touches both. */
export const COPY_AT = [0, 65536] as const
/** Each copy's fields lie in the first sector at its place. */
export const COPY_BYTES = SECTOR_BYTES

export interface Manifest {
  readonly uuid: string
  readonly segmentSize: number
  readonly alignment: number
  /** The floor is also the end of the log. */
  readonly pinned: boolean
  /** Openings of the log for writing. */
  readonly epoch: number
  /** Counts the updates; the copy with the higher number counts. */
  readonly update: number
  readonly newest: SegmentRef
  /** An end known to be durable. */
  readonly floor: number
  readonly trimLsn: number
}

export const NO_SEGMENT: SegmentRef = { number: 0, salt: NO_SALT }

export function encodeManifest(manifest: Manifest): Uint8Array {
  const fields = new Fields(new Uint8Array(COPY_BYTES))
  fields.setHex(AT.uuid, manifest.uuid)
  fields.setU64(AT.segmentSize, manifest.segmentSize)
  fields.setU32(AT.alignment, manifest.alignment)
  fields.setU32(AT.pinned, manifest.pinned ? 1 : 0)
  fields.setU64(AT.epoch, manifest.epoch)
  fields.setU64(AT.update, manifest.update)
  fields.setU64(AT.newestNumber, manifest.newest.number)
  fields.setSalt(AT.newestSalt, manifest.newest.salt)
  fields.setU64(AT.floor, manifest.floor)
  fields.setU64(AT.trimLsn, manifest.trimLsn)
  fields.seal(MAGIC, FORMAT_VERSION, COPY_END)
  return fields.bytes
}

export type CopyFinding =
  | { readonly kind: 'good'; readonly manifest: Manifest }
  | { readonly kind: 'bad' }
  | { readonly kind: 'future'; readonly version: number }

export function decodeManifest(bytes: Uint8Array): CopyFinding {
  if (bytes.length < COPY_END) return { kind: 'bad' }
  const fields = new Fields(bytes)
  if (!fields.hasMagic(MAGIC)) return { kind: 'bad' }
  if (fields.version > FORMAT_VERSION) return { kind: 'future', version: fields.version }
  if (fields.version !== FORMAT_VERSION || !fields.verifies(COPY_END)) return { kind: 'bad' }
  const manifest: Manifest = {
    uuid: fields.hex(AT.uuid, UUID_BYTES),
    segmentSize: fields.u64(AT.segmentSize),
    alignment: fields.u32(AT.alignment),
    pinned: fields.u32(AT.pinned) === 1,
    epoch: fields.u64(AT.epoch),
    update: fields.u64(AT.update),
    newest: { number: fields.u64(AT.newestNumber), salt: fields.salt(AT.newestSalt) },
    floor: fields.u64(AT.floor),
    trimLsn: fields.u64(AT.trimLsn),
  }
  // A checksum can be right over nonsense, when somebody has made it so: every field is bounded here,
  // before anything is computed from it.
  const { segmentSize, alignment, epoch, update, newest, floor, trimLsn } = manifest
  const sound =
    fields.u32(AT.pinned) <= 1 &&
    areDimensions(segmentSize, alignment) &&
    newest.number <= maxSegmentNumber(segmentSize) &&
    [epoch, update].every(count => count <= MAX_COUNT) &&
    [newest.number, floor, trimLsn].every(Number.isSafeInteger) &&
    trimLsn <= floor
  return sound ? { kind: 'good', manifest } : { kind: 'bad' }
}

/** What two copies say together. */
export type ManifestVerdict =
  | { readonly kind: 'none' }
  | { readonly kind: 'future'; readonly version: number }
  | { readonly kind: 'conflict' }
  | {
      readonly kind: 'good'
      readonly manifest: Manifest
      /** The copy it was read from, 0 or 1: the next update writes the other one first. */
      readonly copy: 0 | 1
      /** Both copies verify, but differ by two updates or more: a lost write, to be reported. */
      readonly updatesApart: number | undefined
    }

interface ManifestCase {
  readonly name: string
  readonly when: (a: CopyFinding, b: CopyFinding) => boolean
  readonly verdict: (a: CopyFinding, b: CopyFinding) => ManifestVerdict
}

function good(finding: CopyFinding): Manifest {
  if (finding.kind !== 'good') throw new Error('not a good copy')
  return finding.manifest
}

function take(copy: 0 | 1, manifest: Manifest, other?: Manifest): ManifestVerdict {
  const apart = other === undefined ? 0 : manifest.update - other.update
  return { kind: 'good', manifest, copy, updatesApart: apart >= 2 ? apart : undefined }
}

/** The first row that fits decides. */
export const MANIFEST_CASES: readonly ManifestCase[] = [
  {
    name: 'a copy of a future version',
    when: (a, b) => a.kind === 'future' || b.kind === 'future',
    verdict: (a, b) => {
      const version = Math.max(
        a.kind === 'future' ? a.version : 0,
        b.kind === 'future' ? b.version : 0,
      )
      return { kind: 'future', version }
    },
  },
  {
    name: 'no copy verifies',
    when: (a, b) => a.kind === 'bad' && b.kind === 'bad',
    verdict: () => ({ kind: 'none' }),
  },
  {
    name: 'only the second copy verifies',
    when: a => a.kind === 'bad',
    verdict: (_, b) => take(1, good(b)),
  },
  {
    name: 'only the first copy verifies',
    when: (_, b) => b.kind === 'bad',
    verdict: a => take(0, good(a)),
  },
  {
    name: 'copies of two logs',
    when: (a, b) => good(a).uuid !== good(b).uuid,
    verdict: () => ({ kind: 'conflict' }),
  },
  {
    name: 'the same update with other content',
    when: (a, b) =>
      good(a).update === good(b).update &&
      Buffer.compare(encodeManifest(good(a)), encodeManifest(good(b))) !== 0,
    verdict: () => ({ kind: 'conflict' }),
  },
  {
    name: 'the second copy is newer',
    when: (a, b) => good(b).update > good(a).update,
    verdict: (a, b) => take(1, good(b), good(a)),
  },
  {
    name: 'the first copy is as new or newer',
    when: () => true,
    verdict: (a, b) => take(0, good(a), good(b)),
  },
]

export function judgeManifest(a: CopyFinding, b: CopyFinding): ManifestVerdict {
  return MANIFEST_CASES.find(row => row.when(a, b))!.verdict(a, b)
}

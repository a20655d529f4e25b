/**
 * How far something on a damaged disk proves the log durable: what is acknowledged behind that may be gone
 * without a word, and nothing before it. Read by docs/FORMAT.md alone: it shares no code with the log, which
 * it is to judge.
 */
import type { SimulatedDevice } from '../../disk/simulated/device.ts'

const COPY_AT = [0, 65_536]
const MANIFEST_BYTES = 96
const GROUP_BYTES = 64
const SEGMENT_BYTES = 96

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc >>> 0
})

/** CRC32C (RFC 3720) of some pieces, one after the other. */
export function crc32c(...pieces: Uint8Array[]): number {
  let crc = 0xffffffff
  for (const piece of pieces) {
    for (const byte of piece) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8)
  }
  return (crc ^ 0xffffffff) >>> 0
}

interface Manifest {
  readonly segmentSize: number
  readonly alignment: number
  readonly pinned: boolean
  readonly update: number
  readonly newest: number
  readonly newestSalt: bigint
  readonly floor: number
  readonly trimLsn: number
}

const u64 = (bytes: Buffer, at: number) => Number(bytes.readBigUInt64LE(at))

function copyAt(file: Buffer, at: number): Manifest | undefined {
  const bytes = file.subarray(at, at + MANIFEST_BYTES)
  if (bytes.length < MANIFEST_BYTES || bytes.toString('latin1', 0, 8) !== 'RIOLOGMF')
    return undefined
  if (bytes.readUInt32LE(12) !== crc32c(bytes.subarray(0, 12), bytes.subarray(16))) return undefined
  return {
    segmentSize: u64(bytes, 32),
    alignment: bytes.readUInt32LE(40),
    pinned: bytes.readUInt32LE(44) === 1,
    update: u64(bytes, 56),
    newest: u64(bytes, 64),
    newestSalt: bytes.readBigUInt64LE(72),
    floor: u64(bytes, 80),
    trimLsn: u64(bytes, 88),
  }
}

/** The end where the damage is one that an opening always tells. */
const ALL = Number.POSITIVE_INFINITY

interface Segment {
  readonly bytes: Buffer
  readonly salt: bigint
  readonly base: number
}

/** Parts of a batch: what begins one, and what stands within. */
const [FIRST, MIDDLE] = [1, 2]

/** What a group's header tells, where one verifies; `end` is an offset in the segment, not yet rounded up. */
function groupAt({ bytes, salt, base }: Segment, offset: number) {
  const header = bytes.subarray(offset, offset + GROUP_BYTES)
  if (header.length < GROUP_BYTES || header.readUInt32LE(0) !== crc32c(header.subarray(4)))
    return undefined
  if (header.readBigUInt64LE(8) !== salt || u64(header, 16) !== base + offset) return undefined
  const end = offset + GROUP_BYTES + header.readUInt32LE(40)
  const [lsn, batch] = [base + offset, header.readUInt32LE(48)]
  return { lsn, previousEnd: u64(header, 24), durable: u64(header, 32), end, batch }
}

/** The LSN up to which something on a damaged disk proves the log durable. */
export function provenEnd(device: SimulatedDevice): number {
  // What an opening reads: it syncs what is in a cache, and drops that.
  const seen = device.left(
    device.unsynced(512),
    () => 'new',
    () => 0,
  )
  const files = new Map(seen.names().map(name => [name, Buffer.from(seen.bytesOf(name))]))
  const file = files.get('MANIFEST') ?? Buffer.alloc(0)
  const copies = COPY_AT.map(at => copyAt(file, at)).filter(copy => copy !== undefined)
  const [manifest] = copies.sort((a, b) => b.update - a.update)
  return manifest === undefined ? ALL : provenBy(files, manifest)
}

function provenBy(files: ReadonlyMap<string, Buffer>, manifest: Manifest): number {
  const { alignment, floor, pinned, segmentSize, trimLsn } = manifest
  let [number, salt] = [manifest.newest, manifest.newestSalt]
  let proven = floor
  const groups: { readonly lsn: number; readonly batch: number }[] = []
  let cut = Number.POSITIVE_INFINITY
  while (number !== 0) {
    const bytes = files.get(`${String(number).padStart(16, '0')}.seg`)
    if (bytes === undefined || bytes.length < SEGMENT_BYTES) return ALL
    if (bytes.readBigUInt64LE(48) !== salt) return ALL
    const segment = { bytes, salt, base: number * segmentSize }
    const end = Math.min(
      cut,
      // Its length may be damaged.
      segment.base + Math.min(u64(bytes, 72), bytes.length),
      pinned ? floor : Number.POSITIVE_INFINITY,
    )
    for (let at = alignment; segment.base + at < end; at += alignment) {
      const group = groupAt(segment, at)
      proven = Math.max(proven, group?.durable ?? 0)
      if (group !== undefined) groups.push(group)
    }
    const first = groupAt(segment, alignment)
    cut = first?.previousEnd ?? Number.POSITIVE_INFINITY
    // A trim can have freed what is before.
    const firstEnd = Math.ceil((first?.end ?? 0) / alignment) * alignment
    if (cut <= trimLsn && segment.base + firstEnd <= floor) break
    ;[number, salt] = [u64(bytes, 56), bytes.readBigUInt64LE(64)]
  }
  return outsideBatch(proven, groups)
}

/** A batch counts as a whole: while nothing proves its last group, nothing proves its first one. */
function outsideBatch(
  end: number,
  groups: readonly { readonly lsn: number; readonly batch: number }[],
): number {
  const before = groups.filter(({ lsn }) => lsn < end).sort((a, b) => b.lsn - a.lsn)
  const isOpen = before[0]?.batch === FIRST || before[0]?.batch === MIDDLE
  return isOpen ? (before.find(({ batch }) => batch === FIRST)?.lsn ?? end) : end
}

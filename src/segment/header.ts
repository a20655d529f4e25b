/** A segment's header block: written once, when the file is prepared. Bytes in, values out. */
import { Fields } from './fields.ts'
import { FORMAT_VERSION, type Salt, SEGMENT_HEADER_BYTES } from './format.ts'

const MAGIC = 'RIOLOGSG'

const AT = {
  uuid: 16,
  number: 32,
  epoch: 40,
  salt: 48,
  parentNumber: 56,
  parentSalt: 64,
  fileBytes: 72,
  segmentSize: 80,
  alignment: 88,
  metadataBytes: 92,
}
const UUID_BYTES = 16

/** A segment's identity; number 0 with salt 0 is none. */
export interface SegmentRef {
  readonly number: number
  readonly salt: Salt
}

export interface SegmentHeader extends SegmentRef {
  /** The log's UUID, 32 hex digits. */
  readonly uuid: string
  /** The opening that made this segment. */
  readonly epoch: number
  /** The segment before it in its live chain. Where that one ends, its first group tells. */
  readonly parent: SegmentRef
  /** Length of the file; what lies behind belongs to nobody. */
  readonly fileBytes: number
  /** LSN space of each segment of the log. */
  readonly segmentSize: number
  readonly alignment: number
  /** The user's, up to a block less the header. */
  readonly metadata: Uint8Array
}

export type HeaderFinding =
  | { readonly kind: 'good'; readonly header: SegmentHeader }
  | { readonly kind: 'bad' }
  | { readonly kind: 'future'; readonly version: number }

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const fields = new Fields(new Uint8Array(header.alignment))
  const end = SEGMENT_HEADER_BYTES + header.metadata.length
  fields.setHex(AT.uuid, header.uuid)
  fields.setU64(AT.number, header.number)
  fields.setU64(AT.epoch, header.epoch)
  fields.setSalt(AT.salt, header.salt)
  fields.setU64(AT.parentNumber, header.parent.number)
  fields.setSalt(AT.parentSalt, header.parent.salt)
  fields.setU64(AT.fileBytes, header.fileBytes)
  fields.setU64(AT.segmentSize, header.segmentSize)
  fields.setU32(AT.alignment, header.alignment)
  fields.setU32(AT.metadataBytes, header.metadata.length)
  fields.bytes.set(header.metadata, SEGMENT_HEADER_BYTES)
  fields.seal(MAGIC, FORMAT_VERSION, end)
  return fields.bytes
}

export function decodeSegmentHeader(block: Uint8Array): HeaderFinding {
  if (block.length < SEGMENT_HEADER_BYTES) return { kind: 'bad' }
  const fields = new Fields(block)
  if (!fields.hasMagic(MAGIC)) return { kind: 'bad' }
  // Before the checksum: another version may sum other bytes.
  if (fields.version > FORMAT_VERSION) return { kind: 'future', version: fields.version }
  const metadataBytes = fields.u32(AT.metadataBytes)
  const end = SEGMENT_HEADER_BYTES + metadataBytes
  if (fields.version !== FORMAT_VERSION || !fields.verifies(end)) return { kind: 'bad' }
  const header: SegmentHeader = {
    uuid: fields.hex(AT.uuid, UUID_BYTES),
    number: fields.u64(AT.number),
    epoch: fields.u64(AT.epoch),
    salt: fields.salt(AT.salt),
    parent: { number: fields.u64(AT.parentNumber), salt: fields.salt(AT.parentSalt) },
    fileBytes: fields.u64(AT.fileBytes),
    segmentSize: fields.u64(AT.segmentSize),
    alignment: fields.u32(AT.alignment),
    metadata: block.slice(SEGMENT_HEADER_BYTES, end),
  }
  return header.parent.number < header.number ? { kind: 'good', header } : { kind: 'bad' }
}

/** What one log sends another, and how it is verified before a byte of it is written. */
import { CorruptionError, invalidArgument, RiologError } from '../../errors.ts'
import {
  areDimensions,
  isFileLength,
  maxGroupBytes,
  maxSegmentNumber,
} from '../../segment/format.ts'
import { type GroupInfo, groupEnd, verifyGroup } from '../../segment/group.ts'
import { decodeSegmentHeader, type SegmentHeader } from '../../segment/header.ts'
import { futureRecord, futureVersion } from '../segments/live-chain.ts'
import { MAX_COUNT } from '../segments/manifest.ts'

/**
 * Whole groups of one segment, byte for byte as they stand there, all of them durable at the source.
 * Made of numbers, strings and bytes only: `v8.serialize` takes it as it is.
 */
export interface RawChunk {
  /** Of the log, 32 hex digits. */
  readonly uuid: string
  /** Of the source. */
  readonly epoch: number
  /** The number of the segment. */
  readonly segment: number
  /** The place of the first group. */
  readonly lsn: number
  /** The end of the log before that group. Before a copy's own end: the source was rewound to there. */
  readonly previousEnd: number
  /** The end of the last group: what the copy has then, and asks to go on from. */
  readonly end: number
  /** The segment's header block, where the first group is that of the segment. */
  readonly header: Uint8Array | undefined
  /** The groups, one behind the other. */
  readonly groups: Uint8Array
  /** The durable LSN of the source when the chunk was read. */
  readonly durableLsn: number
  /** What the source was trimmed to. */
  readonly trimLsn: number
}

/** A group that verifies, where it stands in a chunk. */
export interface ChunkGroup extends GroupInfo {
  readonly bytes: Uint8Array
  readonly end: number
  readonly hash: string
}

const SALT_AT = 8

/**
 * What tells a group from any other: its segment's salt and its header's checksum, which sums up all
 * others of the group. 24 hex digits.
 */
export function hashOfGroup(bytes: Uint8Array): string {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, SALT_AT + 8)
  return header.toString('hex', SALT_AT, SALT_AT + 8) + header.toString('hex', 0, 4)
}

const isPlace = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0

/** @throws ERR_RIOLOG_INVALID_ARGUMENT for what is no chunk at all */
export function checkShape(chunk: RawChunk): void {
  const given: Partial<RawChunk> = chunk ?? {}
  const { uuid, epoch, segment, lsn, previousEnd, end, header, groups, durableLsn, trimLsn } = given
  const numbers = [epoch, segment, lsn, previousEnd, end, durableLsn, trimLsn]
  const isHeader = header === undefined || header instanceof Uint8Array
  const isSound = typeof uuid === 'string' && numbers.every(isPlace) && isHeader
  const hasGroups = groups instanceof Uint8Array && groups.length > 0
  if (isSound && hasGroups && (epoch as number) < MAX_COUNT) return
  throw invalidArgument('a chunk is what readRaw gives: numbers, a UUID, and bytes of groups')
}

/** Bytes of its own: what is verified is what will be written. */
export function copyOf(chunk: RawChunk): RawChunk {
  const header = chunk.header && Uint8Array.from(chunk.header)
  return { ...chunk, header, groups: Uint8Array.from(chunk.groups) }
}

/** @throws ERR_RIOLOG_CORRUPT, ERR_RIOLOG_FUTURE_VERSION */
export function headerOf(chunk: RawChunk): SegmentHeader | undefined {
  if (chunk.header === undefined) return undefined
  const found = decodeSegmentHeader(chunk.header)
  if (found.kind === 'future') throw futureVersion('the chunk', found.version)
  if (found.kind === 'bad') throw damaged(chunk, 0, 'its segment header does not verify')
  const { header } = found
  const isIts =
    header.number === chunk.segment &&
    header.uuid === chunk.uuid &&
    header.alignment === chunk.header.length
  if (!isIts) throw damaged(chunk, 0, 'its header is of another segment')
  const { segmentSize, alignment, number, fileBytes, epoch } = header
  const isSound =
    areDimensions(segmentSize, alignment) &&
    number <= maxSegmentNumber(segmentSize) &&
    isFileLength(fileBytes, segmentSize, alignment) &&
    epoch <= chunk.epoch
  if (!isSound) throw damaged(chunk, 0, 'no log has a segment of these dimensions')
  return header
}

/**
 * The groups of a chunk, each verified as a whole, against its segment and against the one before it.
 * @throws ERR_RIOLOG_CORRUPT, ERR_RIOLOG_FUTURE_VERSION
 */
export function groupsOf(chunk: RawChunk, segment: SegmentHeader): ChunkGroup[] {
  const { segmentSize, alignment, salt, number, fileBytes } = segment
  const base = number * segmentSize
  const most = maxGroupBytes(segmentSize, alignment)
  const groups: ChunkGroup[] = []
  let previousEnd = chunk.previousEnd
  const offset = () => groups.reduce((sum, { bytes }) => sum + bytes.length, 0)
  const inPlace = chunk.lsn >= base + alignment && chunk.lsn % alignment === 0
  if (!inPlace || chunk.groups.length % alignment !== 0) {
    throw damaged(chunk, 0, 'its bytes do not lie on the alignment of the segment')
  }
  for (let at = offset(); at < chunk.groups.length; at = offset()) {
    const lsn = chunk.lsn + at
    const found = verifyGroup(chunk.groups, at, { salt, lsn }, most)
    if (found.kind === 'future') throw futureRecord(number, lsn)
    if (found.kind !== 'whole') throw damaged(chunk, at, 'a group of it does not verify')
    const { group } = found
    const end = groupEnd(group, alignment)
    const bytes = chunk.groups.subarray(at, at + end - lsn)
    // D is what a later power cut is judged by: it must not tell of more than went before.
    const follows = group.previousEnd === previousEnd && group.durableLsn <= previousEnd
    if (!follows || end > base + fileBytes || bytes.length !== end - lsn) {
      throw damaged(chunk, at, 'its groups do not follow each other')
    }
    groups.push({ ...group, bytes, end, hash: hashOfGroup(bytes) })
    previousEnd = end
  }
  if (previousEnd !== chunk.end) throw damaged(chunk, 0, 'it ends where its groups do not')
  return groups
}

function damaged(chunk: RawChunk, offset: number, what: string): CorruptionError {
  const where = { segment: chunk.segment, offset, lsn: chunk.lsn + offset }
  return new CorruptionError(`the chunk is damaged: ${what}; nothing was written`, where)
}

export function diverged(what: string): RiologError {
  return new RiologError('ERR_RIOLOG_DIVERGED', `${what}: one is no copy of the other`)
}

export function gap(what: string): RiologError {
  return new RiologError('ERR_RIOLOG_GAP', `${what}; nothing was written`)
}

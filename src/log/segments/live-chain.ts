/**
 * Which segments live: the walk from the manifest's newest over parents. One start, one parent each,
 * so never a choice; a file that the walk does not meet is dead, whatever it contains.
 */
import { withBuffer } from '../../disk/buffer.ts'
import type { DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { CorruptionError, isErrno, RiologError } from '../../errors.ts'
import {
  isFileLength,
  maxGroupBytes,
  sameSalt,
  segmentName,
  segmentOf,
  segmentOfEnd,
} from '../../segment/format.ts'
import { type GroupInfo, groupEnd, readGroupHeader } from '../../segment/group.ts'
import { decodeSegmentHeader, type SegmentHeader, type SegmentRef } from '../../segment/header.ts'
import type { Manifest } from './manifest.ts'
import type { DeadSegment } from './recycle-pool.ts'

export interface LiveSegment {
  readonly header: SegmentHeader
  readonly file: DiskFile
  /** The LSN of the file's first byte. */
  readonly base: number
  /** The first group's header, where one verifies: it tells where the parent ends. */
  firstGroup: GroupInfo | undefined
  /** Where the parent ends; undefined while the segment is prepared and unused. */
  link: number | undefined
  /** The end of the first group, once it is durable. */
  firstGroupEnd: number | undefined
  /** Reads under way. */
  readers: number
  /** Trimmed or rewound: its file is closed when the last reader leaves. */
  retired: boolean
  /** Nothing at or behind this LSN lives in this segment. */
  cut: number
}

/** The live segments, oldest first. */
export class LiveChain {
  readonly segments: LiveSegment[]
  readonly segmentSize: number
  readonly alignment: number
  /** No group is longer. */
  readonly maxGroup: number

  constructor(manifest: Manifest, segments: LiveSegment[]) {
    this.segments = segments
    this.segmentSize = manifest.segmentSize
    this.alignment = manifest.alignment
    this.maxGroup = maxGroupBytes(manifest.segmentSize, manifest.alignment)
  }

  /** The live segment that would hold a record at `lsn`. */
  holding(lsn: number): LiveSegment | undefined {
    return this.#byNumber(segmentOf(lsn, this.segmentSize))
  }

  /** The live segment of an end. */
  holdingEnd(end: number): LiveSegment | undefined {
    return this.#byNumber(segmentOfEnd(end, this.segmentSize))
  }

  /**
   * Takes away the segments that a trim has freed: a later one links to a place at or before it, and is
   * itself known to be durable. The segment of the end never is among them.
   */
  retireBefore(trimLsn: number, floor: number): LiveSegment[] {
    const keep = this.segments.findLastIndex(
      ({ link, firstGroupEnd }) =>
        link !== undefined &&
        link <= trimLsn &&
        firstGroupEnd !== undefined &&
        firstGroupEnd <= floor,
    )
    const retired = keep > 0 ? this.segments.splice(0, keep) : []
    retire(retired)
    return retired
  }

  /** Takes away what a rewind has dropped: all at and behind the cut. */
  rewindTo(cut: number): LiveSegment[] {
    const last = cut === 0 ? 0 : segmentOfEnd(cut, this.segmentSize)
    const from = this.segments.findIndex(({ header }) => header.number > last)
    const dropped = from >= 0 ? this.segments.splice(from) : []
    retire(dropped)
    const parent = this.segments.at(-1)
    if (parent !== undefined) parent.cut = Math.min(parent.cut, cut)
    return dropped
  }

  /** Runs a read of a segment, whose file stays open meanwhile. */
  async reading<T>(segment: LiveSegment, run: () => Promise<T>): Promise<T> {
    this.acquire(segment)
    try {
      return await run()
    } finally {
      this.release(segment)
    }
  }

  /** The same by hand: the file stays open until {@link release}. */
  acquire(segment: LiveSegment): void {
    segment.readers++
  }

  release(segment: LiveSegment): void {
    segment.readers--
    if (segment.readers === 0 && segment.retired) segment.file.close()
  }

  indexOf(segment: LiveSegment): number {
    return this.segments.indexOf(segment)
  }

  fileEnd(segment: LiveSegment): number {
    return segment.base + segment.header.fileBytes
  }

  /** Segments behind the end were prepared and never used: they are not part of the log. */
  endAt(end: number): void {
    const last = end === 0 ? 0 : segmentOfEnd(end, this.segmentSize)
    while ((this.segments.at(-1)?.header.number ?? 0) > last) this.segments.pop()!.file.close()
  }

  close(): void {
    for (const segment of this.segments) segment.file.close()
  }

  #byNumber(number: number): LiveSegment | undefined {
    // Sorted by number: a binary search, since a log can have thousands of segments.
    let low = 0
    let high = this.segments.length - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      const found = this.segments[middle].header.number
      if (found === number) return this.segments[middle]
      if (found < number) low = middle + 1
      else high = middle - 1
    }
    return undefined
  }
}

/** What becomes of the files of segments that were just retired. */
export function deadOf(segments: readonly LiveSegment[]): DeadSegment[] {
  return segments.map(({ header, readers }) => ({ number: header.number, busy: readers > 0 }))
}

function retire(segments: readonly LiveSegment[]): void {
  for (const segment of segments) {
    segment.retired = true
    if (segment.readers === 0) segment.file.close()
  }
}

/**
 * @throws CorruptionError for a live segment that is missing or not what the chain says
 * @throws ERR_RIOLOG_FOREIGN, ERR_RIOLOG_FUTURE_VERSION
 * @throws SystemError: never a verdict
 */
export async function walkLiveChain(
  directory: DiskDirectory,
  manifest: Manifest,
): Promise<LiveChain> {
  const chain = new LiveChain(manifest, [])
  try {
    let ref = manifest.newest
    let cut = Number.POSITIVE_INFINITY
    while (ref.number !== 0) {
      const segment = await openLive(directory, manifest, ref)
      chain.segments.unshift(segment)
      const most = manifest.pinned ? manifest.floor : Number.POSITIVE_INFINITY
      segment.cut = Math.min(cut, most, segment.base + segment.header.fileBytes)
      const link = linkOf(segment, manifest)
      segment.link = link
      if (mayLackParent(segment, manifest)) break
      cut = link ?? Number.POSITIVE_INFINITY
      ref = segment.header.parent
    }
    return chain
  } catch (error) {
    chain.close()
    throw error
  }
}

/**
 * What a trim can have freed: all before a segment that links to a place before the trim, and that is itself
 * known to be durable. Before one whose first group may be torn, the floor is still in the parent.
 */
function mayLackParent({ link, firstGroupEnd }: LiveSegment, manifest: Manifest): boolean {
  if (link === undefined || firstGroupEnd === undefined) return false
  return link <= manifest.trimLsn && firstGroupEnd <= manifest.floor
}

/** Where the parent ends, which the first group tells; undefined: nothing tells, it is open-ended. */
function linkOf(segment: LiveSegment, manifest: Manifest): number | undefined {
  const { header, base, firstGroup } = segment
  const firstLsn = base + manifest.alignment
  const where = { segment: header.number, offset: manifest.alignment, lsn: firstLsn }
  if (firstGroup === undefined) {
    // Prepared ahead and unused, which a segment with something durable in it cannot be.
    if (firstLsn >= manifest.floor) return undefined
    throw new CorruptionError('the first group of a live segment does not verify', where)
  }
  const link = firstGroup.previousEnd
  const parent = link === 0 ? 0 : segmentOfEnd(link, manifest.segmentSize)
  if (parent !== header.parent.number) {
    throw new CorruptionError(`the first group links to LSN ${link}, not into the parent`, where)
  }
  return link
}

/**
 * The newest segment may have been prepared ahead, and be in use by now: its first group then tells
 * where its parent ends. Nothing else of a live chain changes without the manifest.
 */
export async function lookForFirstGroup(chain: LiveChain): Promise<void> {
  const [parent, newest] = [undefined, undefined, ...chain.segments].slice(-2)
  if (newest === undefined || newest.firstGroup !== undefined) return
  const { alignment, maxGroup } = chain
  const lsn = newest.base + alignment
  const group = await groupHeaderAt(newest, lsn, alignment, maxGroup)
  if (group === undefined) return
  newest.firstGroup = group
  newest.link = group.previousEnd
  newest.firstGroupEnd = groupEnd(group, alignment)
  if (parent !== undefined) parent.cut = group.previousEnd
}

/** One block, read from the device. */
export async function groupHeaderAt(
  { file, header, base }: LiveSegment,
  lsn: number,
  alignment: number,
  maxGroup: number,
): Promise<GroupInfo | undefined> {
  return withBuffer(alignment, async buffer => {
    const length = await file.read(buffer, 0, alignment, lsn - base)
    const place = { salt: header.salt, lsn }
    return readGroupHeader(buffer.bytes.subarray(0, length), 0, place, maxGroup)
  })
}

async function openLive(
  directory: DiskDirectory,
  manifest: Manifest,
  ref: SegmentRef,
): Promise<LiveSegment> {
  const name = segmentName(ref.number)
  const base = ref.number * manifest.segmentSize
  const corrupt = (what: string) =>
    new CorruptionError(`${name} ${what}`, { segment: ref.number, offset: 0, lsn: base })
  let file: DiskFile
  try {
    file = await directory.open(name, 'read', 0)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw corrupt('is live and missing')
    throw error
  }
  try {
    await file.forgetCache()
    const header = await readHeader(file, manifest, ref, corrupt)
    const { firstGroup } = header
    const firstGroupEnd = firstGroup && groupEnd(firstGroup, manifest.alignment)
    const state = { link: undefined, firstGroupEnd, readers: 0, retired: false }
    return { file, base, cut: 0, ...header, ...state }
  } catch (error) {
    file.close()
    throw error
  }
}

interface FoundHeader {
  readonly header: SegmentHeader
  readonly firstGroup: GroupInfo | undefined
}

/** One read, of the header block and the first group's. */
function readHeader(
  file: DiskFile,
  manifest: Manifest,
  ref: SegmentRef,
  corrupt: (what: string) => CorruptionError,
): Promise<FoundHeader> {
  const bytes = 2 * manifest.alignment
  return withBuffer(bytes, async buffer => {
    const length = await file.read(buffer, 0, bytes, 0)
    return judgeHeader(buffer.bytes.subarray(0, length), file, manifest, ref, corrupt)
  })
}

function judgeHeader(
  bytes: Uint8Array,
  file: DiskFile,
  { alignment, segmentSize, uuid }: Manifest,
  ref: SegmentRef,
  corrupt: (what: string) => CorruptionError,
): FoundHeader {
  const found = decodeSegmentHeader(bytes.subarray(0, Math.min(alignment, bytes.length)))
  if (found.kind === 'future') throw futureVersion(file.name, found.version)
  if (found.kind === 'bad') throw corrupt('has a bad header')
  const { header } = found
  if (header.uuid !== uuid) {
    throw new RiologError('ERR_RIOLOG_FOREIGN', `${file.name} belongs to log ${header.uuid}`)
  }
  if (header.number !== ref.number || !sameSalt(header.salt, ref.salt)) {
    throw corrupt('is not the segment that the chain names')
  }
  if (header.alignment !== alignment || header.segmentSize !== segmentSize) {
    throw corrupt('has other dimensions than its log')
  }
  const { fileBytes } = header
  if (!isFileLength(fileBytes, segmentSize, alignment)) {
    throw corrupt(`claims a length of ${fileBytes}`)
  }
  if (file.size() < fileBytes)
    throw corrupt(`is shorter than the ${fileBytes} bytes it was made of`)
  const place = { salt: header.salt, lsn: ref.number * segmentSize + alignment }
  const most = maxGroupBytes(segmentSize, alignment)
  return { header, firstGroup: readGroupHeader(bytes, alignment, place, most) }
}

/** A record that verifies and has a flag that only a later version of the format knows. */
export function futureRecord(segment: number, lsn: number): RiologError {
  return new RiologError(
    'ERR_RIOLOG_FUTURE_VERSION',
    `${segmentName(segment)} has a record at or behind LSN ${lsn} with flags that this riolog does not ` +
      'know; nothing was written',
  )
}

export function futureVersion(name: string, version: number): RiologError {
  return new RiologError(
    'ERR_RIOLOG_FUTURE_VERSION',
    `${name} is of format version ${version}, which this riolog does not know; nothing was written`,
  )
}

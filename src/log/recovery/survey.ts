/**
 * What the files of a log hold, also of one that no opening would accept: for `riolog dump`, `salvage`,
 * `stats` and `verify --deep`. It believes only what verifies, goes on behind what does not, and writes
 * nothing. The log should not be in use meanwhile: what a writer changes looks like damage here.
 */
import { allocateBuffer } from '../../disk/buffer.ts'
import type { Disk, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { isErrno, RiologError } from '../../errors.ts'
import {
  areDimensions,
  maxGroupBytes,
  parseSegmentName,
  sameSalt,
  segmentName,
} from '../../segment/format.ts'
import {
  BATCH_LAST,
  BATCH_NONE,
  type GroupInfo,
  groupEnd,
  readGroupHeader,
  recordsOf,
} from '../../segment/group.ts'
import { decodeSegmentHeader, type SegmentHeader, type SegmentRef } from '../../segment/header.ts'
import { Window } from '../../segment/window.ts'
import type { Codec } from '../records/codec.ts'
import { Fragments } from '../records/fragments.ts'
import type { LogRecord } from '../records/record.ts'
import { futureRecord, futureVersion } from '../segments/live-chain.ts'
import { MANIFEST_NAME, type Manifest } from '../segments/manifest.ts'
import { readManifest } from '../segments/manifest-file.ts'

export interface SurveyedSegment {
  readonly kind: 'segment'
  readonly number: number
  readonly base: number
  readonly header: SegmentHeader
  /** Nothing at or behind this LSN is part of the log; undefined: nothing tells where it ends. */
  readonly cut: number | undefined
}

export interface SurveyedGroup {
  readonly kind: 'group'
  readonly segment: number
  readonly offset: number
  readonly group: GroupInfo
  readonly end: number
  readonly base: number
  readonly header: SegmentHeader
  /** Records and fragments that live, as they are stored; good until the next item is asked for. */
  records(): Iterable<StoredBytes>
}

/** A record as it is stored, or a fragment of one; the bytes are a view. */
export interface StoredBytes {
  readonly lsn: number
  /** RECORD_* */
  readonly flags: number
  readonly bytes: Uint8Array
}

/** A place where something durable was and does not verify. */
export interface Hole {
  readonly kind: 'hole'
  readonly segment: number
  readonly offset: number
  readonly from: number
  readonly to: number
  readonly reason: string
}

/** Where the log ends; `isTorn`: what was never acknowledged stands behind. */
export interface SurveyedEnd {
  readonly kind: 'end'
  readonly lsn: number
  readonly isTorn: boolean
}

export type Surveyed = SurveyedSegment | SurveyedGroup | Hole | SurveyedEnd

interface Found {
  readonly ref: SegmentRef
  readonly file?: DiskFile
  readonly header?: SegmentHeader
  readonly firstGroup?: GroupInfo | undefined
  readonly problem?: string
  /** It begins with zeros, as a file that was made ahead and never was a segment. */
  readonly isBlank?: boolean
}

export class Survey {
  readonly #directory: DiskDirectory
  readonly #files: DiskFile[] = []
  /** What was wrong with the manifest; undefined: nothing. */
  readonly manifestProblem: string | undefined
  readonly manifest: Manifest
  #found: Found[] = []

  private constructor(directory: DiskDirectory, manifest: Manifest, problem: string | undefined) {
    this.#directory = directory
    this.manifest = manifest
    this.manifestProblem = problem
  }

  /** @throws ERR_RIOLOG_NO_LOG, ERR_RIOLOG_NOT_A_DIRECTORY, ERR_RIOLOG_FUTURE_VERSION, SystemError */
  static async open(disk: Disk, path: string): Promise<Survey> {
    const directory = await openDirectory(disk, path)
    try {
      const { manifest, problem } = await findManifest(directory)
      const survey = new Survey(directory, manifest, problem)
      await survey.#walk()
      return survey
    } catch (error) {
      directory.close()
      throw error
    }
  }

  close(): void {
    for (const file of this.#files) file.close()
    this.#directory.close()
  }

  /** Bytes of the files before an LSN: for a bar. */
  bytesBefore(lsn: number): number {
    const { segmentSize } = this.manifest
    return this.#found.reduce((sum, { ref, header }) => {
      const used = lsn - ref.number * segmentSize
      return sum + Math.max(0, Math.min(used, header?.fileBytes ?? 0))
    }, 0)
  }

  /** Oldest first: each segment, its groups and holes, and then the end. */
  async *items(): AsyncGenerator<Surveyed, void> {
    const { floor, pinned, alignment, segmentSize } = this.manifest
    const window = new Window(alignment)
    let evidence = floor
    let end = 0
    let torn = false
    for (const [i, found] of this.#found.entries()) {
      const base = found.ref.number * segmentSize
      const next = this.#found[i + 1]
      const link = next?.firstGroup?.previousEnd
      const most = pinned ? floor : Number.POSITIVE_INFINITY
      if (found.header === undefined || found.file === undefined) {
        const to = Math.min(base + segmentSize, most, link ?? Number.POSITIVE_INFINITY)
        const reason = found.problem ?? 'the segment is missing'
        yield { kind: 'hole', segment: found.ref.number, offset: 0, from: base, to, reason }
        end = to
        continue
      }
      const known = link !== undefined || (pinned && next === undefined)
      const limit = base + found.header.fileBytes
      const cut = Math.min(link ?? limit, most, limit)
      const { number } = found.header
      const told = known ? cut : undefined
      yield { kind: 'segment', number, base, header: found.header, cut: told }
      let bad: number | undefined
      // A header may claim 16 GiB that the file does not have: what is not there is not looked at, block by
      // block, but lost in one piece.
      const fileEnd = base + found.file.size()
      let at = base + alignment
      while (at < cut && at < fileEnd) {
        const loaded = await this.#group(found, at, window)
        if (loaded === undefined) {
          bad ??= at
          at += alignment
          continue
        }
        if (bad !== undefined) yield hole(number, base, bad, at)
        bad = undefined
        evidence = Math.max(evidence, loaded.group.durableLsn)
        yield this.#surveyed(found.header, base, cut, loaded)
        at = groupEnd(loaded.group, alignment)
        end = Math.min(at, cut)
      }
      if (at < cut) bad ??= at
      if (bad === undefined) continue
      // Where nothing tells the end of the segment, only evidence within it says that something was there:
      // the one before a segment that is lost may have ended here.
      const proven = evidence <= cut ? evidence : bad
      const to = known ? cut : proven
      if (to > bad) {
        yield hole(number, base, bad, to)
        end = to
      } else if (end > base) torn = await this.#isTorn(found, bad)
    }
    yield { kind: 'end', lsn: end, isTorn: torn }
  }

  #surveyed(
    header: SegmentHeader,
    base: number,
    cut: number,
    { group, bytes }: { group: GroupInfo; bytes: Uint8Array },
  ): SurveyedGroup {
    const { trimLsn, alignment } = this.manifest
    const records = function* () {
      for (const { lsn, flags, from, to } of recordsOf(bytes, 0, group)) {
        if (lsn >= trimLsn && lsn < cut) yield { lsn, flags, bytes: bytes.subarray(from, to) }
      }
    }
    const end = groupEnd(group, alignment)
    const offset = group.lsn - base
    return { kind: 'group', segment: header.number, base, header, offset, group, end, records }
  }

  async #group({ file, header }: Found, lsn: number, window: Window) {
    const { segmentSize, alignment } = this.manifest
    const base = header!.number * segmentSize
    const place = { salt: header!.salt, lsn }
    const most = maxGroupBytes(segmentSize, alignment)
    // A rewind may have cut within a group: it verifies as a whole only.
    const limit = header!.fileBytes
    const { found, bytes } = await window.group(file!, lsn - base, place, most, limit)
    if (found.kind === 'future') throw futureRecord(header!.number, lsn)
    return found.kind === 'whole' ? { group: found.group, bytes } : undefined
  }

  /** Zeros are the end; anything else was on its way when the writer stopped. */
  async #isTorn({ file, header }: Found, lsn: number): Promise<boolean> {
    const { segmentSize, alignment } = this.manifest
    const block = allocateBuffer(alignment)
    await file!.read(block, 0, alignment, lsn - header!.number * segmentSize)
    return block.bytes.some(byte => byte !== 0)
  }

  /** From the newest over parents; where a header is lost, the next lower file that has had one is taken for the parent. */
  async #walk(): Promise<void> {
    const names = await this.#directory.list()
    const { segmentSize, alignment, trimLsn, floor } = this.manifest
    const numbers = names.flatMap(name => parseSegmentName(name, segmentSize) ?? [])
    let ref: SegmentRef | undefined = this.manifest.newest
    while (ref !== undefined && ref.number !== 0) {
      const found: Found = await this.#look(ref)
      this.#found.unshift(found)
      const { number }: SegmentRef = ref
      const { firstGroup } = found
      const links = firstGroup !== undefined && firstGroup.previousEnd <= trimLsn
      // As for an opening: before a group that may be torn, the log can end in the parent.
      if (links && groupEnd(firstGroup, alignment) <= floor) return
      ref = found.header === undefined ? await this.#below(number, numbers) : found.header.parent
    }
  }

  /** What may be the parent of a segment whose header is lost: the next lower file that has ever had one. */
  async #below(number: number, numbers: readonly number[]): Promise<SegmentRef | undefined> {
    const lower = numbers.filter(one => one < number).sort((one, other) => other - one)
    for (const each of lower) {
      const ref = { number: each, salt: ANY }
      const { header, isBlank } = await this.#look(ref)
      if (!isBlank) return header ?? ref
    }
    return undefined
  }

  async #look(ref: SegmentRef): Promise<Found> {
    const { uuid, alignment, segmentSize } = this.manifest
    const file = await openSegment(this.#directory, ref.number)
    if (file === undefined) return { ref, problem: `${segmentName(ref.number)} is missing` }
    this.#files.push(file)
    await file.forgetCache()
    const buffer = allocateBuffer(2 * alignment)
    const length = await file.read(buffer, 0, 2 * alignment, 0)
    const bytes = buffer.bytes.subarray(0, length)
    const decoded = decodeSegmentHeader(bytes.subarray(0, Math.min(alignment, length)))
    const bad = (what: string): Found => ({ ref, problem: `${file.name} ${what}` })
    if (decoded.kind !== 'good') {
      const isBlank = bytes.every(byte => byte === 0)
      return { ...bad('has a header that does not verify'), isBlank }
    }
    const { header } = decoded
    const isIt =
      header.number === ref.number && (ref.salt === ANY || sameSalt(header.salt, ref.salt))
    if (header.uuid !== uuid || !isIt || header.segmentSize !== segmentSize) {
      return bad('is not the segment that the chain names')
    }
    const { fileBytes } = header
    const fits = fileBytes <= segmentSize && fileBytes % alignment === 0
    if (header.alignment !== alignment || !fits) return bad('has other dimensions than its log')
    const place = { salt: header.salt, lsn: header.number * segmentSize + alignment }
    const most = maxGroupBytes(segmentSize, alignment)
    return { ref, file, header, firstGroup: readGroupHeader(bytes, alignment, place, most) }
  }
}

/** The salt of a segment that is known by its number only. */
const ANY = { low: 0, high: 0 }

function hole(segment: number, base: number, from: number, to: number): Hole {
  const reason = 'no group verifies here'
  return { kind: 'hole', segment, offset: from - base, from, to, reason }
}

export interface Survivors {
  readonly kind: 'records'
  readonly records: LogRecord[]
  /** They are all of a batch of several groups. */
  readonly isBatch: boolean
}

/**
 * The records of a survey in order, and its holes. Those of a batch over several groups come when its
 * last group has been met, or a hole instead; at the end of the log, such a batch was never acknowledged.
 * A record that a hole has taken a part of is gone with it.
 * @throws ERR_RIOLOG_KEY
 */
export async function* survivors(
  survey: Survey,
  codec: Codec,
): AsyncGenerator<Hole | Survivors, void> {
  const { segmentSize } = survey.manifest
  let fragments = new Fragments(codec, segmentSize)
  let batch: LogRecord[] = []
  for await (const item of survey.items()) {
    if (item.kind === 'hole') {
      if (batch.length > 0) yield { kind: 'records', records: batch, isBatch: false }
      batch = []
      fragments = new Fragments(codec, segmentSize)
      yield item
    }
    if (item.kind !== 'group') continue
    for (const piece of item.records()) {
      const whole = fragments.take({ ...piece, bytes: Buffer.from(piece.bytes), segment: item })
      if (whole !== undefined) batch.push(whole)
    }
    const part = item.group.batch
    if (part === BATCH_NONE || part === BATCH_LAST) {
      yield { kind: 'records', records: batch, isBatch: part === BATCH_LAST }
      batch = []
    }
  }
}

async function openDirectory(disk: Disk, path: string): Promise<DiskDirectory> {
  try {
    return await disk.openDirectory(path, undefined)
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) throw noLog(path, cause)
    if (!isErrno(cause, 'ENOTDIR')) throw cause
    throw new RiologError('ERR_RIOLOG_NOT_A_DIRECTORY', `${path} is not a directory`, { cause })
  }
}

async function openSegment(dir: DiskDirectory, number: number): Promise<DiskFile | undefined> {
  try {
    return await dir.open(segmentName(number), 'read', 0)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw error
  }
}

async function findManifest(
  directory: DiskDirectory,
): Promise<{ manifest: Manifest; problem: string | undefined }> {
  let problem = 'there is no manifest'
  try {
    const file = await directory.open(MANIFEST_NAME, 'read', 0)
    try {
      const found = await readManifest(file)
      if (found.kind === 'future') throw futureVersion(MANIFEST_NAME, found.version)
      if (found.kind === 'good') return { manifest: found.manifest, problem: undefined }
      problem = found.kind === 'none' ? 'no copy verifies' : 'its copies contradict each other'
    } finally {
      file.close()
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
  const manifest = await rebuiltManifest(directory)
  if (manifest === undefined) throw noLog(directory.path)
  return { manifest, problem }
}

/**
 * Without a manifest: the newest is the highest segment that has a group. Nothing tells what was trimmed
 * or how far it was durable.
 */
async function rebuiltManifest(directory: DiskDirectory): Promise<Manifest | undefined> {
  const numbers = (await directory.list()).flatMap(name => parseSegmentName(name, 2 ** 16) ?? [])
  for (const number of numbers.sort((a, b) => b - a)) {
    const file = await openSegment(directory, number)
    if (file === undefined) continue
    try {
      const buffer = allocateBuffer(2 ** 17)
      const length = await file.read(buffer, 0, 2 ** 17, 0)
      const bytes = buffer.bytes.subarray(0, length)
      const decoded = decodeSegmentHeader(bytes.subarray(0, 2 ** 16))
      if (decoded.kind !== 'good' || decoded.header.number !== number) continue
      const { uuid, epoch, salt, segmentSize, alignment } = decoded.header
      if (!areDimensions(segmentSize, alignment)) continue
      const place = { salt, lsn: number * segmentSize + alignment }
      const most = maxGroupBytes(segmentSize, alignment)
      if (readGroupHeader(bytes, alignment, place, most) === undefined) continue
      const newest = { number, salt }
      const unknown = { pinned: false, update: 0, floor: 0, trimLsn: 0 }
      return { uuid, epoch, segmentSize, alignment, newest, ...unknown }
    } finally {
      file.close()
    }
  }
  return undefined
}

function noLog(path: string, cause?: unknown): RiologError {
  return new RiologError('ERR_RIOLOG_NO_LOG', `there is no log at ${path}`, { cause })
}

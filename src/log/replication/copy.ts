/** The files of a copy, from the first segment on: what a chunk brings is verified, then written. */
import { allocateBuffer } from '../../disk/buffer.ts'
import type { DiskBuffer, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { CorruptionError, RiologError } from '../../errors.ts'
import { sameSalt, segmentName, segmentOfEnd } from '../../segment/format.ts'
import { BATCH_NONE } from '../../segment/group.ts'
import type { SegmentHeader, SegmentRef } from '../../segment/header.ts'
import type { Health } from '../commit/health.ts'
import { guarded } from '../guarded-logger.ts'
import type { CheckedOptions } from '../options.ts'
import { Reader } from '../reading/reader.ts'
import { Codec } from '../records/codec.ts'
import { deadOf, type LiveChain, type LiveSegment } from '../segments/live-chain.ts'
import type { Manifest } from '../segments/manifest.ts'
import type { ManifestFile } from '../segments/manifest-file.ts'
import { RecyclePool } from '../segments/recycle-pool.ts'
import {
  dropFile,
  type Haste,
  layOutSegmentFile,
  writeHeaderBlock,
} from '../segments/segment-file.ts'
import { behind, NOTHING, type Progress } from './progress.ts'
import { type ChunkGroup, diverged, gap, groupsOf, headerOf, type RawChunk } from './raw-chunk.ts'
import { RawReader } from './raw-reader.ts'

export interface CopyParts {
  readonly directory: DiskDirectory
  readonly manifestFile: ManifestFile
  readonly chain: LiveChain
  readonly health: Health
  readonly options: Pick<CheckedOptions, 'mode' | 'recycledSegments' | 'logger'>
}

type Change = Partial<Pick<Manifest, 'newest' | 'floor' | 'pinned' | 'epoch' | 'trimLsn'>>

export class Copy {
  readonly manifestFile: ManifestFile
  progress: Progress
  readonly #directory: DiskDirectory
  readonly #chain: LiveChain
  readonly #health: Health
  readonly #mode: number
  readonly #raw: RawReader
  readonly #pool: RecyclePool
  readonly #buffer: DiskBuffer
  /** The number of the segment whose descriptor is for writing: recovery opens them to read. */
  #writing: number | undefined
  #trimWanted = 0

  constructor({ directory, manifestFile, chain, health, options }: CopyParts, progress: Progress) {
    this.manifestFile = manifestFile
    this.progress = progress
    this.#directory = directory
    this.#chain = chain
    this.#health = health
    this.#mode = options.mode
    const reader = new Reader(
      chain,
      new Codec({ compression: 'none', encryption: undefined }, { writes: false }),
      () => manifestFile.current.trimLsn,
      () => this.progress.end,
    )
    this.#raw = new RawReader(chain, reader)
    const logger = guarded(options.logger)
    this.#pool = new RecyclePool({
      directory,
      fileBytes: chain.segmentSize,
      most: options.recycledSegments,
      onStays: error => logger?.warn({ err: error }, 'riolog: a dead segment stays'),
    })
    this.#buffer = allocateBuffer(chain.maxGroup)
  }

  /** Finds out what stands before the end that recovery found. */
  async findHash(): Promise<void> {
    if (this.#chain.segments.length === 0) return
    const { end } = this.progress
    const hash = await this.#raw.hashAt(end).catch(error => {
      throw error.code === 'ERR_RIOLOG_NOT_FOUND' ? noGroupEnds(end, this.#chain) : error
    })
    this.progress = { ...this.progress, hash }
  }

  /** @throws what `Replica.apply` documents */
  async apply(chunk: RawChunk): Promise<void> {
    const header = headerOf(chunk)
    this.#refuseOther(chunk, header)
    const segment = this.#segmentOf(chunk, header)
    const groups = groupsOf(chunk, segment?.header ?? header!)
    if (segment === undefined) {
      await this.#startSegment(chunk, header!, groups)
    } else {
      const fresh = await this.#unknownOf(segment, groups)
      if (fresh.length > 0) await this.#orPoison(() => this.#write(segment, fresh))
    }
    // Not before: what was refused has nothing to say of this copy.
    this.#trimWanted = Math.max(this.#trimWanted, chunk.trimLsn)
    await this.#followTrim()
  }

  /** Tells the manifest how far the copy has got; not inside a batch, whose groups would not count then. */
  async stamp({ pinned }: { readonly pinned: boolean }): Promise<void> {
    const change = pinned && !this.progress.insideBatch ? { pinned } : {}
    await this.#orPoison(() => this.#update(change))
  }

  close(): void {
    this.#chain.close()
    this.#pool.close()
  }

  // ---- what a chunk brings -------------------------------------------------------------------

  /** @throws ERR_RIOLOG_FOREIGN, ERR_RIOLOG_FENCED, ERR_RIOLOG_DIVERGED */
  #refuseOther(chunk: RawChunk, header: SegmentHeader | undefined): void {
    const { uuid, epoch, segmentSize, alignment } = this.manifestFile.current
    if (chunk.uuid !== uuid) {
      throw new RiologError('ERR_RIOLOG_FOREIGN', `the chunk belongs to log ${chunk.uuid}`)
    }
    if (chunk.epoch < epoch) {
      throw new RiologError(
        'ERR_RIOLOG_FENCED',
        `the chunk is from epoch ${chunk.epoch}; the copy follows epoch ${epoch}`,
      )
    }
    if (header === undefined) return
    if (header.segmentSize !== segmentSize || header.alignment !== alignment) {
      throw diverged('the chunk is of a log with other dimensions')
    }
  }

  /** The live segment that a chunk belongs to; undefined for a new one. */
  #segmentOf(chunk: RawChunk, header: SegmentHeader | undefined): LiveSegment | undefined {
    const { segments } = this.#chain
    const found = segments.find(each => each.header.number === chunk.segment)
    const newest = segments.at(-1)?.header.number ?? 0
    if (found !== undefined) {
      if (header === undefined || sameSalt(found.header.salt, header.salt)) return found
      throw diverged(`segment ${chunk.segment} is another one`)
    }
    if (chunk.segment <= newest) {
      throw diverged(`segment ${chunk.segment} is not part of the copy, which is in ${newest}`)
    }
    if (header !== undefined) return undefined
    throw gap(`the copy does not have the beginning of segment ${chunk.segment}`)
  }

  /**
   * The groups that the copy does not have yet; those that it has must be the same.
   * @throws ERR_RIOLOG_GAP, ERR_RIOLOG_DIVERGED
   */
  async #unknownOf(segment: LiveSegment, groups: readonly ChunkGroup[]): Promise<ChunkGroup[]> {
    const { end } = this.progress
    const isNewest = segment === this.#chain.segments.at(-1)
    // A rewind can have cut within a group, which then ends behind the cut.
    const has = (group: ChunkGroup) => (isNewest ? group.end <= end : group.lsn < segment.cut)
    const known = groups.filter(has).findLast(group => group.end <= segment.cut)
    if (known !== undefined) await this.#compare(known)
    const fresh = groups.filter(group => !has(group))
    const [first] = fresh
    if (first === undefined) return []
    if (!isNewest) throw diverged(`the chunk goes on behind LSN ${segment.cut}, the copy does not`)
    if (first.lsn > end) throw gap(`the copy ends at LSN ${end}, not ${first.lsn}`)
    if (first.lsn < end) throw diverged(`the copy has no group that begins at LSN ${first.lsn}`)
    return fresh
  }

  /** @throws ERR_RIOLOG_DIVERGED */
  async #compare(known: ChunkGroup): Promise<void> {
    const { end, hash } = this.progress
    const own = known.end === end ? hash : await this.#raw.hashAt(known.end)
    if (own !== known.hash) throw diverged(`other bytes stand before LSN ${known.end}`)
  }

  // ---- groups --------------------------------------------------------------------------------

  /**
   * No group is written before all is durable that it proves to be (D): a power cut must not leave it
   * behind without what it tells of.
   */
  async #write(segment: LiveSegment, groups: readonly ChunkGroup[]): Promise<void> {
    const { file, base } = await this.#openToWrite(segment)
    // What lies behind a pinned end does not count.
    if (this.manifestFile.current.pinned) await this.#update({ pinned: false })
    for (let rest = groups; rest.length > 0; ) {
      const blocked = rest.findIndex(({ durableLsn }) => durableLsn > this.progress.end)
      const run = rest.slice(0, blocked < 0 ? rest.length : blocked)
      await this.#writeRun(file, base, run)
      await this.#health.orPoisoned(synced(file, this.#buffer, run, base))
      this.progress = run.reduce(behind, this.progress)
      segment.firstGroupEnd ??= run[0].end
      rest = rest.slice(run.length)
    }
  }

  /** Groups that stand one behind the other, but for the last, which is written with its sync. */
  async #writeRun(file: DiskFile, base: number, run: readonly ChunkGroup[]): Promise<void> {
    for (const { bytes, lsn } of run.slice(0, -1)) {
      this.#buffer.bytes.set(bytes)
      await this.#health.orPoisoned(file.write(this.#buffer, 0, bytes.length, lsn - base))
    }
  }

  async #openToWrite(segment: LiveSegment): Promise<LiveSegment> {
    const { number } = segment.header
    if (this.#writing === number) return segment
    const file = await this.#directory.open(segmentName(number), 'write', 0)
    if (!file.tryLock()) {
      file.close()
      throw new RiologError('ERR_RIOLOG_LOCKED', `${segmentName(number)} is being written`)
    }
    segment.file.close()
    const { segments } = this.#chain
    // Also behind an end that was pinned.
    const writable = { ...segment, file, cut: segment.base + segment.header.fileBytes }
    segments[segments.length - 1] = writable
    this.#writing = number
    return writable
  }

  // ---- segments ------------------------------------------------------------------------------

  /**
   * A segment comes with its first groups, and counts from the moment that the manifest names it: after a
   * rewind of the source that is also the moment at which the copy goes back.
   * @throws ERR_RIOLOG_GAP, ERR_RIOLOG_DIVERGED, ERR_RIOLOG_NO_SPACE: nothing has changed
   */
  async #startSegment(
    chunk: RawChunk,
    header: SegmentHeader,
    groups: readonly ChunkGroup[],
  ): Promise<void> {
    const link = chunk.previousEnd
    const { segmentSize, fileBytes, number } = header
    const base = number * segmentSize
    const progress =
      this.#chain.segments.length === 0
        ? beginningWith(chunk, header, groups)
        : this.#progressWith(chunk, header, groups)
    const file = await this.#makeFile(chunk.header!, header)
    try {
      await this.#writeRun(file, base, groups)
      await this.#health.orPoisoned(synced(file, this.#buffer, groups, base))
      await this.#health.orPoisoned(file.sync())
      await this.#health.orPoisoned(this.#directory.sync())
      const epoch = Math.max(chunk.epoch, this.manifestFile.current.epoch)
      const trimLsn = this.#chain.segments.length === 0 ? { trimLsn: link } : {}
      const floor = progress.durableLsn
      await this.#update({ newest: header, floor, pinned: false, epoch, ...trimLsn })
    } catch (error) {
      this.#health.abandon(Promise.resolve(file))
      throw this.#health.fail(error)
    }
    const isRewind = link < this.progress.end
    const dropped = deadOf(isRewind ? this.#chain.rewindTo(link) : [])
    const parent = this.#chain.segments.at(-1)
    if (parent !== undefined) parent.cut = Math.min(parent.cut, link)
    const state = { firstGroup: undefined, readers: 0, retired: false, cut: base + fileBytes }
    const firstGroupEnd = groups[0].end
    this.#chain.segments.push({ header, file, base, link, firstGroupEnd, ...state })
    this.#writing = number
    this.progress = progress
    for (const dead of dropped) await this.#pool.bury(dead)
  }

  /**
   * What the copy will have with a new segment.
   * @throws ERR_RIOLOG_GAP, ERR_RIOLOG_DIVERGED when that does not go on from what it has
   */
  #progressWith(chunk: RawChunk, header: SegmentHeader, groups: readonly ChunkGroup[]): Progress {
    const { previousEnd: link, segment } = chunk
    const { end } = this.progress
    refuseMiddle(chunk, header)
    if (link > end) throw gap(`the copy ends at LSN ${end}, not ${link}`)
    // A rewind goes on with a group of its own, and never into a batch.
    const isSound = link === end || groups[0].batch === BATCH_NONE
    if (!this.#isParent(header.parent, link) || !isSound) {
      throw diverged(`segment ${segment} goes on from another one at LSN ${link}`)
    }
    const before = link < end ? { ...this.progress, insideBatch: false } : this.progress
    return groups.reduce(behind, before)
  }

  /** Whether the copy has a segment, up to a place; or had it, and trims have freed all up to there. */
  #isParent(parent: SegmentRef, link: number): boolean {
    const [oldest] = this.#chain.segments
    const holding = this.#chain.holdingEnd(link)
    const isThere = holding !== undefined ? link <= holding.cut : link === oldest.link
    const { number, salt } = holding?.header ?? oldest.header.parent
    return isThere && number === parent.number && sameSalt(salt, parent.salt)
  }

  async #makeFile(block: Uint8Array, header: SegmentHeader): Promise<DiskFile> {
    const name = segmentName(header.number)
    const making = this.#layOut(name, block, header)
    try {
      return await this.#health.orPoisoned(making)
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ERR_RIOLOG_NO_SPACE') throw error
      this.#health.abandon(making.catch(() => undefined))
      throw this.#health.fail(error)
    }
  }

  async #layOut(name: string, block: Uint8Array, header: SegmentHeader): Promise<DiskFile> {
    const { fileBytes, segmentSize } = header
    // Whoever left a file of that name, no manifest reaches it.
    await dropFile(this.#directory, name)
    const recycled = fileBytes === segmentSize ? await this.#pool.take(name) : undefined
    const file = recycled ?? (await this.#directory.open(name, 'createNew', this.#mode))
    try {
      // Whoever applies a chunk waits for it.
      const step = async (): Promise<Haste> => {
        this.#health.refuseIfPoisoned()
        return 'awaited'
      }
      await layOutSegmentFile(file, header, recycled !== undefined, step)
      await writeHeaderBlock(file, block)
      return file
    } catch (error) {
      file.close()
      if (this.#health.poison === undefined) await dropFile(this.#directory, name)
      throw error
    }
  }

  // ---- the manifest --------------------------------------------------------------------------

  /** What was trimmed at the source is given up here once a segment can be freed by it. */
  async #followTrim(): Promise<void> {
    const most = Math.min(this.#trimWanted, this.progress.durableLsn)
    const frees = ({ link }: LiveSegment, i: number) => i > 0 && link !== undefined && link <= most
    if (!this.#chain.segments.some(frees)) return
    await this.#orPoison(() => this.#update({}))
    const { trimLsn, floor } = this.manifestFile.current
    for (const dead of deadOf(this.#chain.retireBefore(trimLsn, floor))) await this.#pool.bury(dead)
  }

  /** The floor goes with it, and what was trimmed: neither ever falls. */
  async #update(change: Change): Promise<void> {
    const { current } = this.manifestFile
    const floor = Math.max(current.floor, change.floor ?? this.progress.durableLsn)
    const wanted = Math.max(change.trimLsn ?? 0, Math.min(this.#trimWanted, floor))
    const trimLsn = Math.max(current.trimLsn, wanted)
    await this.#health.orPoisoned(this.manifestFile.update({ ...change, floor, trimLsn }))
  }

  async #orPoison(run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      throw this.#health.fail(error)
    }
  }
}

/**
 * What a copy has with its first chunk, which begins at a segment behind all that was trimmed.
 * @throws ERR_RIOLOG_GAP
 */
export function beginningWith(
  chunk: RawChunk,
  header: SegmentHeader,
  groups: readonly ChunkGroup[],
): Progress {
  const { previousEnd: link, trimLsn } = chunk
  refuseMiddle(chunk, header)
  if (link > trimLsn) throw gap(`the copy has nothing of what is before LSN ${link}`)
  const progress = groups.reduce(behind, NOTHING)
  if (progress.durableLsn > 0) return progress
  throw gap('the copy would begin inside a batch')
}

/** @throws ERR_RIOLOG_GAP for a chunk with a header whose groups are not the segment's first ones */
function refuseMiddle({ lsn }: RawChunk, { number, segmentSize, alignment }: SegmentHeader): void {
  if (lsn === number * segmentSize + alignment) return
  throw gap(`segment ${number} begins before the chunk`)
}

/** An end that recovery found is one of a group, unless a manifest was forged. */
function noGroupEnds(end: number, { segmentSize }: LiveChain): CorruptionError {
  const segment = segmentOfEnd(end, segmentSize)
  const where = { segment, offset: end - segment * segmentSize, lsn: end }
  return new CorruptionError('no group ends where the copy does', where)
}

/** The last group of a run is written, and all of the run is durable. */
function synced(
  file: DiskFile,
  buffer: DiskBuffer,
  run: readonly ChunkGroup[],
  base: number,
): Promise<void> {
  const { bytes, lsn } = run[run.length - 1]
  buffer.bytes.set(bytes)
  return new Promise((resolve, reject) => {
    const done = (error: Error | undefined) => (error === undefined ? resolve() : reject(error))
    file.commit(buffer, 0, bytes.length, lsn - base, 'fdatasync', done)
  })
}

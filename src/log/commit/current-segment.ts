/**
 * The segment that is being written, and how the next one follows it: by a rotation, when it is full, or
 * by a fork, at an opening's first append and at a rewind.
 */
import type { DiskDirectory, DiskFile } from '../../disk/disk.ts'
import type { SegmentRef } from '../../segment/header.ts'
import { deadOf, type LiveChain, type LiveSegment } from '../segments/live-chain.ts'
import { NO_SEGMENT } from '../segments/manifest.ts'
import type { ManifestFile } from '../segments/manifest-file.ts'
import type { DeadSegment } from '../segments/recycle-pool.ts'
import type { PreparedSegment } from '../segments/segment-maker.ts'
import { isHarmless } from '../segments/segment-maker.ts'
import type { SegmentSupply } from '../segments/segment-supply.ts'
import type { Arena } from './arena-pool.ts'
import type { Health } from './health.ts'
import { PendingGroup } from './pending-group.ts'

/** The next segment is prepared once this part of the current file is used. */
const PREPARE_AT = 1 / 4

export interface CurrentSegmentParts {
  readonly directory: DiskDirectory
  readonly manifest: ManifestFile
  readonly chain: LiveChain
  readonly supply: SegmentSupply
  readonly health: Health
}

/** A segment whose link group is durable and that the manifest names. */
export interface Fork {
  /** The end of the link group: the log goes on there. */
  readonly end: number
  /** What is dead since. */
  readonly dropped: DeadSegment[]
}

export class CurrentSegment {
  readonly #parts: CurrentSegmentParts
  #segment: LiveSegment | undefined

  constructor(parts: CurrentSegmentParts) {
    this.#parts = parts
  }

  /** False until the opening's first append, or a rewind: it writes into no segment before. */
  get hasForked(): boolean {
    return this.#segment !== undefined
  }

  /** Only once it {@link hasForked}. */
  get segment(): LiveSegment {
    return this.#segment!
  }

  /** From a place in it up to the end of its file, in bytes. */
  roomBehind(lsn: number): number {
    return this.segment.base + this.segment.header.fileBytes - lsn
  }

  /** Asks for the segment that comes next. @param end of the log, for an opening's first */
  requestNext(end: number): void {
    this.#parts.supply.request(this.#segment?.header ?? this.#parentOf(end))
  }

  /** The same, once a good part of this one is used. */
  requestInTime(end: number): void {
    const used = end - this.segment.base
    const due = used >= this.segment.header.fileBytes * PREPARE_AT
    // After a refusal, not at every commit again: only when somebody needs the segment.
    if (due && this.#parts.supply.refusal === undefined) this.requestNext(end)
  }

  /** Goes on to the segment that is ready, whose first group links to an end. */
  rotate(link: number): void {
    this.#enter(this.#asLive(this.#parts.supply.take()), link)
  }

  /**
   * The first append of an opening starts a segment of its own, so that no segment ever has two
   * writers. It holds up the thread: its link group, which tells where the parent ends, and the
   * manifest that names it have to be durable before an LSN in it may be handed out.
   * @throws ERR_RIOLOG_POISONED
   */
  fork(cut: number, arena: Arena): Fork {
    const { directory, manifest, supply, health } = this.#parts
    const segment = this.#asLive(supply.take())
    const { alignment } = this.#parts.chain
    const { end, length } = this.#linkGroup(arena, segment, cut)
    try {
      segment.file.writeBlocking(arena.buffer, arena.offset, length, alignment)
      segment.file.syncBlocking()
      directory.syncBlocking()
      manifest.updateBlocking({ newest: segment.header, floor: end, pinned: false })
    } catch (error) {
      segment.file.close()
      throw health.fail(error)
    }
    supply.nameFromNowOn()
    this.#enter(segment, cut, end)
    return { end, dropped: [] }
  }

  /**
   * The same for a rewind, beside the event loop: nothing is in flight, and appends wait.
   * @throws ERR_RIOLOG_NO_SPACE and others that leave the log usable: nothing has changed
   * @throws ERR_RIOLOG_POISONED: whether it is in force is undecided
   */
  async forkAt(cut: number, arena: Arena): Promise<Fork> {
    const { chain, directory, manifest, supply, health } = this.#parts
    const prepared = await this.#prepareFork(cut)
    const segment = this.#asLive(prepared)
    let end: number
    try {
      const link = this.#linkGroup(arena, segment, cut)
      end = link.end
      const { length } = link
      await health.orPoisoned(
        segment.file.write(arena.buffer, arena.offset, length, chain.alignment),
      )
      await health.orPoisoned(segment.file.sync())
      await health.orPoisoned(directory.sync())
      const newest = segment.header
      await health.orPoisoned(manifest.update({ newest, floor: end, pinned: false }))
    } catch (error) {
      health.abandon(Promise.resolve(segment.file))
      throw health.fail(error)
    }
    const dropped = deadOf(chain.rewindTo(cut))
    const spare = supply.forkedTo(prepared)
    if (spare !== undefined) dropped.push({ number: spare, busy: false })
    this.#enter(segment, cut, end)
    return { end, dropped }
  }

  async #prepareFork(cut: number): Promise<PreparedSegment> {
    const { chain, supply, health } = this.#parts
    // A cut right behind what a trim has freed: the header names the parent that is gone.
    const parent = cut === 0 ? NO_SEGMENT : chain.holdingEnd(cut)?.header
    const preparing = supply.prepareFork(parent ?? chain.segments[0].header.parent)
    try {
      return await health.orPoisoned(preparing)
    } catch (error) {
      if (isHarmless(error)) throw error
      const file = preparing.then(
        (prepared): DiskFile => prepared.file,
        () => undefined,
      )
      health.abandon(file)
      throw health.fail(error)
    }
  }

  /** The group without records that tells where the parent ends. */
  #linkGroup(arena: Arena, segment: LiveSegment, cut: number): { end: number; length: number } {
    const { alignment, maxGroup } = this.#parts.chain
    const link = new PendingGroup(arena, segment, segment.base + alignment, cut, maxGroup)
    link.seal(cut, alignment)
    return { end: link.end(alignment), length: link.writtenBytes }
  }

  /** @param firstGroupEnd where that is durable */
  #enter(segment: LiveSegment, link: number, firstGroupEnd?: number): void {
    const { segments } = this.#parts.chain
    const parent = segments.at(-1)
    if (parent !== undefined) parent.cut = Math.min(parent.cut, link)
    segment.link = link
    segment.firstGroupEnd = firstGroupEnd
    segments.push(segment)
    this.#segment = segment
  }

  #asLive({ header, file }: PreparedSegment): LiveSegment {
    const base = header.number * this.#parts.chain.segmentSize
    const cut = base + header.fileBytes
    const state = { link: undefined, firstGroupEnd: undefined, readers: 0, retired: false }
    return { header, file, base, firstGroup: undefined, cut, ...state }
  }

  /** The segment that holds the last byte before an end; never one without a group. */
  #parentOf(end: number): SegmentRef {
    return end === 0 ? NO_SEGMENT : this.#parts.chain.holdingEnd(end)!.header
  }
}

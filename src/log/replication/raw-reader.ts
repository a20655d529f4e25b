/** Reads groups as they stand on the disk, verified, for a copy of the log. */
import { allocateBuffer } from '../../disk/buffer.ts'
import { CorruptionError, invalidArgument, RiologError } from '../../errors.ts'
import { segmentOfEnd } from '../../segment/format.ts'
import { BATCH_FIRST, BATCH_MIDDLE } from '../../segment/group.ts'
import { Window } from '../../segment/window.ts'
import type { LoadedGroup, Position, Reader } from '../reading/reader.ts'
import type { LiveChain, LiveSegment } from '../segments/live-chain.ts'
import { diverged, hashOfGroup, type RawChunk } from './raw-chunk.ts'

export type RawGroups = Pick<
  RawChunk,
  'segment' | 'lsn' | 'previousEnd' | 'end' | 'header' | 'groups'
>

export class RawReader {
  readonly #chain: LiveChain
  readonly #reader: Reader

  constructor(chain: LiveChain, reader: Reader) {
    this.#chain = chain
    this.#reader = reader
  }

  /**
   * The groups behind an end: of a segment that begins there, with its header. One at least, then as
   * many as `maxBytes` allows; a batch of several groups is not cut where its segment does not end.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_DIVERGED, ERR_RIOLOG_NOT_FOUND, ERR_RIOLOG_CORRUPT,
   *   ERR_RIOLOG_REWOUND when a rewind has come between, SystemError
   */
  async behind(end: number, maxBytes: number): Promise<RawGroups | undefined> {
    const place = this.#placeBehind(end)
    if (place === undefined) return undefined
    const { segment } = place
    const { alignment } = this.#chain
    const isFirst = place.lsn === segment.base + alignment
    const header = isFirst ? await this.#headerOf(segment) : undefined
    const window = new Window(alignment)
    const limit = Math.min(segment.cut, this.#reader.durableLsn)
    const parts: Uint8Array[] = []
    let previousEnd = end
    let bytes = 0
    for (let lsn = place.lsn; lsn < limit; ) {
      const loaded = await this.#groupAt({ segment, lsn }, limit, window, end)
      const { group } = loaded
      const length = loaded.end - lsn
      const continues = group.batch > BATCH_FIRST
      if (parts.length === 0) previousEnd = group.previousEnd
      else if (bytes + length > maxBytes && !continues) break
      parts.push(Uint8Array.from(loaded.bytes.subarray(0, length)))
      bytes += length
      lsn = loaded.end
      const goesOn = group.batch === BATCH_FIRST || group.batch === BATCH_MIDDLE
      if (bytes >= maxBytes && !goesOn) break
    }
    const { lsn } = place
    const { number } = segment.header
    const groups = Buffer.concat(parts)
    return { segment: number, lsn, previousEnd, end: lsn + bytes, header, groups }
  }

  /**
   * What stands before an end: {@link hashOfGroup} of the group that ends there.
   * @throws ERR_RIOLOG_NOT_FOUND where none does, ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND,
   *   ERR_RIOLOG_CORRUPT, SystemError
   */
  async hashAt(end: number): Promise<string> {
    const { durableLsn } = this.#reader
    const segment = end <= durableLsn && end > 0 ? this.#chain.holdingEnd(end) : undefined
    if (segment === undefined && end > 0 && end <= this.oldestLink) throw this.#trimmed(end)
    const isRewound = segment === undefined ? end < durableLsn : end > segment.cut
    if (isRewound && end > 0) {
      throw new RiologError('ERR_RIOLOG_REWOUND', `LSN ${end} is not part of the log any more`)
    }
    const before =
      segment && (await this.#reader.groupHolding(segment, end - 1, new Window(this.alignment)))
    if (before?.end !== end) throw noEnd(end)
    return hashOfGroup(before.bytes)
  }

  get alignment(): number {
    return this.#chain.alignment
  }

  /** Where the oldest segment that is left goes on from: what is before it is gone. */
  get oldestLink(): number {
    return this.#chain.segments[0]?.link ?? 0
  }

  #placeBehind(end: number): Position | undefined {
    const { segments, alignment } = this.#chain
    const { durableLsn } = this.#reader
    if (end % alignment !== 0) throw invalidArgument(`${end} is no end of a group`)
    if (end === 0) return this.#oldest()
    // A place that was trimmed serves as long as its segment is there: the copy is on its way through.
    if (end < this.oldestLink) throw this.#trimmed(end)
    const holding = this.#chain.holdingEnd(end)
    if (holding !== undefined && end < holding.cut && end < durableLsn) {
      return { segment: holding, lsn: end }
    }
    // The one behind it; or, where a rewind has dropped the place, the one that it went on with.
    const number = segmentOfEnd(end, this.#chain.segmentSize)
    const next = segments.find(({ header, link }) => header.number > number && link !== undefined)
    if (next !== undefined && next.base + alignment < durableLsn) {
      return { segment: next, lsn: next.base + alignment }
    }
    if (end > durableLsn) throw diverged(`the copy ends at LSN ${end}, this log at ${durableLsn}`)
    return undefined
  }

  /** Where the log begins for one who has nothing of it: what was trimmed is not needed. */
  #oldest(): Position | undefined {
    const { segments, alignment } = this.#chain
    const { trimLsn, durableLsn } = this.#reader
    const first = ({ base }: LiveSegment) => base + alignment
    const oldest =
      segments.findLast(
        each => each.link !== undefined && each.link <= trimLsn && first(each) < durableLsn,
      ) ?? segments[0]
    if (oldest === undefined || first(oldest) >= durableLsn) return undefined
    return { segment: oldest, lsn: first(oldest) }
  }

  /** @param from the end that was asked for: if no group begins there, it may be none */
  async #groupAt(
    position: Position,
    limit: number,
    window: Window,
    from: number,
  ): Promise<LoadedGroup> {
    try {
      return await this.#reader.group(position, limit, window)
    } catch (error) {
      if (!(error instanceof CorruptionError) || position.lsn !== from) throw error
      const { end } = await this.#reader.groupHolding(position.segment, from - 1, window)
      throw end === from ? error : noEnd(from)
    }
  }

  #trimmed(end: number): RiologError {
    const message = `what comes behind LSN ${end} was trimmed, up to ${this.#reader.trimLsn}`
    return new RiologError('ERR_RIOLOG_TRIMMED', message)
  }

  async #headerOf(segment: LiveSegment): Promise<Uint8Array> {
    const { alignment } = this.#chain
    const buffer = allocateBuffer(alignment)
    await this.#chain.reading(segment, () => segment.file.read(buffer, 0, alignment, 0))
    return Uint8Array.from(buffer.bytes)
  }
}

function noEnd(end: number): RiologError {
  return new RiologError('ERR_RIOLOG_NOT_FOUND', `no group ends at LSN ${end}`)
}

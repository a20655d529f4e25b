/** Reading records by LSN, and the groups that a scan walks. Every byte handed out is verified. */
import type { BusyPoll } from '../../busy-poll.ts'
import { CorruptionError, invalidArgument, RiologError } from '../../errors.ts'
import {
  alignDown,
  alignUp,
  GROUP_HEADER_BYTES,
  RECORD_ALIGNMENT,
  RECORD_HEADER_BYTES,
  recordSpan,
  segmentOf,
} from '../../segment/format.ts'
import {
  BATCH_FIRST,
  claimedLength,
  flagsOf,
  type GroupInfo,
  groupEnd,
  type Place,
  RECORD_CONTINUATION,
  RECORD_GOES_ON,
  RECORD_OF_THE_FUTURE,
  readGroupHeader,
  recordsOf,
  verifyRecord,
} from '../../segment/group.ts'
import { Window, type WindowGroup } from '../../segment/window.ts'
import type { Codec } from '../records/codec.ts'
import { Fragments } from '../records/fragments.ts'
import { futureRecord, type LiveChain, type LiveSegment } from '../segments/live-chain.ts'
import { giveReadBuffer, READ_BYTES, takeReadBuffer } from './read-buffers.ts'

/** A group's place. */
export interface Position {
  readonly segment: LiveSegment
  readonly lsn: number
}

/** A record as it was found, or the first fragment of one. */
interface Found {
  readonly flags: number
  /** Undefined where nothing verifies. */
  readonly bytes: Buffer | undefined
  /** The length that the header there claims; 0 where it is not all there. */
  readonly claimed: number
}

export interface LoadedGroup {
  readonly group: GroupInfo
  readonly end: number
  readonly bytes: Uint8Array
}

export class Reader {
  readonly #chain: LiveChain
  readonly #codec: Codec
  readonly #trimLsn: () => number
  readonly #durableLsn: () => number
  readonly #busyPoll: () => BusyPoll | undefined
  /** Bytes from the first block of a record to its last: two thirds of those read lately have no more. */
  #usual: number
  #underWay = 0
  #onIdle: (() => void) | undefined

  /** @param busyPoll what keeps the event loop awake while a record is read, where it is to be */
  constructor(
    chain: LiveChain,
    codec: Codec,
    trimLsn: () => number,
    durableLsn: () => number,
    busyPoll: () => BusyPoll | undefined = () => undefined,
  ) {
    this.#chain = chain
    this.#codec = codec
    this.#trimLsn = trimLsn
    this.#durableLsn = durableLsn
    this.#busyPoll = busyPoll
    this.#usual = leastRead(chain)
  }

  /**
   * The record at a durable LSN.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, ERR_RIOLOG_NOT_FOUND, CorruptionError, SystemError
   */
  async read(lsn: number): Promise<Buffer> {
    // All of it in one async function: each more of them costs as much as to copy the record.
    this.#underWay++
    let segment: LiveSegment | undefined
    try {
      segment = this.#segmentFor(lsn)
      this.#chain.acquire(segment)
      const { alignment, maxGroup } = this.#chain
      const end = Math.min(segment.cut, this.#durableLsn())
      const from = alignDown(lsn, alignment)
      // Off the alignment of records, or in the header block: no record starts there.
      if (lsn % RECORD_ALIGNMENT !== 0 || lsn < segment.base + alignment) throw notFound(lsn)
      // Whole blocks, also where a rewind has cut within one.
      const most = alignUp(end - from, alignment)
      let length = Math.min(alignUp(this.#usual, alignment), most)
      for (;;) {
        const piece = takeReadBuffer(length)
        const busyPoll = this.#busyPoll()
        busyPoll?.begin()
        let found: Found
        try {
          const { buffer, offset } = piece
          const read = await segment.file.read(buffer, offset, length, from - segment.base)
          const bytes = piece.bytes.subarray(0, Math.min(read, end - from))
          found = recordIn(bytes, lsn - from, { salt: segment.header.salt, lsn }, segment)
        } finally {
          busyPoll?.end()
          giveReadBuffer(piece)
        }
        const { bytes, flags, claimed } = found
        const needed = alignUp(lsn - from + RECORD_HEADER_BYTES + claimed, alignment)
        if (bytes !== undefined) {
          this.#expect(needed)
          if ((flags & RECORD_CONTINUATION) !== 0) throw notFound(lsn)
          const fragments = this.fragments()
          const whole = fragments.take({ segment, lsn, flags, bytes })
          if (whole !== undefined) return whole.data
          return await this.#restOf(segment, lsn, recordSpan(bytes.length), fragments)
        }
        if (needed <= length || needed > Math.min(2 * maxGroup, most)) {
          throw await this.#whyNot(segment, lsn, end)
        }
        length = needed
      }
    } finally {
      if (segment !== undefined) this.#chain.release(segment)
      this.#left()
    }
  }

  /**
   * Up by twice as much as down, which comes to rest at the length that a third of the records exceed: who has both short
   * and long ones does not read much for the former for the sake of the latter. The longest have memory of their own.
   */
  #expect(needed: number): void {
    const { alignment } = this.#chain
    if (needed > READ_BYTES) return
    if (needed > this.#usual) this.#usual = Math.min(needed, this.#usual + alignment)
    else this.#usual = Math.max(needed, leastRead(this.#chain), this.#usual - alignment / 2)
  }

  /** Resolves when no read is under way: only then may the files be closed. */
  async idle(): Promise<void> {
    if (this.#underWay === 0) return
    await new Promise<void>(resolve => {
      this.#onIdle = resolve
    })
  }

  async #tracked<T>(run: () => Promise<T>): Promise<T> {
    this.#underWay++
    try {
      return await run()
    } finally {
      this.#left()
    }
  }

  #left(): void {
    this.#underWay--
    if (this.#underWay === 0) this.#onIdle?.()
  }

  async #restOf(
    segment: LiveSegment,
    lsn: number,
    span: number,
    fragments: Fragments,
  ): Promise<Buffer> {
    const { alignment } = this.#chain
    const window = new Window(alignment)
    // Nothing stands behind a fragment in its group.
    let at = this.#behind(segment, alignUp(lsn + span, alignment))
    while (at !== undefined) {
      const end = Math.min(at.segment.cut, this.#durableLsn())
      const { group, bytes, end: groupEnd } = await this.#group(at, end, window)
      const [next] = recordsOf(bytes, 0, group)
      const goesOn = next !== undefined && (next.flags & RECORD_GOES_ON) !== 0
      if (next === undefined || (goesOn && group.recordCount > 1)) break
      const copy = Buffer.from(bytes.subarray(next.from, next.to))
      const piece = { ...next, segment: at.segment, bytes: copy }
      const found = fragments.take(piece)
      if (found !== undefined) return found.data
      at = this.#behind(at.segment, groupEnd)
    }
    throw corrupt('a record goes on, and not in the next group', segment, lsn)
  }

  /** The group that begins where one ends. */
  #behind(segment: LiveSegment, end: number): Position | undefined {
    // A rewind has lowered the cut meanwhile.
    if (end > segment.cut) throw rewound(end)
    return end === segment.cut ? this.next(segment) : { segment, lsn: end }
  }

  fragments(): Fragments {
    return new Fragments(this.#codec, this.#chain.segmentSize)
  }

  /**
   * Where a scan begins: the segment and group of the first record at or after `from`, or after the
   * place to which the log was trimmed, for 0. Undefined when there is none.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, CorruptionError, SystemError
   */
  start(from: number, window: Window): Promise<Position | undefined> {
    return this.#tracked(() => this.#start(from, window))
  }

  async #start(from: number, window: Window): Promise<Position | undefined> {
    const least = from === 0 ? this.#trimLsn() : from
    if (least >= this.#durableLsn()) return undefined
    const segment = this.#firstAtOrAfter(from)
    if (segment === undefined) return undefined
    const first = Math.max(least, segment.base + this.#chain.alignment)
    const found = () => this.#groupAtOrBefore(segment, first, window)
    return { segment, lsn: await this.#chain.reading(segment, found) }
  }

  /**
   * The next segment's first group, once a segment's live part is read; undefined at the end.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND when the segment is gone, and with it what came next
   */
  next(segment: LiveSegment): Position | undefined {
    const { segments } = this.#chain
    const follows = ({ link }: LiveSegment) => link === segment.cut
    const next = segment.retired
      ? segments.find(follows)
      : segments[this.#chain.indexOf(segment) + 1]
    if (next === undefined) this.#refuseRetired(segment, segment.cut)
    return next && { segment: next, lsn: next.base + this.#chain.alignment }
  }

  /**
   * Where a reverse scan begins: behind the last group before `to` that begins at or before `from`.
   * Undefined when there is none.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND
   */
  startBefore(from: number, to: number): Position | undefined {
    const { segments } = this.#chain
    if (from !== 0 && from < this.#trimLsn()) throw trimmed(from, this.#trimLsn())
    const end = Math.min(from + 1, to)
    const holding = this.#chain.holdingEnd(end)
    if (holding === undefined) {
      const before = segments.findLast(({ base }) => base < end)
      return before && { segment: before, lsn: before.cut }
    }
    if (from < to && from > holding.cut && holding !== segments.at(-1)) throw rewound(from)
    return { segment: holding, lsn: Math.min(end, holding.cut) }
  }

  /**
   * The end of the segment before one whose groups are all read; undefined at the oldest.
   * @param least what had been trimmed when the scan began
   * @throws ERR_RIOLOG_TRIMMED when there was one
   */
  previous(segment: LiveSegment, least: number): Position | undefined {
    const before = this.#chain.segments[this.#chain.indexOf(segment) - 1]
    if (before !== undefined) return { segment: before, lsn: before.cut }
    const link = segment.link ?? 0
    if (link > least) throw trimmed(link, this.#trimLsn())
    return undefined
  }

  /**
   * The places of the groups before a place in its segment, oldest first: some of them, at least one,
   * and as many as lie in one to two groups of the longest kind. Where a header does not verify, that
   * place counts as one group's up to the next header, for {@link group} to refuse.
   * @param end of what is to be read in the segment
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, SystemError
   */
  async groupsBefore({ segment, lsn }: Position, end: number, window: Window): Promise<number[]> {
    this.#refuseRetired(segment, lsn - 1)
    const limit = this.#readLimit(segment, end) - segment.base
    return this.#tracked(() =>
      this.#chain.reading(segment, () => this.#groupsBefore(segment, lsn, limit, window)),
    )
  }

  async #groupsBefore(
    segment: LiveSegment,
    before: number,
    limit: number,
    window: Window,
  ): Promise<number[]> {
    const { alignment, maxGroup } = this.#chain
    const places: number[] = []
    let isDamaged = false
    for (let at = await this.#anchor(segment, before - maxGroup, limit, window); at < before; ) {
      const group = await this.#headerAt(segment, at, limit, window)
      if (group !== undefined || !isDamaged) places.push(at)
      isDamaged = group === undefined
      at = group === undefined ? at + alignment : groupEnd(group, alignment)
    }
    return places
  }

  /** The nearest place of a header at or before a place; the segment's first where none verifies. */
  async #anchor(segment: LiveSegment, lsn: number, limit: number, window: Window): Promise<number> {
    const { alignment, maxGroup } = this.#chain
    const first = segment.base + alignment
    for (let at = alignDown(lsn, alignment); at > first; ) {
      const low = Math.max(first, at - maxGroup)
      // One read for all of them, and for the walk that follows.
      await window.load(segment.file, low - segment.base, 2 * maxGroup, limit)
      for (; at >= low; at -= alignment) {
        if ((await this.#headerAt(segment, at, limit, window)) !== undefined) return at
      }
    }
    return first
  }

  async #headerAt(
    { file, base, header }: LiveSegment,
    lsn: number,
    limit: number,
    window: Window,
  ): Promise<GroupInfo | undefined> {
    const { alignment, maxGroup } = this.#chain
    const bytes = await window.load(file, lsn - base, alignment, limit)
    return readGroupHeader(bytes, 0, { salt: header.salt, lsn }, maxGroup)
  }

  #refuseRetired(segment: LiveSegment, lsn: number): void {
    if (!segment.retired) return
    throw lsn < this.#trimLsn() ? trimmed(lsn, this.#trimLsn()) : rewound(lsn)
  }

  /** A rewind may have cut within a group, also on the alignment; it verifies as a whole only. */
  #readLimit(segment: LiveSegment, end: number): number {
    return end === segment.cut ? this.#chain.fileEnd(segment) : end
  }

  /**
   * The group at a durable place, whose bytes are good until the window is used again.
   * @param readsOn what is behind it will be asked for, too: it is read ahead
   * @throws CorruptionError, SystemError
   */
  group(position: Position, end: number, window: Window, readsOn = false): Promise<LoadedGroup> {
    return this.#tracked(() => this.#group(position, end, window, readsOn))
  }

  async #group(
    { segment, lsn }: Position,
    end: number,
    window: Window,
    readsOn = false,
  ): Promise<LoadedGroup> {
    this.#refuseRetired(segment, lsn)
    const limit = this.#readLimit(segment, end) - segment.base
    const place = { salt: segment.header.salt, lsn }
    const { maxGroup } = this.#chain
    // Nobody may close the file under a read that was begun and then forgotten.
    const hold = (read: () => Promise<void>) =>
      this.#tracked(() => this.#chain.reading(segment, read))
    const loaded = await this.#chain.reading(segment, () =>
      window.group(
        segment.file,
        lsn - segment.base,
        place,
        maxGroup,
        limit,
        readsOn ? hold : undefined,
      ),
    )
    return this.#wholeGroup(segment, lsn, loaded)
  }

  /** The same of what the window has already; undefined where there is more to it, which {@link group} tells. */
  groupAtHand({ segment, lsn }: Position, end: number, window: Window): LoadedGroup | undefined {
    if (segment.retired) return undefined
    const limit = this.#readLimit(segment, end) - segment.base
    const place = { salt: segment.header.salt, lsn }
    const { maxGroup } = this.#chain
    const at = lsn - segment.base
    const loaded = window.heldGroup(segment.file, at, place, maxGroup, limit)
    if (loaded?.found.kind !== 'whole') return undefined
    const found = this.#wholeGroup(segment, lsn, loaded)
    return found.end > this.#trimLsn() ? found : undefined
  }

  #wholeGroup(segment: LiveSegment, lsn: number, { found, bytes }: WindowGroup): LoadedGroup {
    if (found.kind === 'future') throw futureRecord(segment.header.number, lsn)
    if (found.kind !== 'whole') {
      throw corrupt('a group below the durable LSN does not verify', segment, lsn)
    }
    return { group: found.group, end: groupEnd(found.group, this.#chain.alignment), bytes }
  }

  /**
   * Where the log has to end for the record at a durable LSN to be the first one that is gone.
   * @throws ERR_RIOLOG_INVALID_ARGUMENT inside a batch; what {@link read} throws
   */
  cutBefore(lsn: number): Promise<number> {
    return this.#tracked(async () => {
      const segment = this.#segmentFor(lsn)
      // In the header block no record starts.
      if (lsn < segment.base + this.#chain.alignment) throw notFound(lsn)
      const window = new Window(this.#chain.alignment)
      const end = Math.min(segment.cut, this.#durableLsn())
      const at = await this.#chain.reading(segment, () =>
        this.#groupAtOrBefore(segment, lsn, window),
      )
      const { group, bytes } = await this.#group({ segment, lsn: at }, end, window)
      const lsns = [...recordsOf(bytes, 0, group)]
        .filter(({ flags }) => (flags & RECORD_CONTINUATION) === 0)
        .map(record => record.lsn)
      if (!lsns.includes(lsn)) throw notFound(lsn)
      const isFirst = lsn === group.lsn + GROUP_HEADER_BYTES
      if (group.batch > BATCH_FIRST || (group.batch === BATCH_FIRST && !isFirst)) {
        throw invalidArgument(`LSN ${lsn} is inside a batch, which is dropped as a whole or not`)
      }
      // `previousEnd` is the group's own place, but in a segment's first group the end of the parent.
      return isFirst ? group.previousEnd : lsn
    })
  }

  /** Cuts of rewinds, in their order: an iterator that is beyond a later one has lost its place. */
  readonly rewinds: number[] = []

  /** @throws ERR_RIOLOG_REWOUND */
  refuseRewound(reached: number, seen: number): void {
    const cut = Math.min(...this.rewinds.slice(seen))
    if (reached > cut) throw rewound(cut)
  }

  /**
   * Of one that has read up to an end in another view of the log.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND when that is not the past of this one
   */
  refuseGone(end: number): void {
    if (end < this.#trimLsn()) throw trimmed(end, this.#trimLsn())
    if (end === this.#trimLsn()) return
    const holding = this.#chain.holdingEnd(end)
    if (holding === undefined || end > holding.cut) throw rewound(end)
  }

  /** @throws ERR_RIOLOG_TRIMMED for a group that trims have overtaken, though its file is still there */
  refuseTrimmed({ group, end }: LoadedGroup): void {
    if (end <= this.#trimLsn()) throw trimmed(group.lsn, this.#trimLsn())
  }

  /**
   * The group that holds a place below the durable LSN; its bytes are good until the window is used again.
   * @throws CorruptionError, ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, SystemError
   */
  groupHolding(segment: LiveSegment, lsn: number, window: Window): Promise<LoadedGroup> {
    return this.#tracked(async () => {
      this.#refuseRetired(segment, lsn)
      const end = Math.min(segment.cut, this.#durableLsn())
      const at = await this.#chain.reading(segment, () =>
        this.#groupAtOrBefore(segment, lsn, window),
      )
      return this.#group({ segment, lsn: at }, end, window)
    })
  }

  get durableLsn(): number {
    return this.#durableLsn()
  }

  /** The LSN to which the log is trimmed. */
  get trimLsn(): number {
    return this.#trimLsn()
  }

  get alignment(): number {
    return this.#chain.alignment
  }

  /** Nothing verifies at a durable place: is it no record's start, or is it damaged? */
  async #whyNot(segment: LiveSegment, lsn: number, end: number): Promise<Error> {
    const window = new Window(this.#chain.alignment)
    try {
      const at = await this.#groupAtOrBefore(segment, lsn, window)
      const loaded = await this.group({ segment, lsn: at }, end, window)
      if (loaded.end <= lsn) {
        return corrupt('no group holds a place below the durable LSN', segment, lsn)
      }
      for (const record of recordsOf(loaded.bytes, 0, loaded.group)) {
        if (record.lsn === lsn) return corrupt('a record does not verify', segment, lsn)
      }
      return notFound(lsn)
    } catch (error) {
      return error as Error
    }
  }

  /** The place of the group that holds `lsn`: the nearest block at or before it with a good header. */
  async #groupAtOrBefore(segment: LiveSegment, lsn: number, window: Window): Promise<number> {
    const { alignment, maxGroup } = this.#chain
    const { salt } = segment.header
    const lowest = Math.max(segment.base + alignment, alignDown(lsn, alignment) - maxGroup)
    const limit = Math.min(segment.cut, this.#durableLsn()) - segment.base
    await window.load(segment.file, lowest - segment.base, 2 * maxGroup, limit)
    for (let at = alignDown(lsn, alignment); at >= lowest; at -= alignment) {
      const bytes = await window.load(segment.file, at - segment.base, alignment, limit)
      const group = readGroupHeader(bytes, 0, { salt, lsn: at }, maxGroup)
      if (group !== undefined) return at
    }
    throw corrupt('no group holds a place below the durable LSN', segment, lsn)
  }

  #segmentFor(lsn: number): LiveSegment {
    const newest = this.#chain.segments.at(-1)
    if (lsn < this.#trimLsn()) throw trimmed(lsn, this.#trimLsn())
    if (newest === undefined || lsn >= this.#durableLsn()) throw notFound(lsn)
    const segment = this.#chain.holding(lsn)
    if (segment !== undefined && lsn < segment.cut) return segment
    if (lsn >= newest.base || segmentOf(lsn, this.#chain.segmentSize) === 0) throw notFound(lsn)
    throw rewound(lsn)
  }

  #firstAtOrAfter(from: number): LiveSegment | undefined {
    const { segments } = this.#chain
    if (from === 0) {
      // A rewind may have gone back to before the place of a trim.
      const oldest = this.#trimLsn()
      return segments.find(({ base, cut }) => base >= oldest || oldest < cut)
    }
    if (from < this.#trimLsn()) throw trimmed(from, this.#trimLsn())
    const holding = this.#chain.holding(from)
    if (holding !== undefined && from <= holding.cut) return holding
    if (holding !== undefined && holding !== segments.at(-1)) throw rewound(from)
    return segments.find(segment => segment.base >= from)
  }
}

/** A short record and its header, where they stand in two blocks. */
function leastRead({ alignment }: LiveChain): number {
  return 2 * alignment
}

/** @param bytes of which the record is to begin at `offset` */
function recordIn(bytes: Uint8Array, offset: number, place: Place, segment: LiveSegment): Found {
  if (offset + RECORD_HEADER_BYTES > bytes.length) return { flags: 0, bytes: undefined, claimed: 0 }
  const payload = verifyRecord(bytes, offset, place)
  if (payload === RECORD_OF_THE_FUTURE) throw futureRecord(segment.header.number, place.lsn)
  if (payload < 0) return { flags: 0, bytes: undefined, claimed: claimedLength(bytes, offset) }
  const start = offset + RECORD_HEADER_BYTES
  const copy = Buffer.from(bytes.subarray(start, start + payload))
  return { flags: flagsOf(bytes, offset), bytes: copy, claimed: payload }
}

function corrupt(message: string, segment: LiveSegment, lsn: number): CorruptionError {
  const where = { segment: segment.header.number, offset: lsn - segment.base, lsn }
  return new CorruptionError(message, where)
}

function notFound(lsn: number): RiologError {
  return new RiologError('ERR_RIOLOG_NOT_FOUND', `no record starts at LSN ${lsn}`)
}

function trimmed(lsn: number, oldest: number): RiologError {
  return new RiologError('ERR_RIOLOG_TRIMMED', `LSN ${lsn} was trimmed; the oldest is ${oldest}`)
}

function rewound(lsn: number): RiologError {
  return new RiologError('ERR_RIOLOG_REWOUND', `LSN ${lsn} is not part of the log any more`)
}

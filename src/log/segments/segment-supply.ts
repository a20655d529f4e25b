/**
 * The next segment: prepared beside the commits, named by the manifest, and handed to the writer when
 * it rotates. At most one is prepared ahead.
 */
import type { SegmentRef } from '../../segment/header.ts'
import { KIB, MIB } from '../../units.ts'
import type { ManifestFile } from './manifest-file.ts'
import { type Haste, writeZeros } from './segment-file.ts'
import { Abandoned, isHarmless, type PreparedSegment, SegmentMaker } from './segment-maker.ts'
import { ZeroedFiles } from './zeroed-files.ts'

/** The pause between two pieces of zeros while nobody waits for the segment, in milliseconds. */
const PACE_MS = 1
/** The same while groups outrun the zeros: none are written then. */
const STREAMING_PACE_MS = 10
/** Who commits less than this between two looks does not mind zeros beside it. */
const CALM_BYTES = 64 * KIB
/** A segment that may be taken as soon as this is used up is left alone: who takes it would have to wait. */
const LEAST_ROOM_BYTES = 8 * MIB
/** The next segment is to be done when the one before is filled to this part. */
const KEPT_AHEAD = 0.75

export interface SupplyParts {
  readonly maker: SegmentMaker
  readonly manifest: ManifestFile
  /** The most files full of zeros that are kept beside the segment. */
  readonly zeroedSegments: number
  /** What the longest batch takes up. */
  readonly batchBytes: number
  /** The durable LSN, which the manifest takes as its floor when it names a segment. */
  readonly durableLsn: () => number
  /** True while somebody waits for the segment: then it is made without pauses. */
  readonly isAwaited: () => boolean
  /** True while groups are long: of many records, or of long ones. */
  readonly isStreaming: () => boolean
  /** True while a commit is with the disk. */
  readonly isCommitting: () => boolean
  /** Bytes that the segment before it has room for. */
  readonly roomLeft: () => number
  /** Lets others go first, for so many milliseconds. */
  readonly pause: (milliseconds: number) => Promise<void>
  readonly onReady: () => void
  /** No segment could be made, but no manifest names it and nothing else is in doubt. */
  readonly onRefused: (error: unknown) => void
  /** What the disk holds is in doubt: the log must be poisoned. */
  readonly onFailed: (error: unknown) => void
  /** The disk has done a piece of what it was asked for. */
  readonly onAnswered: () => void
}

export class SegmentSupply {
  readonly #parts: SupplyParts
  #ready: PreparedSegment | undefined
  #preparing: Promise<void> | undefined
  /** The segment that is {@link #ready}, while zeros that were outrun are made up for. */
  #unwritten: PreparedSegment | undefined
  /** A write or sync of {@link #makeUp} that is under way. */
  #makingUp: Promise<void> | undefined
  /** Files for the bursts to come. */
  readonly #zeroed: ZeroedFiles
  /** Whether the zeros of what is being prepared were outrun, or somebody waited for them. */
  #fellBehind = false
  #refusal: unknown
  #lastFileBytes = 0
  #names = false
  #stopped = false
  #poisoned = false
  /** {@link SupplyParts.roomLeft} when the segment was asked for. */
  #roomAtFirst = 0
  /** A rewind makes a segment of its own, and what is prepared for the end before it would have the wrong parent. */
  #forking = false

  constructor(parts: SupplyParts) {
    this.#parts = parts
    const turn = () => this.#quiet()
    this.#zeroed = new ZeroedFiles({ ...parts, most: parts.zeroedSegments, turn })
  }

  /** Prepared, and named if it has to be. */
  get isReady(): boolean {
    return this.#ready !== undefined && this.#makingUp === undefined
  }

  /** The length of the file that is ready; 0 without one. */
  get readyFileBytes(): number {
    return this.isReady ? this.#ready!.header.fileBytes : 0
  }

  /** Why the last try came to nothing; undefined once another one was asked for. */
  get refusal(): unknown {
    return this.#refusal
  }

  /**
   * The opening's first segment is named by its fork; from then on each one is named when it is
   * prepared, and only then may an LSN in it be handed out.
   */
  nameFromNowOn(): void {
    this.#names = true
  }

  /** Asks for a segment, unless there is one, or one on its way. */
  request(parent: SegmentRef): void {
    if (this.#ready !== undefined || this.#preparing !== undefined) return
    if (this.#stopped || this.#forking) return
    this.#refusal = undefined
    this.#roomAtFirst = this.#parts.roomLeft()
    this.#fellBehind = false
    this.#preparing = this.#prepare(parent)
  }

  /**
   * A segment for a rewind, which the manifest does not name yet, beside the one that is ready. Nothing
   * is prepared at the same time.
   * @throws ERR_RIOLOG_NO_SPACE and others that leave the log usable ({@link isHarmless}), SystemError
   */
  async prepareFork(parent: SegmentRef): Promise<PreparedSegment> {
    this.#forking = true
    try {
      await this.#preparing
      // A rewind gives up the segment that is ready; whoever takes that file again must find nobody writing into it.
      this.#unwritten = undefined
      await this.#makingUp
      const { maker, manifest, batchBytes, onAnswered } = this.#parts
      const fileBytes = SegmentMaker.fileBytes(manifest.current, 0, batchBytes)
      return await maker.prepare(manifest.current, parent, fileBytes, async () => {
        this.#abandonIfStopped()
        onAnswered()
        return 'awaited'
      })
    } catch (error) {
      this.#forking = false
      throw error
    }
  }

  /** A rewind is in force: what was prepared before has the wrong parent. Returns its number. */
  forkedTo(segment: PreparedSegment): number | undefined {
    const dead = this.#ready
    this.#ready = undefined
    this.#lastFileBytes = segment.header.fileBytes
    this.#names = true
    this.#forking = false
    dead?.file.close()
    return dead?.header.number
  }

  /** Hands out the segment that is ready; the file after it is longer. */
  take(): PreparedSegment {
    const segment = this.#ready
    if (!this.isReady || segment === undefined) throw new Error('no segment is ready')
    this.#ready = undefined
    this.#unwritten = undefined
    this.#lastFileBytes = segment.header.fileBytes
    return segment
  }

  /** Resolves when no preparation is under way, nor a write into what is ready. */
  async settled(): Promise<void> {
    await this.#preparing
    await this.#makingUp
    await this.#zeroed.settled()
  }

  /** A preparation under way ends at its next step; after a poison its file is left as it is. */
  stop({ poisoned = false } = {}): void {
    this.#stopped = true
    this.#unwritten = undefined
    this.#poisoned ||= poisoned
    this.#zeroed.stop({ poisoned })
  }

  /** Lets go of a segment that was not used. One that the manifest names stays where it is. */
  async close(): Promise<void> {
    this.stop()
    await this.settled()
    const unused = this.#ready
    this.#ready = undefined
    if (unused === undefined) return
    if (this.#names || this.#poisoned) unused.file.close()
    else await this.#parts.maker.discard(unused)
  }

  async #prepare(parent: SegmentRef): Promise<void> {
    const { maker, manifest, batchBytes, durableLsn, onReady, onFailed } = this.#parts
    let prepared: PreparedSegment
    try {
      const fileBytes = SegmentMaker.fileBytes(manifest.current, this.#lastFileBytes, batchBytes)
      const step = (done: number) => this.#step(done)
      prepared = await maker.prepare(manifest.current, parent, fileBytes, step)
    } catch (error) {
      this.#onUnprepared(error)
      return
    }
    try {
      if (this.#names) {
        // A rewind may have raised the floor, and not yet told who is asked here.
        const floor = () => Math.max(manifest.current.floor, durableLsn())
        await manifest.update(() => ({ newest: prepared.header, floor: floor() }))
      }
    } catch (error) {
      this.#preparing = undefined
      prepared.file.close()
      onFailed(error)
      return
    }
    const isFull = prepared.header.fileBytes === manifest.current.segmentSize
    if (this.#fellBehind && isFull) this.#zeroed.fellBehind()
    this.#ready = prepared
    this.#preparing = undefined
    try {
      onReady()
    } catch (error) {
      // Of who took it at once: the file is theirs.
      onFailed(error)
    }
    void this.#makeUp(prepared).then(() => this.#zeroed.makeUp())
  }

  /**
   * Commits beside a preparation go first, as long as it keeps ahead of what they fill: an import needs its
   * next segment as fast as the disk can make it.
   * @param done the part of it that is written, up to 1
   */
  async #step(done: number): Promise<Haste> {
    this.#abandonIfStopped()
    const { isAwaited, isStreaming, pause, roomLeft, onAnswered } = this.#parts
    onAnswered()
    const filled = 1 - roomLeft() / this.#roomAtFirst
    const isNeeded = !this.#names || isAwaited()
    const fallsBehind = filled > done * KEPT_AHEAD
    if (this.#names && done < 1 && (isNeeded || fallsBehind)) this.#fellBehind = true
    if (!isNeeded && !fallsBehind) {
      await pause(PACE_MS)
      this.#abandonIfStopped()
      return 'none'
    }
    if (isStreaming()) return 'outrun'
    return isNeeded ? 'awaited' : 'none'
  }

  /**
   * Zeros that were outrun are written when nobody streams any more: a burst behind a pause, and small commits behind
   * an import, find a file as it should be. Nobody can take the segment while a piece of them is under way.
   */
  async #makeUp(segment: PreparedSegment): Promise<void> {
    const { pause, roomLeft, onFailed } = this.#parts
    const { file, header, writtenBytes } = segment
    if (writtenBytes === header.fileBytes || this.#ready !== segment || this.#stopped) return
    this.#unwritten = segment
    try {
      for (let at = writtenBytes; at < header.fileBytes; ) {
        await pause(this.#isOutrun() ? STREAMING_PACE_MS : PACE_MS)
        if (this.#unwritten !== segment || roomLeft() < LEAST_ROOM_BYTES) return
        if (this.#isOutrun()) continue
        at += await this.#untakeable(writeZeros(file, at, header.fileBytes, 'none'))
      }
      if (this.#unwritten === segment) await this.#untakeable(file.sync())
    } catch (error) {
      // On a file system that copies what is written again, zeros take space of their own. The segment is as good as before.
      if (!isHarmless(error)) onFailed(error)
    }
  }

  #isOutrun(): boolean {
    return this.#parts.isStreaming() && this.#parts.isCommitting()
  }

  /** Resolves when next to nothing is appended, and no segment is being prepared. */
  async #quiet(): Promise<void> {
    const { durableLsn, pause } = this.#parts
    for (let milliseconds = PACE_MS; !this.#stopped; milliseconds = STREAMING_PACE_MS) {
      await this.#preparing
      const before = durableLsn()
      await pause(milliseconds)
      const isCalm = !this.#isOutrun() && durableLsn() - before < CALM_BYTES
      if (isCalm && this.#preparing === undefined) return
    }
  }

  async #untakeable<T>(work: Promise<T>): Promise<T> {
    this.#makingUp = work.then(
      () => {},
      () => {},
    )
    try {
      return await work
    } finally {
      this.#makingUp = undefined
      this.#parts.onAnswered()
      if (this.#parts.isAwaited()) this.#parts.onReady()
    }
  }

  #abandonIfStopped(): void {
    if (this.#stopped) throw new Abandoned(this.#poisoned)
  }

  #onUnprepared(error: unknown): void {
    // Before anyone is told: who is refused may ask again at once.
    this.#preparing = undefined
    if (error instanceof Abandoned) return
    if (isHarmless(error)) {
      this.#refusal = error
      this.#parts.onRefused(error)
    } else {
      this.#parts.onFailed(error)
    }
  }
}

import { chooseDisk } from '../disk/choose.ts'
import type { Disk, EngineName } from '../disk/disk.ts'
import { invalidArgument, logClosed, type PoisonedError, RiologError } from '../errors.ts'
import { checkFormat } from '../segment/format.ts'
import { type CommitReport, CommitWayChoice } from './commit/commit-way.ts'
import { type Limits, limitsOf } from './commit/limits.ts'
import { slicesOf } from './commit/slices.ts'
import type { WhenDurable } from './commit/waiters.ts'
import { Writer } from './commit/writer.ts'
import { guarded } from './guarded-logger.ts'
import type { LogMetrics } from './metrics.ts'
import { type CheckedOptions, checkOptions, type LogOptions } from './options.ts'
import type { Pin, PinOptions } from './pins.ts'
import { Follower } from './reading/follower.ts'
import { Reader } from './reading/reader.ts'
import { ReverseScan } from './reading/reverse-scan.ts'
import { BatchScan, Scan } from './reading/scan.ts'
import { Codec } from './records/codec.ts'
import { type Payload, payloadOf } from './records/payload.ts'
import type { LogRecord } from './records/record.ts'
import {
  closeOpened,
  type Opened,
  openForReading,
  openForWriting,
  type RecoveryReport,
} from './recovery/opening.ts'
import type { RawChunk } from './replication/raw-chunk.ts'
import { RawReader } from './replication/raw-reader.ts'
import {
  DurableEvents,
  type RawOptions,
  type RawTailOptions,
  type RawView,
  readRaw,
  type SealedSegment,
} from './replication/source.ts'
import { Retention } from './retention.ts'
import type { LiveSegment } from './segments/live-chain.ts'
import type { Manifest } from './segments/manifest.ts'
import { RecyclePool } from './segments/recycle-pool.ts'
import { SegmentMaker } from './segments/segment-maker.ts'
import { traced } from './tracing.ts'

/** How often a read-only log looks for more, in milliseconds. */
const POLL_MS = 20

/** The options of `log.scan`. */
export interface ScanOptions {
  /**
   * Where to begin: the first record at or after this LSN, with `reverse` the last one at or before it;
   * without, the oldest, with `reverse` the newest.
   */
  readonly from?: number
  /** From the newest to the oldest; false. */
  readonly reverse?: boolean
}

/** The options of `log.tail`. */
export interface TailOptions {
  /** Where to begin: the first record at or after this LSN; the oldest without. */
  readonly from?: number
  /** Ends it with ERR_RIOLOG_CANCELED. */
  readonly signal?: AbortSignal
  /** How often a read-only log looks for more, in milliseconds; 20. */
  readonly pollMs?: number
}

/** What a log is made of: `log.info()`. */
export interface LogInfo {
  /** The directory, as it was opened. */
  readonly path: string
  /** How the disk is reached. */
  readonly engine: EngineName
  /** Names the log, and its copies: 32 hex digits. */
  readonly uuid: string
  /** How often it has been opened for writing. */
  readonly epoch: number
  /** LSN space of a segment, in bytes. */
  readonly segmentSize: number
  /** Groups begin at multiples of this, in bytes. */
  readonly alignment: number
  /** The longest record that it takes, in bytes. */
  readonly maxRecordBytes: number
  /** How commits become durable, and what decided it. */
  readonly commits: CommitReport
  /** Everything before it is durable. */
  readonly durableLsn: number
  /** Records before it have been trimmed. */
  readonly trimLsn: number
  /** Live segments, oldest first. */
  readonly segments: readonly {
    readonly number: number
    readonly fileBytes: number
    readonly firstLsn: number
    /** The `metadata` option of the opening that made it. */
    readonly metadata: Buffer
  }[]
  /** What opening found. */
  readonly recovery: RecoveryReport
}

/**
 * An append-only log of records in a directory. An acknowledged record is on the device: it survives
 * kill -9 and the loss of power, and is verified each time it is read.
 */
export class Log {
  readonly #disk: Disk
  readonly #opened: Opened
  /** Of a read-only log. */
  readonly #follower: Follower | undefined
  readonly #limits: Limits
  readonly #reader: Reader
  readonly #writer: Writer | undefined
  readonly #pool: RecyclePool
  /** With the writer. */
  readonly #retention: Retention | undefined
  readonly #ways: CommitWayChoice
  readonly #events: DurableEvents
  #closing: Promise<void> | undefined

  private constructor(
    disk: Disk,
    options: CheckedOptions,
    codec: Codec,
    opened: Opened,
    follower: Follower | undefined,
  ) {
    const logger = guarded(options.logger)
    this.#disk = disk
    this.#follower = follower
    this.#opened = opened
    const { directory, manifest, manifestFile, chain, highestNumber } = opened
    this.#ways = new CommitWayChoice(options, disk.engine, {
      dsync: directory.doubtsDsync,
      busyPoll: disk.doubtsBusyPoll,
    })
    this.#events = new DurableEvents(chain)
    this.#limits = limitsOf(manifest, options.maxBufferedBytes, codec.overhead)
    this.#reader = new Reader(
      chain,
      codec,
      () => this.trimLsn,
      () => this.durableLsn,
      () => (this.#ways.busyPolls ? disk.busyPoll : undefined),
    )
    this.#pool = new RecyclePool({
      directory,
      fileBytes: opened.manifest.segmentSize,
      most: options.recycledSegments,
      onStays: error => logger?.warn({ err: error }, 'riolog: a dead segment stays'),
    })
    this.#writer =
      manifestFile &&
      new Writer({
        clock: disk.clock,
        directory,
        manifest: manifestFile,
        chain,
        maker: new SegmentMaker(disk, directory, this.#pool, highestNumber + 1, options),
        zeroedSegments: options.zeroedSegments,
        end: opened.end,
        limits: this.#limits,
        codec,
        maxGroupBytes: options.maxGroupBytes,
        commitsInFlight: options.commitsInFlight,
        maxDelayMs: options.maxDelayMs,
        ways: this.#ways,
        busyPoll: disk.busyPoll,
        // A simulated run depends on no time.
        overlap:
          disk.engine === 'simulated' && options.overlap === 'auto' ? 'never' : options.overlap,
        idleStampMs: options.idleStampMs,
        commitTimeoutMs: options.commitTimeoutMs,
        pause: milliseconds => disk.pause(milliseconds),
        onTrouble: (what, error) => logger?.error({ err: error }, `riolog: ${what}`),
        onRewound: cut => this.#reader.rewinds.push(cut),
        onForked: () => this.#retention?.sweep(opened.deadNumbers),
        onDurable: durableLsn => this.#events.moved(durableLsn),
      })
    const [writer, reader, pool] = [this.#writer, this.#reader, this.#pool]
    this.#retention =
      writer &&
      manifestFile &&
      new Retention({ writer, reader, manifest: manifestFile, chain, pool })
  }

  /**
   * Opens the log in a directory, making both if they are not there. After a crash this recovers: it
   * finds where the log ends, which takes reading from the last known floor to the end.
   * @throws ERR_RIOLOG_INVALID_OPTION, ERR_RIOLOG_NO_LOG, ERR_RIOLOG_NOT_A_DIRECTORY,
   *   ERR_RIOLOG_LOCKED, ERR_RIOLOG_FENCED, ERR_RIOLOG_CORRUPT, ERR_RIOLOG_FOREIGN, ERR_RIOLOG_FUTURE_VERSION,
   *   ERR_RIOLOG_ALIGNMENT, ERR_RIOLOG_NO_IO_URING (engine 'uring'), ERR_RIOLOG_NO_ADDON,
   *   ERR_RIOLOG_KEY (no key for new records),
   *   SystemError. Nothing has been written to a segment then.
   */
  static async open(path: string, options?: LogOptions): Promise<Log> {
    const checked = checkOptions(options)
    if (typeof path !== 'string' || path === '') throw invalidArgument('path must name a directory')
    checkFormat()
    return Log.openOn(chooseDisk(checked.engine), path, checked)
  }

  /** @internal The same on a given disk, which the log closes. */
  static openOn(disk: Disk, path: string, options: CheckedOptions): Promise<Log> {
    return traced('open', path, () => Log.#open(disk, path, options))
  }

  static async #open(disk: Disk, path: string, options: CheckedOptions): Promise<Log> {
    let log: Log
    try {
      const { compression, encryption } = options
      const codec = new Codec({ compression, encryption }, { writes: !options.readOnly })
      if (options.readOnly) {
        const { opened, manifest } = await openForReading(disk, path)
        log = new Log(
          disk,
          options,
          codec,
          opened,
          new Follower(disk.clock, opened, codec, manifest),
        )
      } else {
        const opened = await openForWriting(disk, path, options)
        try {
          log = new Log(disk, options, codec, opened, undefined)
        } catch (error) {
          closeOpened(opened)
          throw error
        }
      }
    } catch (error) {
      await disk.close()
      throw error
    }
    try {
      options.logger?.info({ path, ...log.recovery }, 'riolog: opened')
      await log.#writer?.prepareFirst()
      return log
    } catch (error) {
      await log.close()
      throw error
    }
  }

  /** Everything before this LSN is durable; of a read-only log, as it was seen by its last read. */
  get durableLsn(): number {
    return this.#writer?.durableLsn ?? this.#follower?.view.end ?? this.#opened.end
  }

  /**
   * What {@link PoisonedError} the log refuses everything with since a write or sync failed; undefined while it is
   * well. For health checks: asking costs nothing and waits for nothing.
   */
  get poison(): PoisonedError | undefined {
    return this.#writer?.poison
  }

  /** Records before this LSN have been trimmed. */
  get trimLsn(): number {
    return this.#manifest.trimLsn
  }

  get #path(): string {
    return this.#opened.directory.path
  }

  get #manifest(): Manifest {
    return this.#opened.manifestFile?.current ?? this.#seen.manifest
  }

  /** What a read-only log saw last; else what the opening found. */
  get #seen(): Opened {
    return this.#follower?.view.opened ?? this.#opened
  }

  /** What opening found. */
  get recovery(): RecoveryReport {
    return this.#opened.report
  }

  /**
   * The longest record that the log takes, in bytes: by the memory of `maxBufferedBytes`, and by one
   * segment.
   */
  get maxRecordBytes(): number {
    return this.#limits.maxRecordBytes
  }

  /**
   * Appends a record and returns its LSN at once; it is not yet durable. The bytes are copied: they
   * may be changed when append returns.
   *
   * The first append of an opening holds up the thread for some syncs, while it starts a segment.
   * @param whenDurable called once the record is durable, before promises of the same group go on: half
   *   the cost of a promise and its `await`, which is what limits hundreds of callers
   * @throws ERR_RIOLOG_BACKPRESSURE when memory is full of records on their way: nothing was taken,
   *   await {@link drain} and append again
   * @throws ERR_RIOLOG_RECORD_TOO_LARGE beyond {@link maxRecordBytes}: nothing was copied
   * @throws ERR_RIOLOG_NO_SPACE (nothing taken, the log stays usable),
   *   ERR_RIOLOG_POISONED, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY, ERR_RIOLOG_INVALID_ARGUMENT
   */
  append(record: Uint8Array, whenDurable?: WhenDurable): number {
    if (whenDurable !== undefined) checkListener(whenDurable)
    return this.#openWriter().append(payloadOf(record), whenDurable)
  }

  /**
   * Appends a record and resolves to its LSN once it is durable. Concurrent callers share one sync.
   * Waits where {@link append} would throw ERR_RIOLOG_BACKPRESSURE; otherwise rejects like it.
   */
  appendDurable(record: Uint8Array): Promise<number> {
    // Not an async function: a second promise would cost as much as the record itself.
    try {
      return this.#openWriter().appendDurable(payloadOf(record))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Appends several records, which a crash leaves all or none of, and returns their LSNs at once. None
   * of them is shown as durable before all of them are.
   * @throws ERR_RIOLOG_BATCH_TOO_LARGE, naming the limit: it has to fit into the memory of
   *   `maxBufferedBytes` and into one segment
   * @throws what {@link append} throws; nothing was taken then
   */
  appendBatch(records: readonly Uint8Array[]): number[] {
    if (!Array.isArray(records)) throw invalidArgument('records must be an array')
    const writer = this.#openWriter()
    // At its length: a list that grows is copied again and again.
    const taken = new Array<Payload>(records.length)
    for (let i = 0; i < taken.length; i++) taken[i] = payloadOf(records[i])
    return writer.appendBatch(taken)
  }

  /**
   * The same, resolving to the LSNs once all are durable, and waiting where {@link appendBatch} would
   * throw ERR_RIOLOG_BACKPRESSURE. The bytes must not be changed meanwhile. It goes on some microtasks behind
   * {@link appendDurable} of records that were appended later in the same turn: the order of promises is not
   * that of LSNs.
   */
  appendBatchDurable(records: readonly Uint8Array[]): Promise<number[]> {
    return this.#durably(() => this.appendBatch(records))
  }

  /**
   * As {@link appendBatch}, of records that are slices of one piece of memory, as an import has them. All of them are copied
   * by one call of native code, where `append` would want a view of each: that takes half of the time where they are short
   * (docs/BENCHMARKS.md, ingest). A call of more than one group (`maxGroupBytes`), compression and encryption gain nothing.
   * @param bounds where each record begins and ends in `bytes`, by turns; slices may overlap, and leave parts out
   * @returns the LSN of each record
   * @throws what {@link appendBatch} throws, and ERR_RIOLOG_INVALID_ARGUMENT for a slice that ends before it begins
   *   or leaves `bytes`; nothing was taken then
   */
  appendSlices(bytes: Uint8Array, bounds: Uint32Array): number[] {
    return this.#openWriter().appendSlices(slicesOf(bytes, bounds))
  }

  /** As {@link appendBatchDurable}, of slices of one piece of memory ({@link appendSlices}). */
  appendSlicesDurable(bytes: Uint8Array, bounds: Uint32Array): Promise<number[]> {
    return this.#durably(() => this.appendSlices(bytes, bounds))
  }

  async #durably(append: () => number[]): Promise<number[]> {
    for (;;) {
      let lsns: number[]
      try {
        lsns = append()
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'ERR_RIOLOG_BACKPRESSURE') throw error
        await this.drain()
        continue
      }
      await this.flush()
      return lsns
    }
  }

  /**
   * Resolves to the durable LSN once everything appended so far is durable.
   * @throws ERR_RIOLOG_POISONED, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  async flush(): Promise<number> {
    const writer = this.#openWriter()
    return traced('flush', this.#path, () => writer.flush())
  }

  /**
   * Makes everything appended so far durable, holding up the thread, and returns the durable LSN: for
   * scripts, tests, and a last word before the process ends. Where others wait for the event loop it
   * costs them the whole commit; a disk that never answers is waited for without end.
   * @throws ERR_RIOLOG_POISONED, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  flushSync(): number {
    return this.#openWriter().flushSync()
  }

  /**
   * Resolves when append has room for a record of up to 1 MiB, and for what it refused last.
   * @throws ERR_RIOLOG_NO_SPACE, ERR_RIOLOG_POISONED, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  async drain(): Promise<void> {
    return this.#openWriter().drain()
  }

  /**
   * The record at an LSN, verified; also one that is not yet durable. Of a read-only log it is one that
   * is proven durable by now; a trim or rewind of the writer is seen after 20 ms at the latest.
   * @throws ERR_RIOLOG_NOT_FOUND, ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, ERR_RIOLOG_CORRUPT,
   *   ERR_RIOLOG_KEY, ERR_RIOLOG_POISONED (the record's fate is undecided), ERR_RIOLOG_CLOSED, SystemError
   */
  read(lsn: number): Promise<Buffer> {
    // Not an async function, as appendDurable is none.
    try {
      this.#refuseIfClosed()
      checkLsn(lsn)
      if (this.#follower !== undefined) return this.#follower.read(lsn)
      const writer = this.#writer
      if (writer !== undefined && lsn >= writer.durableLsn) {
        if (writer.poison !== undefined && lsn < writer.end) throw writer.poison
        const pending = writer.readPending(lsn)
        if (pending !== undefined) return Promise.resolve(pending as Buffer)
      }
      return this.#reader.read(lsn)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** The records at some LSNs, read side by side; rejects like {@link read} of the first that fails. */
  readMany(lsns: readonly number[]): Promise<Buffer[]> {
    return Promise.all(lsns.map(lsn => this.read(lsn)))
  }

  /**
   * The durable records, oldest first, up to what is durable when the scan begins; with `reverse` the
   * newest first. It takes up to 8 MiB of memory, and a record that is longer than a group.
   * Of a read-only log it shows one state, that of the beginning, also where the writer has trimmed or
   * rewound since.
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, ERR_RIOLOG_CORRUPT, ERR_RIOLOG_KEY, ERR_RIOLOG_CLOSED,
   *   SystemError
   */
  scan(options: ScanOptions = {}): AsyncIterableIterator<LogRecord> {
    this.#refuseIfClosed()
    const check = () => this.#refuseIfClosed()
    const { reverse = false } = options
    const from = fromOf(options, reverse ? Number.MAX_SAFE_INTEGER - 1 : 0)
    const Kind = reverse ? ReverseScan : Scan
    const end = this.#follower === undefined ? this.durableLsn : 0
    return new Kind(this.#reader, from, end, check, this.#follower?.scanned())
  }

  /**
   * What {@link scan} gives, many records at a time and without a copy, to replay a log: `data` is a view of the
   * memory that was read into, good until the next batch is asked for. Then it is taken back, and its length is 0:
   * copy what is to be kept, or goes to a stream or another thread (`Buffer.from(data)`). A batch has up to 2.9 MiB of records.
   * @throws what {@link scan} throws, behind the records before the place that it tells of
   */
  scanBatches(options: Pick<ScanOptions, 'from'> = {}): AsyncIterableIterator<LogRecord[]> {
    this.#refuseIfClosed()
    const check = () => this.#refuseIfClosed()
    const end = this.#follower === undefined ? this.durableLsn : 0
    return new BatchScan(this.#reader, fromOf(options), end, check, this.#follower?.scanned())
  }

  /**
   * The durable records from the first at or after `from` on, and each one that becomes durable: it
   * waits for more until the loop is left, the signal aborts or the log is closed. On a log that was
   * opened with `readOnly` it follows the writer of another process, looking every `pollMs`.
   * @throws ERR_RIOLOG_TRIMMED when trims have overtaken it, naming the oldest LSN that there is
   * @throws ERR_RIOLOG_CANCELED with the signal's reason, ERR_RIOLOG_CLOSED, ERR_RIOLOG_POISONED behind
   *   the last durable record, ERR_RIOLOG_READ_ONLY, ERR_RIOLOG_CORRUPT, ERR_RIOLOG_KEY, SystemError
   */
  tail(options: TailOptions = {}): AsyncIterableIterator<LogRecord> {
    const { signal, pollMs = POLL_MS } = options
    const check = this.#checkOf(signal, pollMs)
    const writer = this.#writer
    if (writer === undefined) {
      const source = this.#follower!.tailed(pollMs, check)
      return new Scan(this.#reader, fromOf(options), 0, check, source)
    }
    const more = async (end: number) => {
      await writer.durableBeyond(end, signal)
      if (writer.poison !== undefined && writer.durableLsn <= end) throw writer.poison
      return { to: writer.durableLsn, reader: this.#reader }
    }
    return new Scan(this.#reader, fromOf(options), this.durableLsn, check, { more })
  }

  /** Throws when the one who waits for more is to wait no longer. */
  #checkOf(signal: AbortSignal | undefined, pollMs = POLL_MS): () => void {
    this.#refuseIfClosed()
    if (!(pollMs > 0 && pollMs <= 60_000)) throw invalidArgument('pollMs is above 0, up to 60000')
    return () => {
      this.#refuseIfClosed()
      if (signal?.aborted !== true) return
      const { reason } = signal
      throw new RiologError('ERR_RIOLOG_CANCELED', 'the tail was canceled', { cause: reason })
    }
  }

  /**
   * Gives up the records before an LSN; it resolves when that is durable, and space was freed where a
   * whole segment is behind it. An LSN that is trimmed already changes nothing; a {@link pin} holds it
   * back.
   * @returns the LSN that the log is trimmed to now
   * @throws ERR_RIOLOG_INVALID_ARGUMENT for one beyond the durable LSN
   * @throws ERR_RIOLOG_POISONED: then the next opening decides whether it took place
   * @throws ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  async trim(lsn: number): Promise<number> {
    const writer = this.#openWriter()
    checkLsn(lsn)
    if (lsn > writer.durableLsn) {
      throw invalidArgument(`LSN ${lsn} is beyond the durable LSN ${writer.durableLsn}`)
    }
    return this.#change('trim', lsn, retention => retention.trim(lsn))
  }

  /**
   * Keeps the records from an LSN on, whatever is trimmed, until it is released. Pins are not durable:
   * an opening has none.
   * @param name for the warning that it was dropped
   * @throws ERR_RIOLOG_TRIMMED, ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  pin(name: string, lsn: number, { maxBytes = Infinity }: PinOptions = {}): Pin {
    this.#openWriter()
    checkLsn(lsn)
    if (typeof name !== 'string' || name === '') throw invalidArgument('a pin needs a name')
    if (!(maxBytes > 0)) throw invalidArgument('maxBytes must be above 0')
    return this.#retention!.pin(name, lsn, maxBytes)
  }

  /**
   * Drops the record at an LSN and all behind it; it resolves when that is durable. What was appended
   * before is made durable first; `append` throws ERR_RIOLOG_BACKPRESSURE meanwhile, `appendDurable`
   * waits. LSNs that were dropped are not given out again; iterators that were beyond the place end with
   * ERR_RIOLOG_REWOUND. The durable LSN (the end) drops nothing.
   * @param lsn of a record; inside a batch that is longer than a group it is refused
   * @throws ERR_RIOLOG_NOT_FOUND, ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND, ERR_RIOLOG_NO_SPACE,
   *   ERR_RIOLOG_INVALID_ARGUMENT: nothing was dropped
   * @throws ERR_RIOLOG_POISONED: then the next opening decides whether it took place
   * @throws ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY, ERR_RIOLOG_CORRUPT, SystemError
   */
  async rewind(lsn: number): Promise<void> {
    const writer = this.#openWriter()
    checkLsn(lsn)
    writer.pause()
    const rewinding = this.#change('rewind', lsn, retention => retention.rewind(lsn))
    return rewinding.finally(() => writer.resume())
  }

  #change<T>(
    name: 'trim' | 'rewind',
    lsn: number,
    run: (retention: Retention) => Promise<T>,
  ): Promise<T> {
    const change = async () => {
      // Who listens on the channel may have closed the log.
      this.#refuseIfClosed()
      return run(this.#retention!)
    }
    return traced(name, this.#path, change, lsn)
  }

  /**
   * Tells a listener each time that more is durable, with the durable LSN: after each commit, before the
   * promises of those who wait for it run on. What the listener throws is uncaught.
   * @returns a function that takes the listener off again
   * @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  onDurable(listener: (durableLsn: number) => void): () => void {
    this.#openWriter()
    checkListener(listener)
    return this.#events.durable.add(listener)
  }

  /**
   * Tells a listener of each segment in which nothing is written any more, once all of it is durable and
   * the log has gone on behind it: something to archive, with {@link readRaw}. The last one of an opening
   * is told by the next opening's first append. A rewind can lower the end of one that was told.
   * @returns a function that takes the listener off again
   * @throws ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CLOSED, ERR_RIOLOG_READ_ONLY
   */
  onSealed(listener: (segment: SealedSegment) => void): () => void {
    this.#openWriter()
    checkListener(listener)
    return this.#events.sealed.add(listener)
  }

  /**
   * The durable groups behind an end, byte for byte, each verified: what a copy of the log that ends there
   * needs next (`Replica.apply`). One group at least, and then as many as `maxBytes` allows; all of one
   * segment. Where the log was rewound to before that end, what it went on with.
   * @param from the end of the copy (`replica.end`); 0: it has nothing
   * @returns undefined when the copy has all that is durable
   * @throws ERR_RIOLOG_TRIMMED when a trim has freed what comes next: a {@link pin} holds it back
   * @throws ERR_RIOLOG_DIVERGED when the copy has what this log has not, or another hash
   * @throws ERR_RIOLOG_NOT_FOUND when no group ends there, ERR_RIOLOG_INVALID_ARGUMENT,
   *   ERR_RIOLOG_CORRUPT, ERR_RIOLOG_CLOSED, SystemError
   */
  async readRaw(from: number, options: RawOptions = {}): Promise<RawChunk | undefined> {
    this.#refuseIfClosed()
    checkLsn(from)
    checkRawOptions(options)
    for (;;) {
      try {
        return await this.#withView(view => readRaw(view, from, options))
      } catch (error) {
        // Rewound meanwhile: what it went on with is found now.
        if ((error as { code?: unknown }).code !== 'ERR_RIOLOG_REWOUND') throw error
        this.#refuseIfClosed()
      }
    }
  }

  /**
   * What {@link readRaw} gives, chunk after chunk, and each as it becomes durable: it waits for more until
   * the loop is left, the signal aborts or the log is closed.
   * @throws what {@link readRaw} and {@link tail} throw
   */
  async *tailRaw(options: RawTailOptions): AsyncGenerator<RawChunk, void, void> {
    const { signal, pollMs, hash, maxBytes } = options
    const check = this.#checkOf(signal, pollMs)
    checkLsn(options.from)
    let from = options.from
    let first: RawOptions = { maxBytes, hash }
    for (;;) {
      check()
      const writer = this.#writer
      const durableLsn = writer?.durableLsn
      const chunk = await this.readRaw(from, first)
      first = { maxBytes }
      if (chunk !== undefined) {
        from = chunk.end
        check()
        yield chunk
      } else if (writer === undefined) {
        await this.#disk.clock.sleep(pollMs ?? POLL_MS)
      } else {
        if (writer.poison !== undefined) throw writer.poison
        await writer.durableBeyond(durableLsn!, signal)
      }
    }
  }

  /**
   * What stands before an end, as 24 hex digits: the salt of its segment and the checksum of the group
   * that ends there. Where two copies of a log have the same, all before it is the same.
   * @throws ERR_RIOLOG_NOT_FOUND when no group ends there, ERR_RIOLOG_TRIMMED, ERR_RIOLOG_REWOUND,
   *   ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_CORRUPT, ERR_RIOLOG_CLOSED, SystemError
   */
  async hashAt(end: number): Promise<string> {
    this.#refuseIfClosed()
    checkLsn(end)
    return this.#withView(({ chain, reader }) => new RawReader(chain, reader).hashAt(end))
  }

  /** Of a read-only log, one that stays as it is meanwhile. */
  async #withView<T>(run: (view: RawView) => Promise<T>): Promise<T> {
    const { manifestFile, chain } = this.#opened
    try {
      if (manifestFile !== undefined) {
        return await run({ chain, reader: this.#reader, manifest: manifestFile.current })
      }
      return await this.#follower!.inView(({ opened, reader }) =>
        run({ chain: opened.chain, reader, manifest: opened.manifest }),
      )
    } catch (error) {
      // Its files are closed between one read and the next.
      this.#refuseIfClosed()
      throw error
    }
  }

  /**
   * What this opening has committed: latencies, group sizes, memory. Each group is also published on the
   * channel `riolog:commit` (node:diagnostics_channel), as a `CommitEvent`.
   * @throws ERR_RIOLOG_READ_ONLY, ERR_RIOLOG_CLOSED
   */
  metrics(): LogMetrics {
    return { ...this.#openWriter().metrics(), pooledSegments: this.#pool.length }
  }

  /** Engine, dimensions, places and segments of the log as they are now; it works in every state. */
  info(): LogInfo {
    const { directory, report } = this.#opened
    const { manifest, chain } = this.#seen
    // A reader knows of segments that are prepared behind the end.
    const isLive = ({ base }: LiveSegment) => this.#writer !== undefined || base < this.durableLsn
    const { uuid, segmentSize, alignment } = manifest
    const { trimLsn } = this
    return {
      path: directory.path,
      engine: this.#disk.engine,
      uuid,
      epoch: manifest.epoch,
      segmentSize,
      alignment,
      maxRecordBytes: this.maxRecordBytes,
      commits: this.#ways.report,
      durableLsn: this.durableLsn,
      trimLsn,
      segments: chain.segments.filter(isLive).map(({ header, base }) => ({
        number: header.number,
        fileBytes: header.fileBytes,
        firstLsn: base + alignment,
        metadata: Buffer.from(header.metadata),
      })),
      recovery: report,
    }
  }

  /**
   * Makes everything appended durable, stamps the end and lets go of the lock. Closing twice is
   * closing once.
   * @throws ERR_RIOLOG_POISONED when records could not be made durable; the log is closed all the same
   */
  close(): Promise<void> {
    // Not yet within this call: who listens for it may close, too.
    this.#closing ??= Promise.resolve().then(() => traced('close', this.#path, () => this.#close()))
    return this.#closing
  }

  /** The same as {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    const { manifestFile, chain, directory } = this.#opened
    const writer = this.#writer
    try {
      if (writer === undefined || manifestFile === undefined) return
      await this.#retention?.changed()
      await writer.stop()
      await this.#retention?.swept()
      if (writer.poison !== undefined) throw writer.poison
      if (writer.hasForked) await manifestFile.update({ floor: writer.durableLsn, pinned: true })
    } finally {
      await this.#follower?.end()
      await this.#reader.idle()
      if (this.#follower === undefined) chain.close()
      this.#pool.close()
      manifestFile?.file.close()
      directory.close()
      await this.#disk.close()
    }
  }

  #refuseIfClosed(): void {
    if (this.#closing) throw logClosed()
  }

  #openWriter(): Writer {
    this.#refuseIfClosed()
    if (this.#writer !== undefined) return this.#writer
    throw new RiologError('ERR_RIOLOG_READ_ONLY', 'the log was opened with readOnly')
  }
}

/** 0 is the beginning, wherever that is by now. */
function fromOf({ from }: ScanOptions, byDefault = 0): number {
  if (from === undefined) return byDefault
  checkLsn(from)
  return from
}

function checkListener(listener: unknown): void {
  if (typeof listener !== 'function') throw invalidArgument('a listener must be a function')
}

function checkRawOptions({ maxBytes = 1, hash = '' }: RawOptions): void {
  if (!(maxBytes > 0)) throw invalidArgument('maxBytes must be above 0')
  if (typeof hash !== 'string') throw invalidArgument('hash must be a string')
}

function checkLsn(lsn: number): void {
  if (!Number.isSafeInteger(lsn) || lsn < 0) {
    throw invalidArgument(`an LSN is a safe integer of 0 or more, got ${lsn}`)
  }
}

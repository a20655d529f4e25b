/**
 * A physical copy of a log: headers and groups stand in it as they stand in the source, at the same
 * places, so that LSNs, salts and checksums hold, and a copy is told from another by one hash.
 */
import { chooseDisk } from '../../disk/choose.ts'
import type { Disk, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { invalidArgument, type PoisonedError, RiologError } from '../../errors.ts'
import { checkFormat } from '../../segment/format.ts'
import { Health } from '../commit/health.ts'
import { guarded } from '../guarded-logger.ts'
import { type CheckedOptions, checkReplicaOptions, type ReplicaOptions } from '../options.ts'
import { checkDevice, createManifest } from '../recovery/opening.ts'
import { IdleStamp } from '../segments/idle-stamp.ts'
import { LiveChain } from '../segments/live-chain.ts'
import type { ManifestFile } from '../segments/manifest-file.ts'
import { beginningWith, Copy } from './copy.ts'
import { NOTHING, type Progress } from './progress.ts'
import { checkShape, copyOf, gap, groupsOf, headerOf, type RawChunk } from './raw-chunk.ts'
import { type OpenedReplica, openReplica } from './replica-opening.ts'

/** A physical copy of a log: the same bytes at the same places, kept up by chunks of its source. */
export class Replica {
  readonly #disk: Disk
  readonly #options: CheckedOptions
  readonly #directory: DiskDirectory
  readonly #manifest: DiskFile
  readonly #health: Health
  readonly #idleStamp: IdleStamp
  /** Undefined until the first segment comes. */
  #copy: Copy | undefined
  #last: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  private constructor(
    disk: Disk,
    options: CheckedOptions,
    directory: DiskDirectory,
    manifest: DiskFile,
  ) {
    this.#disk = disk
    this.#options = options
    this.#directory = directory
    this.#manifest = manifest
    this.#health = new Health({
      clock: disk.clock,
      commitTimeoutMs: options.commitTimeoutMs,
      isAwaited: () => false,
      undecided: () => ({ durableLsn: this.durableLsn, end: this.end }),
      onPoisoned: poison => this.#onPoisoned(poison),
    })
    this.#idleStamp = new IdleStamp({
      clock: disk.clock,
      idleMs: options.idleStampMs,
      durableLsn: () => this.durableLsn,
      stampedLsn: () => this.#copy?.manifestFile.current.floor ?? 0,
      stamp: () => this.#inTurn(() => this.#stamp({ pinned: false })),
    })
  }

  /**
   * Opens the copy in a directory, which may be empty or not there yet: it is one of the log whose first
   * chunk it gets. A log's own directory can become a copy of another one that was promoted.
   * @throws ERR_RIOLOG_INVALID_OPTION, ERR_RIOLOG_LOCKED, ERR_RIOLOG_NOT_A_DIRECTORY,
   *   ERR_RIOLOG_CORRUPT (take a new directory, and copy again), ERR_RIOLOG_FUTURE_VERSION,
   *   ERR_RIOLOG_FOREIGN, ERR_RIOLOG_ALIGNMENT, ERR_RIOLOG_NO_IO_URING, ERR_RIOLOG_NO_ADDON, SystemError
   */
  static async open(path: string, options?: ReplicaOptions): Promise<Replica> {
    const checked = checkReplicaOptions(options)
    if (typeof path !== 'string' || path === '') throw invalidArgument('path must name a directory')
    checkFormat()
    return Replica.openOn(chooseDisk(checked.engine), path, checked)
  }

  /** @internal The same on a given disk, which the replica closes. */
  static async openOn(disk: Disk, path: string, options: CheckedOptions): Promise<Replica> {
    let opened: OpenedReplica | undefined
    try {
      opened = await openReplica(disk, path, options)
      const { directory, manifest, found } = opened
      const replica = new Replica(disk, options, directory, manifest)
      try {
        if (found !== undefined)
          await replica.#goOn(found.manifestFile, found.chain, found.progress)
      } catch (error) {
        replica.#idleStamp.stop()
        replica.#health.stop()
        throw error
      }
      return replica
    } catch (error) {
      opened?.found?.chain.close()
      opened?.manifest.close()
      opened?.directory.close()
      await disk.close()
      throw error
    }
  }

  /** The end of what the copy has: where `readRaw` of the source goes on. 0: nothing. */
  get end(): number {
    return this.#progress.end
  }

  /** The same, but never inside a batch: where the log ends if the copy is promoted now. */
  get durableLsn(): number {
    return this.#progress.durableLsn
  }

  /** What stands before {@link end}, for the source to compare (`readRaw`); undefined: nothing. */
  get hash(): string | undefined {
    return this.#progress.hash
  }

  /** The source's; to promote the copy, open it as a log with this as `expectedEpoch`. */
  get epoch(): number {
    return this.#copy?.manifestFile.current.epoch ?? 0
  }

  /** Of the log, 32 hex digits; undefined: nothing has come yet. */
  get uuid(): string | undefined {
    return this.#copy?.manifestFile.current.uuid
  }

  /** Records before this LSN have been given up. */
  get trimLsn(): number {
    return this.#copy?.manifestFile.current.trimLsn ?? 0
  }

  /**
   * Writes what a chunk brings, and resolves to the new {@link end} once that is durable. Chunks are
   * applied one at a time, in the order of the calls; the bytes are copied, and may be changed at once. One that brings nothing new changes nothing. Where
   * the source was rewound, the copy goes back with it; where it was trimmed, space is freed.
   *
   * Everything is verified before a byte is written: after a refusal the copy is as it was.
   * @throws ERR_RIOLOG_GAP when something is missing before it, or the beginning
   * @throws ERR_RIOLOG_DIVERGED when the copy has other bytes there, or the chunk is from before a rewind
   * @throws ERR_RIOLOG_FENCED when it is from a source of an older epoch
   * @throws ERR_RIOLOG_FOREIGN (of another log), ERR_RIOLOG_CORRUPT, ERR_RIOLOG_FUTURE_VERSION,
   *   ERR_RIOLOG_ALIGNMENT, ERR_RIOLOG_INVALID_ARGUMENT, ERR_RIOLOG_NO_SPACE (free some, apply it again),
   *   ERR_RIOLOG_POISONED after a failed write or sync (open it again), ERR_RIOLOG_CLOSED
   */
  async apply(chunk: RawChunk): Promise<number> {
    checkShape(chunk)
    const copy = copyOf(chunk)
    return this.#inTurn(() => this.#apply(copy))
  }

  /**
   * Stamps the end and lets go of the lock, when what was to be applied has been. Closing twice is closing
   * once.
   * @throws ERR_RIOLOG_POISONED; it is closed all the same
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** The same as {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #progress(): Progress {
    return this.#copy?.progress ?? NOTHING
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    if (this.#closing) {
      return Promise.reject(new RiologError('ERR_RIOLOG_CLOSED', 'the replica is closed'))
    }
    const running = this.#last.then(run)
    this.#last = running.then(
      () => {},
      () => {},
    )
    return running
  }

  async #apply(chunk: RawChunk): Promise<number> {
    this.#health.refuseIfPoisoned()
    this.#copy ??= await this.#begin(chunk)
    await this.#copy.apply(chunk)
    this.#idleStamp.moved()
    return this.end
  }

  /** The first segment of all tells what log this is a copy of. */
  async #begin(chunk: RawChunk): Promise<Copy> {
    const header = headerOf(chunk)
    if (header === undefined) throw gap('the copy is empty: it begins with readRaw(0)')
    beginningWith(chunk, header, groupsOf(chunk, header))
    const { uuid, segmentSize, alignment } = header
    checkDevice(this.#manifest, alignment)
    const made = { uuid, segmentSize, alignment, epoch: 0 }
    try {
      const creating = createManifest(this.#directory, this.#manifest, made)
      const manifestFile = await this.#health.orPoisoned(creating)
      return await this.#goOn(manifestFile, new LiveChain(manifestFile.current, []), NOTHING)
    } catch (error) {
      throw this.#health.fail(error)
    }
  }

  async #goOn(manifestFile: ManifestFile, chain: LiveChain, progress: Progress): Promise<Copy> {
    const [directory, health, options] = [this.#directory, this.#health, this.#options]
    const copy = new Copy({ directory, manifestFile, chain, health, options }, progress)
    this.#copy = copy
    await copy.findHash()
    return copy
  }

  async #stamp(stamp: { readonly pinned: boolean }): Promise<void> {
    if (this.#health.poison === undefined) await this.#copy?.stamp(stamp)
  }

  #onPoisoned(poison: PoisonedError): void {
    this.#idleStamp.stop()
    this.#copy?.manifestFile.stop()
    guarded(this.#options.logger)?.error({ err: poison }, 'riolog: the replica is poisoned')
  }

  async #close(): Promise<void> {
    this.#idleStamp.stop()
    try {
      await this.#last
      await this.#stamp({ pinned: true })
      this.#health.refuseIfPoisoned()
    } finally {
      this.#health.stop()
      await this.#health.settled()
      this.#letGo()
      await this.#disk.close()
    }
  }

  #letGo(): void {
    this.#idleStamp.stop()
    this.#health.stop()
    this.#copy?.close()
    this.#manifest.close()
    this.#directory.close()
  }
}

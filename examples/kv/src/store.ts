/**
 * A durable ordered map of byte strings: a map in memory, and a log that says how it came to be.
 *
 * ```
 *   write ──► encodeBatch ──► log.append ┄┄ durable ┄┄► apply ──► state.map ──► read
 *                                                         ▲           │
 *                             log.scan (an opening) ──────┘           ▼
 *                                                      checkpoint file, then log.trim
 * ```
 */

import { join } from 'node:path'
import { copyOf, varintBytes } from './bytes.ts'
import { listCheckpoints, readCheckpoint, removeBefore, writeCheckpoint } from './checkpoint.ts'
import { type CheckpointFiles, DirectoryFiles } from './checkpoint-files.ts'
import { hasCode, KvError } from './errors.ts'
import type { Entry, ReadonlyOrderedMap } from './ordered-map.ts'
import { encodeBatch, type Operation } from './record.ts'
import { Log, type LogOptions, type Pin, RiologError } from './riolog.ts'
import { apply, nothing, type State, snapshotOf } from './state.ts'
import { isStored, type Stored, type Value } from './value.ts'
import { WriteQueue } from './write-queue.ts'

export interface StoreOptions {
  /** Makes the store if it is not there; true. */
  readonly createIfMissing?: boolean
  /** Refuses a store that is there; false. */
  readonly errorIfExists?: boolean
  /** A value of so many bytes or more stays in the log, and is read from there; 4096. */
  readonly largeBytes?: number
  /**
   * A checkpoint is written when the log has grown by so many bytes since the last, and by as much as the last one
   * took: so writing them never costs more than what they free; 64 MiB, a segment of the log.
   */
  readonly checkpointBytes?: number
  /** Of the log, in the folder `log` of the store's. */
  readonly logOptions?: LogOptions
  /** A log that is open already; the store closes it. */
  readonly log?: Log
  /** Where checkpoints are kept; the store's folder. */
  readonly files?: CheckpointFiles
}

/** One state, which stays as it is, and whose values can be read until it is closed. */
export interface View {
  readonly map: ReadonlyOrderedMap<Value>
  close(): void
}

const LARGE_BYTES = 4096
/** Less than a segment frees nothing: a log is trimmed by whole ones. */
const CHECKPOINT_BYTES = 64 * 1024 * 1024
/** A value that is moved says from where: so much longer than when it was put is its record, at most. */
const FROM_BYTES = varintBytes(Number.MAX_SAFE_INTEGER)
/** What is moved in one record. */
const MOVE_BYTES = 256 * 1024
/** Entries that are looked at before others get their turn. */
const TURN = 4096

export class Store {
  readonly #log: Log
  readonly #files: CheckpointFiles
  readonly #largeBytes: number
  readonly #checkpointBytes: number
  readonly #blockBytes: number
  readonly #writes: WriteQueue
  readonly #state: State
  /** What was written since the last checkpoint began, and how much that may be before the next one. */
  #grownBytes = 0
  #dueBytes: number
  #checkpointing: Promise<number> | undefined
  #closing: Promise<void> | undefined

  private constructor(log: Log, files: CheckpointFiles, state: State, options: StoreOptions) {
    this.#log = log
    this.#files = files
    this.#state = state
    this.#largeBytes = options.largeBytes ?? LARGE_BYTES
    this.#checkpointBytes = options.checkpointBytes ?? CHECKPOINT_BYTES
    this.#dueBytes = this.#checkpointBytes
    this.#blockBytes = log.info().alignment
    this.#writes = new WriteQueue(log, (lsn, record) => {
      this.#apply(lsn, record)
      this.#checkpointIfDue()
    })
  }

  /**
   * Opens the store in a directory: the newest checkpoint, and then the records behind it.
   * @throws ERR_KV_CORRUPT, ERR_KV_FUTURE_VERSION, ERR_KV_FOREIGN, ERR_KV_EXISTS, ERR_KV_NOT_FOUND,
   *   ERR_KV_INVALID_OPTION, or an error of the log
   */
  static async open(path: string, options: StoreOptions = {}): Promise<Store> {
    checkBytes('largeBytes', options.largeBytes)
    checkBytes('checkpointBytes', options.checkpointBytes)
    // Its lock keeps others from the checkpoints, too.
    const log = options.log ?? (await openLog(join(path, 'log'), options))
    try {
      const files = options.files ?? new DirectoryFiles(path)
      const store = new Store(log, files, await lastCheckpoint(log, files), options)
      const { lsn: checkpointLsn } = store.#state
      await removeBefore(files, checkpointLsn)
      for await (const { lsn, data } of log.scan({ from: store.#state.lsn })) {
        // What a scan hands out is part of something larger.
        store.#apply(lsn, Buffer.from(data))
      }
      store.#countSegmentsBehind(checkpointLsn)
      // Not before: a checkpoint writes, and what is written is applied behind all that is there.
      store.#checkpointIfDue()
      return store
    } catch (error) {
      await log.close()
      throw error
    }
  }

  /** What is visible now; it changes with each write. */
  get map(): ReadonlyOrderedMap<Value> {
    return this.#state.map
  }

  get log(): Log {
    return this.#log
  }

  /**
   * Writes some operations, all or none of which a crash leaves. It resolves when they are visible: with
   * `sync` that is when they are durable, without as soon as those before them are visible.
   * @throws ERR_KV_INVALID_KEY: at once, and nothing was written
   * @throws ERR_RIOLOG_POISONED: they may be found by the next opening, or not; until then the store
   *   refuses writes, and reads go on
   * @throws ERR_RIOLOG_RECORD_TOO_LARGE (of puts also where a record that moves one would be too long),
   *   ERR_RIOLOG_NO_SPACE, ERR_RIOLOG_CLOSED: they never are
   */
  write(operations: readonly Operation[], sync: boolean): Promise<void> {
    const record = encodeBatch(operations)
    const most = this.#log.maxRecordBytes
    if (record.length + FROM_BYTES > most && operations.some(({ type }) => type === 'put')) {
      const what = `${record.length} bytes; a record of ${most} has to hold what moves a value, too`
      return Promise.reject(new RiologError('ERR_RIOLOG_RECORD_TOO_LARGE', what))
    }
    return this.#writes.submit(record, sync)
  }

  /** The bytes of a value of the map or of an open view: a copy, which may be changed. */
  load(value: Value): Buffer | Promise<Buffer> {
    return isStored(value) ? this.#read(value) : copyOf(value)
  }

  async #read({ lsn, offset, length }: Stored): Promise<Buffer> {
    // A long record is read group by group, and a trim must not come between.
    using _ = this.#log.pin('read', lsn)
    const record = await this.#log.read(lsn)
    return record.subarray(offset, offset + length)
  }

  /** What is visible now. While it is open the log keeps all that it refers to. */
  view(): View {
    const pin: Pin = this.#log.pin('view', this.#log.trimLsn)
    return { map: this.#state.map.snapshot(), close: () => pin.release() }
  }

  /**
   * Writes a checkpoint and gives up the log before it; resolves to the LSN that it covers. Writes and
   * reads go on meanwhile. One at a time: who asks while one is written gets that one.
   * @throws ERR_RIOLOG_CLOSED
   */
  checkpoint(): Promise<number> {
    // It would write beside whoever opens the store next.
    const closing = this.#checkpointing === undefined ? this.#closing : undefined
    if (closing !== undefined) return closing.then(() => this.#log.flush())
    this.#checkpointing ??= this.#checkpoint().finally(() => {
      this.#checkpointing = undefined
    })
    return this.#checkpointing
  }

  /** Waits for what was written, and lets go. A second time it waits for the first. */
  close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.catch(() => {})
    this.#closing = this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#checkpointing?.catch(() => {})
    // The last of the row resolves when all before it have; who wrote them is told if they fail.
    if (!this.#writes.isEmpty) await this.write([], true).catch(() => {})
    await this.#log.close()
  }

  #apply(lsn: number, record: Buffer): void {
    const before = this.#state.lsn
    apply(this.#state, lsn, record, this.#largeBytes)
    // A commit takes a block at least, however short its record; where an opening or a segment begins, LSNs jump.
    const most = record.length + 2 * this.#blockBytes
    this.#grownBytes += Math.min(this.#state.lsn - before, most)
  }

  /** Each opening begins a file of its own, however little is written: many of them are to be freed as well. */
  #countSegmentsBehind(checkpointLsn: number): void {
    const { segments } = this.#log.info()
    const behind = segments.filter(({ firstLsn }) => firstLsn > checkpointLsn)
    const bytes = behind.reduce((sum, { fileBytes }) => sum + fileBytes, 0)
    this.#grownBytes = Math.max(this.#grownBytes, bytes)
  }

  #checkpointIfDue(): void {
    if (this.#grownBytes <= this.#dueBytes) return
    if (this.#checkpointing !== undefined || this.#closing !== undefined) return
    this.checkpoint().catch(error => this.#warn(error))
  }

  #warn(error: unknown): void {
    if (this.#closing !== undefined || hasCode(error, 'ERR_RIOLOG_POISONED')) return
    const code = 'RIOLOG_KV_CHECKPOINT'
    process.emitWarning(`no checkpoint was written: ${error}`, { type: 'RiologWarning', code })
  }

  async #checkpoint(): Promise<number> {
    // Also if it fails: a full disk is not to be asked again with each write.
    this.#grownBytes = 0
    // Not within the write that made it due.
    await turn()
    await this.#moveOldValues()
    this.#writes.refuseIfFailed()
    const state = snapshotOf(this.#state)
    // It must not say more than the log: what is visible need not be durable.
    await this.#log.flush()
    const bytes = await writeCheckpoint(this.#files, state, this.#log.info().uuid)
    this.#dueBytes = Math.max(this.#checkpointBytes, bytes)
    // Values that were stored since then are behind its LSN.
    const { oldestLsn } = await this.#survey(state.map)
    await this.#log.trim(Math.min(state.lsn, oldestLsn))
    await removeBefore(this.#files, state.lsn)
    return state.lsn
  }

  /**
   * Appends again what is far back in the log, so that it can be trimmed. A value is moved only when the files
   * behind it take twice what there is to keep: however many there are, the log stays within three times of
   * that, and moving never costs more than is written.
   */
  async #moveOldValues(): Promise<void> {
    const { map } = snapshotOf(this.#state)
    const { bytes } = await this.#survey(map)
    const keptFrom = this.#startOfLast(2 * bytes + this.#checkpointBytes)
    const mostBytes = this.#log.maxRecordBytes
    let moves: Operation[] = []
    let movedBytes = 0
    for await (const entries of storedIn(map)) {
      for (const [key, value] of entries) {
        if (value.lsn >= keptFrom || this.map.get(key) !== value) continue
        const moved = await this.load(value)
        const move: Operation = { type: 'move', key, from: value.lsn, value: moved }
        const bytes = encodeBatch([move]).length
        // No record is that long any more (maxBufferedBytes is less than it was): it stays where it is.
        if (bytes > mostBytes) continue
        if (moves.length > 0 && movedBytes + bytes > Math.min(MOVE_BYTES, mostBytes)) {
          await this.write(moves, true)
          moves = []
          movedBytes = 0
        }
        moves.push(move)
        movedBytes += bytes
      }
    }
    if (moves.length > 0) await this.write(moves, true)
  }

  /**
   * Where the segments begin that take so many bytes together; the newest counts always. LSNs alone do not tell:
   * they jump where an opening begins a segment.
   */
  #startOfLast(bytes: number): number {
    const { lsn } = this.#state
    // One that is prepared for later does not count.
    const segments = this.#log.info().segments.filter(({ firstLsn }) => firstLsn <= lsn)
    let start = Number.MAX_SAFE_INTEGER
    let taken = 0
    for (const { firstLsn, fileBytes } of segments.reverse()) {
      taken += fileBytes
      if (taken > bytes && start !== Number.MAX_SAFE_INTEGER) return start
      start = firstLsn
    }
    return 0
  }

  /** Of the values that are in the log only: how much they are, and where the oldest is. */
  async #survey(map: ReadonlyOrderedMap<Value>): Promise<{ bytes: number; oldestLsn: number }> {
    let bytes = 0
    let oldestLsn = Number.MAX_SAFE_INTEGER
    for await (const entries of storedIn(map)) {
      for (const [, { lsn, length }] of entries) {
        bytes += length
        oldestLsn = Math.min(oldestLsn, lsn)
      }
    }
    return { bytes, oldestLsn }
  }
}

function checkBytes(name: string, bytes = 1): void {
  if (bytes >= 1) return
  throw new KvError('ERR_KV_INVALID_OPTION', `${name} must be 1 or more, got ${bytes}`)
}

async function openLog(path: string, options: StoreOptions): Promise<Log> {
  const { createIfMissing = true, errorIfExists = false, logOptions } = options
  if (errorIfExists && (await isThere(path, logOptions))) {
    throw new KvError('ERR_KV_EXISTS', `a store exists already (${path})`)
  }
  try {
    return await Log.open(path, { ...logOptions, create: createIfMissing })
  } catch (error) {
    if (!hasCode(error, 'ERR_RIOLOG_NO_LOG')) throw error
    throw new KvError('ERR_KV_NOT_FOUND', `the store does not exist (${path})`, { cause: error })
  }
}

async function isThere(path: string, logOptions: LogOptions = {}): Promise<boolean> {
  try {
    await using _ = await Log.open(path, { ...logOptions, readOnly: true })
    return true
  } catch (error) {
    if (hasCode(error, 'ERR_RIOLOG_NO_LOG')) return false
    throw error
  }
}

/** @throws ERR_KV_CORRUPT when what the log has trimmed is in no checkpoint */
async function lastCheckpoint(log: Log, files: CheckpointFiles): Promise<State> {
  const lsn = (await listCheckpoints(files)).at(-1)
  const state = lsn === undefined ? nothing() : await readCheckpoint(files, lsn, log.info().uuid)
  if (state.lsn < log.trimLsn) {
    throw new KvError('ERR_KV_CORRUPT', `the checkpoint that covers LSN ${log.trimLsn} is missing`)
  }
  if (state.lsn > log.durableLsn) {
    throw new KvError('ERR_KV_CORRUPT', `the log ends before the checkpoint at LSN ${state.lsn}`)
  }
  return state
}

/**
 * The entries whose values are in the log only, some at a time: a wait for each entry takes twenty times as long as
 * to look at it. Others get their turn in between.
 */
async function* storedIn(map: ReadonlyOrderedMap<Value>): AsyncGenerator<Entry<Stored>[]> {
  const cursor = map.cursor()
  let entries: Entry<Stored>[] = []
  let count = 0
  for (let entry = cursor.next(); entry !== undefined; entry = cursor.next()) {
    const [key, value] = entry
    if (isStored(value)) entries.push([key, value])
    if (++count % TURN !== 0) continue
    yield entries
    entries = []
    await turn()
  }
  yield entries
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** Makes segment files ahead of their use: recycled or full of zeros, with their header, and synced. */
import type { Disk, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { RiologError, SystemError } from '../../errors.ts'
import {
  alignUp,
  maxSegmentNumber,
  minFileBytes,
  type Salt,
  segmentName,
} from '../../segment/format.ts'
import { encodeSegmentHeader, type SegmentHeader, type SegmentRef } from '../../segment/header.ts'
import { MIB } from '../../units.ts'
import type { Manifest } from './manifest.ts'
import type { RecyclePool } from './recycle-pool.ts'
import { dropFile, layOutSegmentFile, type Step, writeHeaderBlock } from './segment-file.ts'

/** An opening's first file; each one after it is up to four times as long, so small logs stay small. */
const FIRST_FILE_BYTES = 4 * MIB
const GROWTH = 4

export interface PreparedSegment {
  readonly header: SegmentHeader
  readonly file: DiskFile
  /** Where space begins in it that is only allocated; its length, where all of it has been written. */
  readonly writtenBytes: number
}

/** Ends a preparation that nobody needs any more. */
export class Abandoned extends Error {
  /** After a poison nothing is touched any more: the half-made file stays, for the next opening to drop. */
  readonly keepsFile: boolean

  constructor(keepsFile: boolean) {
    super('the preparation of a segment was abandoned')
    this.keepsFile = keepsFile
  }
}

export class SegmentMaker {
  readonly #disk: Disk
  readonly #directory: DiskDirectory
  readonly #pool: RecyclePool
  readonly #mode: number
  readonly #metadata: Uint8Array
  #nextNumber: number

  /**
   * @param nextNumber one above every number used so far, by half-made files too
   * @param metadata the user's, for each header
   */
  constructor(
    disk: Disk,
    directory: DiskDirectory,
    pool: RecyclePool,
    nextNumber: number,
    { mode, metadata }: { readonly mode: number; readonly metadata: Uint8Array },
  ) {
    this.#disk = disk
    this.#directory = directory
    this.#pool = pool
    this.#nextNumber = nextNumber
    this.#mode = mode
    this.#metadata = metadata
  }

  /**
   * Length of the file after one of `before` bytes; of an opening's first, when that is 0.
   * @param batchBytes what the longest batch takes up: each file but the first has room for one
   */
  static fileBytes(manifest: Manifest, before: number, batchBytes: number): number {
    const { segmentSize, alignment } = manifest
    const least = minFileBytes(segmentSize, alignment)
    const wanted = before === 0 ? FIRST_FILE_BYTES : Math.max(before * GROWTH, batchBytes)
    return Math.min(segmentSize, alignUp(Math.max(least, wanted), alignment))
  }

  /**
   * Takes a number (used once, whatever comes of it) and makes its file durable. No manifest names it
   * yet, so if the disk is full it is taken away again and nothing is lost. A recycled file is as long
   * as it is, whatever was asked for.
   * @throws ERR_RIOLOG_NO_SPACE, ERR_RIOLOG_LSN_EXHAUSTED, SystemError
   */
  async prepare(
    manifest: Manifest,
    parent: SegmentRef,
    fileBytes: number,
    step: Step,
  ): Promise<PreparedSegment> {
    const number = this.#takeNumber(manifest)
    const name = segmentName(number)
    const recycled = await this.#pool.take(name)
    const file = recycled ?? (await this.#directory.open(name, 'createNew', this.#mode))
    const header: SegmentHeader = {
      uuid: manifest.uuid,
      number,
      epoch: manifest.epoch,
      salt: randomSalt(this.#disk),
      parent,
      fileBytes: recycled?.size() ?? fileBytes,
      segmentSize: manifest.segmentSize,
      alignment: manifest.alignment,
      metadata: this.#metadata,
    }
    return this.#orDropped(file, async () => {
      const writtenBytes = await layOutSegmentFile(file, header, recycled !== undefined, step)
      await step(1)
      await writeHeaderBlock(file, encodeSegmentHeader(header))
      await step(1)
      await file.sync()
      await step(1)
      await this.#directory.sync()
      return { header, file, writtenBytes }
    })
  }

  /** Files in the pool, each of which the next segment may become. */
  get pooledFiles(): number {
    return this.#pool.length
  }

  /** Files of dead segments that the pool has ever been given. */
  get recycledFiles(): number {
    return this.#pool.kept
  }

  /**
   * Makes a file full of zeros for the pool, as long as a full segment and without a header. It gets there when nothing is
   * under way to it any more.
   * @throws as {@link prepare}
   */
  async prepareZeroed(manifest: Manifest, step: Step): Promise<void> {
    const { segmentSize: fileBytes, alignment } = manifest
    const name = segmentName(this.#takeNumber(manifest))
    const file = await this.#directory.open(name, 'createNew', this.#mode)
    await this.#orDropped(file, async () => {
      await layOutSegmentFile(file, { fileBytes, alignment }, false, step)
      await step(1)
      await file.sync()
      await step(1)
    })
    this.#pool.add(file)
  }

  /** Takes away a prepared file that no manifest names. */
  async discard(prepared: PreparedSegment): Promise<void> {
    prepared.file.close()
    await this.#directory.unlink(prepared.file.name)
  }

  /** Used once, whatever comes of it. */
  #takeNumber(manifest: Manifest): number {
    if (this.#nextNumber > maxSegmentNumber(manifest.segmentSize)) {
      const message = 'the log has used up its LSNs: copy its records to a new one'
      throw new RiologError('ERR_RIOLOG_LSN_EXHAUSTED', message)
    }
    return this.#nextNumber++
  }

  async #orDropped<T>(file: DiskFile, make: () => Promise<T>): Promise<T> {
    try {
      return await make()
    } catch (error) {
      file.close()
      const keeps = error instanceof Abandoned && error.keepsFile
      if (!keeps) await dropFile(this.#directory, file.name)
      throw error
    }
  }
}

/** The disk is full, or no file could be made: no manifest names it, and nothing else is in doubt. */
export function isHarmless(error: unknown): boolean {
  if (!(error instanceof RiologError)) return false
  if (error instanceof SystemError && error.syscall === 'openat') return true
  return error.code === 'ERR_RIOLOG_NO_SPACE' || error.code === 'ERR_RIOLOG_LSN_EXHAUSTED'
}

function randomSalt(disk: Disk): Salt {
  const words = new Uint32Array(disk.randomBytes(8).slice().buffer)
  const salt = { low: words[0], high: words[1] }
  // Zero means "no segment".
  return salt.low === 0 && salt.high === 0 ? randomSalt(disk) : salt
}

/** The manifest's file: created once, locked while the log is open, updated in place, copy by copy. */
import { readFileSync } from 'node:fs'
import { allocateBuffer, borrowBuffer, returnBuffer, withBuffer } from '../../disk/buffer.ts'
import type { Clock } from '../../disk/clock.ts'
import type { DiskBuffer, DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { RiologError, SystemError } from '../../errors.ts'
import { MAX_ALIGNMENT } from '../../segment/format.ts'
import {
  COPY_AT,
  COPY_BYTES,
  decodeManifest,
  encodeManifest,
  judgeManifest,
  MANIFEST_NAME,
  type Manifest,
  type ManifestVerdict,
} from './manifest.ts'

const FILE_BYTES = COPY_AT[1] + MAX_ALIGNMENT
const LOCK_RETRY_MS = 5
/** errno(3) */
const EIO = -5

type Change = Partial<Omit<Manifest, 'uuid' | 'segmentSize' | 'alignment' | 'update'>>

/** What the two copies on the disk say. Reads the device, not a cache. */
export async function readManifest(file: DiskFile): Promise<ManifestVerdict> {
  await file.forgetCache()
  return withBuffer(FILE_BYTES, async buffer => {
    const length = await file.read(buffer, 0, FILE_BYTES, 0)
    const copy = (at: number) =>
      decodeManifest(buffer.bytes.subarray(at, Math.max(at, Math.min(at + COPY_BYTES, length))))
    return judgeManifest(copy(COPY_AT[0]), copy(COPY_AT[1]))
  })
}

/**
 * Opens and locks the manifest. The descriptor that is locked is the one that is written through, so
 * no late write of a killed process can follow: its requests hold the file, and so the lock.
 * @param waitMs how long to wait for a holder that is dying, or that the system does not name
 * @throws ERR_RIOLOG_LOCKED, naming the holder's pid where the system tells
 */
export async function lockManifest(
  clock: Clock,
  directory: DiskDirectory,
  create: boolean,
  mode: number,
  waitMs: number,
): Promise<DiskFile> {
  const deadline = clock.now() + waitMs
  for (;;) {
    const file = await directory.open(MANIFEST_NAME, create ? 'create' : 'write', mode)
    try {
      while (!file.tryLock()) {
        const holder = file.lockHolder()
        if (clock.now() >= deadline || (holder !== undefined && isRunning(holder))) {
          throw lockedError(directory.path, holder)
        }
        await clock.sleep(LOCK_RETRY_MS)
      }
      // Somebody may have replaced the file between open and lock.
      if (file.isNamed()) return file
    } catch (error) {
      file.close()
      throw error
    }
    file.close()
  }
}

function lockedError(path: string, holder: number | undefined): RiologError {
  const who = holder === undefined ? 'another process' : `process ${holder}`
  const own = holder === process.pid ? ' (this very process)' : ''
  return new RiologError('ERR_RIOLOG_LOCKED', `${path} is open for writing in ${who}${own}`)
}

/** A killed process can hold its lock for some milliseconds more: a zombie does not count. */
function isRunning(pid: number): boolean {
  if (pid === process.pid) return true
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  return !isDying(pid)
}

function isDying(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3)
    return state === 'Z' || state === 'X'
  } catch {
    return true
  }
}

/**
 * The manifest of a log that is open for writing. An update is one copy, a sync, a look whether it is
 * there, then the same for the other copy, and only then told; one at a time. If it fails, nobody knows
 * which copy holds what: the caller poisons the log.
 *
 * The look is for a device that loses a write and says that it is done: a copy left behind by one update
 * would be in force again when a power cut tears the other one in the next.
 */
export class ManifestFile {
  readonly file: DiskFile
  /** Called with each answer of the disk to a step of an update: whoever waits for all of it can tell that the disk answers. */
  onAnswered: () => void = () => {}
  readonly #block: number
  #current: Manifest
  /** The copy to write first: never the one in force. */
  #first: 0 | 1
  #updating: Promise<void> | undefined
  #stopped = false
  /** Why an update came to nothing. */
  #failure: unknown

  constructor(file: DiskFile, manifest: Manifest, readFrom: 0 | 1) {
    this.file = file
    this.#current = manifest
    this.#first = readFrom === 0 ? 1 : 0
    this.#block = manifest.alignment
  }

  /** Lays out a new manifest in an empty file, without a sync: nothing refers to it yet. */
  static async create(file: DiskFile, manifest: Manifest): Promise<ManifestFile> {
    const whole = allocateBuffer(FILE_BYTES)
    for (const at of COPY_AT) whole.bytes.set(encodeManifest(manifest), at)
    await file.write(whole, 0, FILE_BYTES, 0)
    return new ManifestFile(file, manifest, 0)
  }

  get current(): Manifest {
    return this.#current
  }

  /** True while an update is under way: {@link updateBlocking} must not be called then. */
  get busy(): boolean {
    return this.#updating !== undefined
  }

  /** After a failed sync nothing may be written any more: an update under way stops where it is. */
  stop(): void {
    this.#stopped = true
  }

  async update(change: Change | (() => Change)): Promise<void> {
    while (this.#updating) await this.#updating.catch(() => {})
    const run = this.#run(typeof change === 'function' ? change() : change)
    this.#updating = run
    try {
      await run
    } finally {
      this.#updating = undefined
    }
  }

  updateBlocking(change: Change): void {
    if (this.busy) throw new Error('a manifest update is under way')
    const next = this.#next(change)
    const [buffer, found] = [this.#encoded(next), borrowBuffer(this.#block)]
    for (const copy of this.#order()) {
      this.#refuseIfStopped()
      this.file.writeBlocking(buffer, 0, this.#block, COPY_AT[copy])
      this.file.syncBlocking()
      const length = this.file.readBlocking(found, 0, this.#block, COPY_AT[copy])
      this.#refuseUnless(length, found, buffer)
    }
    this.#settle(next, buffer, found)
  }

  async #run(change: Change): Promise<void> {
    this.#refuseIfStopped()
    const next = this.#next(change)
    try {
      await this.#write(next)
    } catch (error) {
      // Before whoever waits for its turn: it would take the same number, and copies of one number must not differ.
      this.#failure ??= error
      this.stop()
      throw error
    }
  }

  async #write(next: Manifest): Promise<void> {
    const [buffer, found] = [this.#encoded(next), borrowBuffer(this.#block)]
    for (const copy of this.#order()) {
      this.#refuseIfStopped()
      await this.file.write(buffer, 0, this.#block, COPY_AT[copy])
      this.#answered()
      await this.file.sync()
      this.#answered()
      await this.file.forgetCache()
      const length = await this.file.read(found, 0, this.#block, COPY_AT[copy])
      this.#answered()
      this.#refuseUnless(length, found, buffer)
    }
    this.#settle(next, buffer, found)
  }

  #answered(): void {
    this.onAnswered()
    this.#refuseIfStopped()
  }

  /** @throws SystemError EIO: what fsync(2) would say of a write that is lost, if the device told */
  #refuseUnless(length: number, found: DiskBuffer, written: DiskBuffer): void {
    const block = (buffer: DiskBuffer) => buffer.bytes.subarray(0, this.#block)
    const isThere = length === this.#block && Buffer.compare(block(found), block(written)) === 0
    if (!isThere) throw new SystemError(EIO, 'read back', MANIFEST_NAME)
  }

  #settle(next: Manifest, ...buffers: DiskBuffer[]): void {
    for (const buffer of buffers) returnBuffer(buffer)
    this.#current = next
  }

  #order(): readonly (0 | 1)[] {
    return this.#first === 0 ? [0, 1] : [1, 0]
  }

  #next(change: Change): Manifest {
    const before = this.#current
    const next = { ...before, ...change, update: before.update + 1 }
    // Each update raises the floor, or leaves it: what was known to be durable stays known.
    if (next.floor < before.floor) throw new Error('the floor never falls')
    return next
  }

  /** One block of it. Where an update fails, nobody knows whether the disk still reads it: it stays out. */
  #encoded(manifest: Manifest): DiskBuffer {
    const buffer = borrowBuffer(this.#block)
    buffer.bytes.fill(0, 0, this.#block).set(encodeManifest(manifest))
    return buffer
  }

  #refuseIfStopped(): void {
    if (!this.#stopped) return
    throw this.#failure ?? new Error('the log was poisoned during a manifest update')
  }
}

/**
 * Files of dead segments, and files full of zeros (zeroed-files.ts), kept to become new ones: their blocks are allocated
 * and written already, so that a rotation costs the disk no metadata. Nothing is scrubbed: what an old segment left
 * behind has another salt and another place, and never verifies in the new one.
 */
import type { DiskDirectory, DiskFile } from '../../disk/disk.ts'
import { segmentName } from '../../segment/format.ts'

/** A segment that no manifest copy in force reaches any more. */
export interface DeadSegment {
  readonly number: number
  /** Reads of it are under way, which must not find another segment's bytes. */
  readonly busy: boolean
}

export interface PoolParts {
  readonly directory: DiskDirectory
  /** Only files of this length, in bytes, are kept: that of the log's full segments. */
  readonly fileBytes: number
  /** The most files, of those that {@link RecyclePool.bury} keeps. */
  readonly most: number
  /** Told of a dead file that could not be taken away: it costs space, and nothing else. */
  readonly onStays: (error: unknown) => void
}

export class RecyclePool {
  readonly #parts: PoolParts
  #files: DiskFile[] = []
  #kept = 0
  #closed = false

  constructor(parts: PoolParts) {
    this.#parts = parts
  }

  get length(): number {
    return this.#files.length
  }

  /** Files of dead segments that were ever kept. */
  get kept(): number {
    return this.#kept
  }

  /**
   * Keeps the file of a dead segment or takes it away.
   *
   * It is kept under its lock, which a process that was killed may still have, through a request that the
   * kernel has not finished: such a write must not land in a new segment.
   */
  async bury({ number, busy }: DeadSegment): Promise<void> {
    const { directory, most, onStays } = this.#parts
    const name = segmentName(number)
    try {
      const wanted = !busy && !this.#closed && this.#files.length < most
      if (wanted && (await this.#keep(name))) return
      await directory.unlink(name)
    } catch (error) {
      onStays(error)
    }
  }

  /** Keeps a file that was made for it: of full length, and locked. */
  add(file: DiskFile): void {
    if (this.#closed) file.close()
    else this.#files.push(file)
  }

  async #keep(name: string): Promise<boolean> {
    const { directory, fileBytes, most } = this.#parts
    const file = await directory.open(name, 'write', 0)
    const suits = file.size() === fileBytes && file.links() === 1 && file.tryLock()
    if (suits && !this.#closed && this.#files.length < most) {
      this.#files.push(file)
      this.#kept++
      return true
    }
    file.close()
    // The log closes meanwhile: the next opening finds it.
    return suits && this.#closed
  }

  /**
   * A file of full length under a new name, locked, with what its segment left in it; undefined when
   * there is none. The name is not durable yet.
   */
  async take(name: string): Promise<DiskFile | undefined> {
    for (;;) {
      const file = this.#files.shift()
      if (file === undefined) return undefined
      try {
        // Somebody may have made a copy by a hard link, or put another file in its place.
        if (file.links() === 1 && file.isNamed()) {
          await this.#parts.directory.rename(file, name)
          return file
        }
        this.#parts.onStays(new Error(`${file.name} is in use by somebody else`))
      } catch (error) {
        this.#parts.onStays(error)
      }
      file.close()
    }
  }

  /** Lets go of the files, which stay where they are for the next opening. */
  close(): void {
    this.#closed = true
    for (const file of this.#files.splice(0)) file.close()
  }
}

/** The memory of groups on their way: a fixed number of arenas, made when first needed, used again. */
import { allocateBuffer } from '../disk/buffer.ts'
import type { DiskBuffer } from '../disk/disk.ts'
import { Waiters } from './waiters.ts'

/** What one group of the longest kind needs: aligned memory, of which the pages that nobody touches cost
 *  nothing, and room for those who wait for it. */
export class Arena {
  readonly buffer: DiskBuffer
  readonly words: Uint32Array
  readonly waiters = new Waiters()

  constructor(bytes: number) {
    this.buffer = allocateBuffer(bytes)
    this.words = new Uint32Array(this.buffer.memory.buffer)
  }
}

export class ArenaPool {
  /** How many there are, made or not. */
  readonly count: number
  readonly #arenaBytes: number
  readonly #free: Arena[] = []
  #unmade: number

  constructor(count: number, arenaBytes: number) {
    this.count = count
    this.#arenaBytes = arenaBytes
    this.#unmade = count
  }

  /** How many can be taken now. */
  get available(): number {
    return this.#free.length + this.#unmade
  }

  get limitBytes(): number {
    return this.count * this.#arenaBytes
  }

  get bytesInUse(): number {
    return this.limitBytes - this.available * this.#arenaBytes
  }

  /** Only while one is {@link available}, which bounds the memory. */
  take(): Arena {
    const free = this.#free.pop()
    if (free !== undefined) return free
    this.#unmade--
    return new Arena(this.#arenaBytes)
  }

  give(arena: Arena): void {
    this.#free.push(arena)
  }
}

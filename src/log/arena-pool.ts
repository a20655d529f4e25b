/** The memory of groups on their way: a fixed number of arenas, made when first needed, used again. */
import { allocateBuffer } from '../disk/buffer.ts'
import type { DiskBuffer } from '../disk/disk.ts'
import { Telling, Waiters } from './waiters.ts'

/** What one group of the longest kind needs: aligned memory, and room for those who wait for it. */
export class Arena {
  /** Memory that the arena is a part of, from `offset` on. */
  readonly buffer: DiskBuffer
  readonly offset: number
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  readonly waiters: Waiters

  constructor(buffer: DiskBuffer, offset: number, length: number, telling: Telling) {
    this.waiters = new Waiters(telling)
    this.buffer = buffer
    this.offset = offset
    this.bytes = buffer.bytes.subarray(offset, offset + length)
    this.words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, length / 4)
  }
}

/**
 * One that fills and one in flight are all that short groups need, and of memory of their own they touch a few
 * pages. Those beyond are for long groups: so many together lie in huge pages.
 */
const ARENAS_ALONE = 2
const ARENAS_TOGETHER = 4

export class ArenaPool {
  /** How many there are, made or not. */
  readonly count: number
  readonly #arenaBytes: number
  readonly #free: Arena[] = []
  readonly #telling = new Telling()
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
    if (this.#free.length === 0) this.#make()
    return this.#free.pop()!
  }

  #make(): void {
    const isAlone = this.count - this.#unmade < ARENAS_ALONE
    const made = Math.min(isAlone ? 1 : ARENAS_TOGETHER, this.#unmade)
    const buffer = allocateBuffer(made * this.#arenaBytes)
    for (let i = made - 1; i >= 0; i--) {
      this.#free.push(new Arena(buffer, i * this.#arenaBytes, this.#arenaBytes, this.#telling))
    }
    this.#unmade -= made
  }

  give(arena: Arena): void {
    this.#free.push(arena)
  }
}

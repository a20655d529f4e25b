/** The memory of groups on their way: a fixed number of arenas, made when first needed, used again. */
import { allocateBuffer } from '../../disk/buffer.ts'
import type { DiskBuffer } from '../../disk/disk.ts'
import { Telling, Waiters } from './waiters.ts'

/** What one group of the longest kind needs: aligned memory, and room for those who wait for it. */
export class Arena {
  /** Memory that the arena is a part of, from `offset` on. */
  readonly buffer: DiskBuffer
  /** In memory of its own, of small pages. */
  readonly isAlone: boolean
  readonly offset: number
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  readonly waiters: Waiters

  constructor(
    buffer: DiskBuffer,
    offset: number,
    length: number,
    telling: Telling,
    isAlone: boolean,
  ) {
    this.waiters = new Waiters(telling)
    this.buffer = buffer
    this.isAlone = isAlone
    this.offset = offset
    this.bytes = buffer.bytes.subarray(offset, offset + length)
    this.words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, length / 4)
  }
}

/**
 * One that fills and one in flight are all that short groups need, and of memory of their own they touch a few
 * pages. Those beyond are for long groups: so many together lie in huge pages, of which the device is handed one piece
 * for a group, where small pages are one piece for each 4 KiB.
 */
const ARENAS_ALONE = 2
const ARENAS_TOGETHER = 4

export class ArenaPool {
  /** How many there are, made or not. */
  readonly count: number
  readonly #arenaBytes: number
  #free: Arena[] = []
  readonly #telling = new Telling()
  #unmade: number
  #areLong = false

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
    const isAlone = !this.#areLong && this.count - this.#unmade < ARENAS_ALONE
    const made = Math.min(isAlone ? 1 : ARENAS_TOGETHER, this.#unmade)
    const buffer = allocateBuffer(made * this.#arenaBytes)
    for (let i = made - 1; i >= 0; i--) {
      const [offset, length] = [i * this.#arenaBytes, this.#arenaBytes]
      this.#free.push(new Arena(buffer, offset, length, this.#telling, isAlone))
    }
    this.#unmade -= made
  }

  give(arena: Arena): void {
    if (this.#areLong && arena.isAlone) this.#unmade++
    else this.#free.push(arena)
  }

  /** Groups have become long: what is alone is left to the collector as it comes back, and made anew together. */
  expectLong(): void {
    if (this.#areLong) return
    this.#areLong = true
    const free = this.#free
    this.#free = []
    for (const arena of free) this.give(arena)
  }
}

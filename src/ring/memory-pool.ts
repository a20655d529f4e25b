import { allocate, type NativeMemory } from '../native.ts'
import { KIB } from '../units.ts'

/** A piece of native memory, for arguments that the kernel reads or writes and for copies of bytes. */
export interface Block {
  /** `NativeMemory.id` and the place in it: what a request names. */
  readonly memory: number
  readonly memoryOffset: number
  /** At least as long as asked. */
  readonly bytes: Uint8Array
  readonly sizeClass: SizeClass | undefined
  /** Keeps the memory: its id is good for as long as somebody has this. */
  readonly owner: NativeMemory
}

interface SizeClass {
  readonly bytes: number
  /** Blocks are cut from allocations of this size, each aligned to its own length. */
  readonly chunkBytes: number
  /** So many free blocks are kept; further ones go to the garbage collector. */
  readonly keep: number
  readonly free: Block[]
}

/** [bytes of a block, bytes of the allocation it is cut from, free blocks kept] */
const CLASSES: readonly (readonly [number, number, number])[] = [
  [512, 64 * KIB, Infinity],
  [4 * KIB, 256 * KIB, Infinity],
  [16 * KIB, 256 * KIB, Infinity],
  [64 * KIB, 256 * KIB, Infinity],
  [256 * KIB, 256 * KIB, 8],
  [1024 * KIB, 1024 * KIB, 4],
]

/**
 * Blocks of native memory for one ring. An allocation costs a system call and page faults, a block
 * from here a few nanoseconds; the pool is as large as the most that was in flight at once.
 */
export class MemoryPool {
  readonly #classes: SizeClass[] = CLASSES.map(([bytes, chunkBytes, keep]) => ({
    bytes,
    chunkBytes,
    keep,
    free: [],
  }))

  /**
   * Content: whatever the last user left. Longer than the largest class: an allocation of its own.
   * @throws ERR_RIOLOG_OUT_OF_MEMORY
   */
  take(bytes: number): Block {
    for (const sizeClass of this.#classes) {
      if (bytes > sizeClass.bytes) continue
      if (sizeClass.free.length === 0) cut(sizeClass)
      return sizeClass.free.pop()!
    }
    const owner = allocate(bytes)
    const view = new Uint8Array(owner.buffer)
    return { memory: owner.id, memoryOffset: 0, bytes: view, sizeClass: undefined, owner }
  }

  /** The kernel is done with the block. */
  giveBack(block: Block): void {
    const { sizeClass } = block
    if (sizeClass !== undefined && sizeClass.free.length < sizeClass.keep) {
      sizeClass.free.push(block)
    }
  }
}

function cut(sizeClass: SizeClass): void {
  const { bytes, chunkBytes } = sizeClass
  const owner = allocate(chunkBytes)
  for (let memoryOffset = 0; memoryOffset < chunkBytes; memoryOffset += bytes) {
    const view = new Uint8Array(owner.buffer, memoryOffset, bytes)
    sizeClass.free.push({ memory: owner.id, memoryOffset, bytes: view, sizeClass, owner })
  }
}

import { NEVER_QUIET, NO_MEMORY } from './abi.ts'

/**
 * One request to the kernel, as plain numbers, and who is told of its completion. An interface and two
 * classes that stand on their own, since a derived class takes V8 longer to make than the kernel takes
 * for a NOP.
 */
export interface Operation {
  readonly opcode: number
  /** IOSQE_* */
  sqeFlags: number
  fd: number
  /** The SQE's `len`: bytes, a count, a mode, by the opcode. */
  length: number
  /** The SQE's `off`, where that is a number. */
  offset: number
  /** `NativeMemory.id`, or NO_MEMORY: then `memoryOffset` is a number of the opcode's own. */
  memory: number
  memoryOffset: number
  /** rw_flags, fsync_flags, …: the SQE's field is chosen by the opcode. */
  opFlags: number
  /** A completion with just this result need not wake JavaScript; NEVER_QUIET otherwise. */
  quietResult: number
  /** What few operations need. */
  more: MoreFields | undefined
  /** Its place in the ring while the kernel has it, else -1. */
  slot: number
  /** Somebody blocks the thread for it: it is told before all others. */
  urgent: boolean
  /** Of a ring that measures. */
  stamps: Stamps | undefined

  /**
   * Called once, when it has completed for good: `result` is >= 0, or a negative errno. An exception
   * becomes an uncaughtException.
   */
  settle(result: number, flags: number): void

  /**
   * Called for each completion that is read, before others are told of theirs and before a provided
   * buffer goes back to the kernel.
   */
  collect: ((result: number, flags: number) => void) | undefined
}

export interface MoreFields {
  ioprio: number
  secondMemory: number
  secondMemoryOffset: number
  /** splice_fd_in */
  otherFd: number
  bufferGroup: number
}

export function noMoreFields(): MoreFields {
  return { ioprio: 0, secondMemory: NO_MEMORY, secondMemoryOffset: 0, otherFd: 0, bufferGroup: 0 }
}

/** Milliseconds, `performance.now`. */
export interface Stamps {
  readonly pushedAt: number
  submittedAt: number
}

/** An operation of riolog's own, whose `settle` is set by whoever makes it. */
export class PlainOperation implements Operation {
  readonly opcode: number
  sqeFlags = 0
  fd = -1
  length = 0
  offset = 0
  memory = NO_MEMORY
  memoryOffset = 0
  opFlags = 0
  quietResult = NEVER_QUIET
  more: MoreFields | undefined = undefined
  slot = -1
  urgent = false
  stamps: Stamps | undefined = undefined
  settle: (result: number, flags: number) => void = ignore
  collect: ((result: number, flags: number) => void) | undefined = undefined

  constructor(opcode: number) {
    this.opcode = opcode
  }
}

function ignore(): void {}

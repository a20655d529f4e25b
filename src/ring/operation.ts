import { NEVER_QUIET, NO_MEMORY } from './abi.ts'

/** One request to the kernel, as plain numbers, and who is told of its completion. */
export class Operation {
  readonly opcode: number
  /** IOSQE_* */
  sqeFlags = 0
  ioprio = 0
  fd = -1
  /** The SQE's `len`: bytes, a count, a mode, by the opcode. */
  length = 0
  /** The SQE's `off`, where that is a number. */
  offset = 0
  /** `NativeMemory.id`, or NO_MEMORY: then `memoryOffset` is a number of the opcode's own. */
  memory = NO_MEMORY
  memoryOffset = 0
  /** rw_flags, fsync_flags, …: the SQE's field is chosen by the opcode. */
  opFlags = 0
  /** A completion with just this result need not wake JavaScript; NEVER_QUIET otherwise. */
  quietResult = NEVER_QUIET
  secondMemory = NO_MEMORY
  secondMemoryOffset = 0
  /** splice_fd_in */
  otherFd = 0
  bufferGroup = 0

  /** @internal Its place in the ring while the kernel has it, else -1. */
  slot = -1
  /** @internal Milliseconds (`performance.now`), of a ring that measures. */
  pushedAt = 0
  submittedAt = 0
  /** @internal What the queue read of the completion, until {@link settle} is called with it. */
  result = 0
  flags = 0
  /** @internal Somebody blocks the thread for it: it is told before all others. */
  urgent = false

  constructor(opcode: number) {
    this.opcode = opcode
  }

  /**
   * Called once, when it has completed for good: `result` is >= 0, or a negative errno. An exception
   * becomes an uncaughtException.
   */
  settle(_result: number, _flags: number): void {}

  /**
   * Called for each completion that is read, before others are told of theirs and before a provided
   * buffer goes back to the kernel.
   */
  collect?(result: number, flags: number): void
}

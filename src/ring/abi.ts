/**
 * Numbers of the io_uring ABI, as in the kernel's include/uapi/linux/io_uring.h. They are part of the
 * kernel's stable interface and never change.
 */

export const IORING_OP_NOP = 0
export const IORING_OP_FSYNC = 3
export const IORING_OP_READ = 22
export const IORING_OP_WRITE = 23

export const IOSQE_IO_DRAIN = 1 << 1
export const IOSQE_IO_LINK = 1 << 2

export const IORING_FSYNC_DATASYNC = 1

export const IORING_SETUP_COOP_TASKRUN = 1 << 8
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12

/** The request that JavaScript writes and native/core/ring.h reads (`struct Request`), 64 bytes. */
export const REQUEST_BYTES = 64
/** The completion that native code writes (`struct Completion`), 16 bytes. */
export const COMPLETION_BYTES = 16

/** No memory belongs to the request. */
export const NO_MEMORY = -1
/** Every completion of the request wakes JavaScript. */
export const NEVER_QUIET = -1

export const OPERATION_NAMES: Record<number, string> = {
  [IORING_OP_NOP]: 'nop',
  [IORING_OP_FSYNC]: 'fsync',
  [IORING_OP_READ]: 'read',
  [IORING_OP_WRITE]: 'write',
}

/**
 * Numbers of the io_uring ABI, as in the kernel's include/uapi/linux/io_uring.h, and of the calls
 * around it. They are part of the kernel's stable interface and never change.
 */

export const IORING_OP_NOP = 0
export const IORING_OP_READV = 1
export const IORING_OP_WRITEV = 2
export const IORING_OP_FSYNC = 3
export const IORING_OP_READ_FIXED = 4
export const IORING_OP_WRITE_FIXED = 5
export const IORING_OP_POLL_ADD = 6
export const IORING_OP_SYNC_FILE_RANGE = 8
export const IORING_OP_SENDMSG = 9
export const IORING_OP_RECVMSG = 10
export const IORING_OP_TIMEOUT = 11
export const IORING_OP_ACCEPT = 13
export const IORING_OP_ASYNC_CANCEL = 14
export const IORING_OP_LINK_TIMEOUT = 15
export const IORING_OP_CONNECT = 16
export const IORING_OP_FALLOCATE = 17
export const IORING_OP_OPENAT = 18
export const IORING_OP_CLOSE = 19
export const IORING_OP_STATX = 21
export const IORING_OP_READ = 22
export const IORING_OP_WRITE = 23
export const IORING_OP_FADVISE = 24
export const IORING_OP_MADVISE = 25
export const IORING_OP_SEND = 26
export const IORING_OP_RECV = 27
export const IORING_OP_SPLICE = 30
export const IORING_OP_TEE = 33
export const IORING_OP_SHUTDOWN = 34
export const IORING_OP_RENAMEAT = 35
export const IORING_OP_UNLINKAT = 36
export const IORING_OP_MKDIRAT = 37
export const IORING_OP_SYMLINKAT = 38
export const IORING_OP_LINKAT = 39
export const IORING_OP_MSG_RING = 40
export const IORING_OP_SOCKET = 45
export const IORING_OP_FTRUNCATE = 55
export const IORING_OP_BIND = 56
export const IORING_OP_LISTEN = 57

/** What errors, probe and profile call an operation; the methods of `Ring` have these names. */
export const OPERATION_NAMES: Readonly<Record<number, string>> = {
  [IORING_OP_NOP]: 'nop',
  [IORING_OP_READV]: 'readv',
  [IORING_OP_WRITEV]: 'writev',
  [IORING_OP_FSYNC]: 'fsync',
  [IORING_OP_POLL_ADD]: 'poll',
  [IORING_OP_SYNC_FILE_RANGE]: 'sync_file_range',
  [IORING_OP_SENDMSG]: 'sendmsg',
  [IORING_OP_RECVMSG]: 'recvmsg',
  [IORING_OP_TIMEOUT]: 'timeout',
  [IORING_OP_ACCEPT]: 'accept',
  [IORING_OP_ASYNC_CANCEL]: 'cancel',
  [IORING_OP_LINK_TIMEOUT]: 'link_timeout',
  [IORING_OP_CONNECT]: 'connect',
  [IORING_OP_FALLOCATE]: 'fallocate',
  [IORING_OP_OPENAT]: 'openat',
  [IORING_OP_CLOSE]: 'close',
  [IORING_OP_STATX]: 'statx',
  [IORING_OP_READ]: 'read',
  [IORING_OP_WRITE]: 'write',
  [IORING_OP_FADVISE]: 'fadvise',
  [IORING_OP_MADVISE]: 'madvise',
  [IORING_OP_SEND]: 'send',
  [IORING_OP_RECV]: 'recv',
  [IORING_OP_SPLICE]: 'splice',
  [IORING_OP_TEE]: 'tee',
  [IORING_OP_SHUTDOWN]: 'shutdown',
  [IORING_OP_RENAMEAT]: 'renameat',
  [IORING_OP_UNLINKAT]: 'unlinkat',
  [IORING_OP_MKDIRAT]: 'mkdirat',
  [IORING_OP_SYMLINKAT]: 'symlinkat',
  [IORING_OP_LINKAT]: 'linkat',
  [IORING_OP_MSG_RING]: 'msg_ring',
  [IORING_OP_SOCKET]: 'socket',
  [IORING_OP_FTRUNCATE]: 'ftruncate',
  [IORING_OP_BIND]: 'bind',
  [IORING_OP_LISTEN]: 'listen',
}

/** The kernel that brought an operation, where it is younger than the oldest we run on (5.10). */
export const OPERATION_SINCE: Readonly<Record<number, string>> = {
  [IORING_OP_SHUTDOWN]: '5.11',
  [IORING_OP_RENAMEAT]: '5.11',
  [IORING_OP_UNLINKAT]: '5.11',
  [IORING_OP_MKDIRAT]: '5.15',
  [IORING_OP_SYMLINKAT]: '5.15',
  [IORING_OP_LINKAT]: '5.15',
  [IORING_OP_MSG_RING]: '5.18',
  [IORING_OP_SOCKET]: '5.19',
  [IORING_OP_FTRUNCATE]: '6.9',
  [IORING_OP_BIND]: '6.11',
  [IORING_OP_LISTEN]: '6.11',
}

export const IOSQE_FIXED_FILE = 1 << 0
export const IOSQE_IO_DRAIN = 1 << 1
export const IOSQE_IO_LINK = 1 << 2
export const IOSQE_IO_HARDLINK = 1 << 3
export const IOSQE_ASYNC = 1 << 4
export const IOSQE_BUFFER_SELECT = 1 << 5

export const IORING_CQE_F_BUFFER = 1 << 0
export const IORING_CQE_F_MORE = 1 << 1
export const IORING_CQE_BUFFER_SHIFT = 16

/** Of a write's rw_flags: durable when it completes (pwritev2(2); include/uapi/linux/fs.h). */
export const RWF_DSYNC = 2

export const IORING_FSYNC_DATASYNC = 1
export const IORING_POLL_ADD_MULTI = 1 << 0
export const IORING_RECV_MULTISHOT = 1 << 1 // in ioprio, 6.0
export const IORING_ACCEPT_MULTISHOT = 1 << 0 // in ioprio, 5.19
export const IORING_ASYNC_CANCEL_ALL = 1 << 0 // 5.19
export const IORING_ASYNC_CANCEL_FD = 1 << 1 // 5.19
export const IORING_ASYNC_CANCEL_ANY = 1 << 2 // 5.19
export const IORING_ASYNC_CANCEL_FD_FIXED = 1 << 3 // 6.0

export const IORING_SETUP_IOPOLL = 1 << 0
export const IORING_SETUP_SQPOLL = 1 << 1
export const IORING_SETUP_SQ_AFF = 1 << 2
export const IORING_SETUP_CLAMP = 1 << 4
export const IORING_SETUP_SUBMIT_ALL = 1 << 7
export const IORING_SETUP_COOP_TASKRUN = 1 << 8
export const IORING_SETUP_TASKRUN_FLAG = 1 << 9
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12
export const IORING_SETUP_HYBRID_IOPOLL = 1 << 17

export const AT_FDCWD = -100
export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const AT_EMPTY_PATH = 0x1000

/** Flags of one read or write (preadv2(2)), for the option `rwFlags`. */
export const RWF = {
  HIPRI: 1,
  /** The write is durable, with what metadata it takes to read it, when it completes. */
  DSYNC: 2,
  SYNC: 4,
  /** EAGAIN rather than wait. */
  NOWAIT: 8,
  APPEND: 16,
} as const

/** For `syncFileRange` (sync_file_range(2)). */
export const SYNC_FILE_RANGE = { WAIT_BEFORE: 1, WRITE: 2, WAIT_AFTER: 4 } as const

/** For `fallocate` (fallocate(2)). */
export const FALLOC = {
  KEEP_SIZE: 1,
  PUNCH_HOLE: 2,
  COLLAPSE_RANGE: 8,
  ZERO_RANGE: 16,
  INSERT_RANGE: 32,
} as const

/** For `poll` (poll(2)). */
export const POLL = { IN: 1, PRI: 2, OUT: 4, ERR: 8, HUP: 16, RDHUP: 0x2000 } as const

/** For `send` and `recv` (send(2), recv(2)). */
export const MSG = {
  PEEK: 2,
  TRUNC: 0x20,
  DONTWAIT: 0x40,
  WAITALL: 0x100,
  NOSIGNAL: 0x4000,
  MORE: 0x8000,
} as const

/** The request that JavaScript writes and native/core/request.h reads (`struct Request`). */
export const REQUEST_BYTES = 64
/** The completion that native code writes (`struct Completion`), 16 bytes. */
export const COMPLETION_BYTES = 16
/** `struct Segment` of native/core/request.h: a piece of a scattered read or write. */
export const SEGMENT_BYTES = 16
export const MAX_SEGMENTS = 1024
/** `struct MessageName` there: a socket address, and behind it its length and the message's flags. */
export const MESSAGE_NAME_BYTES = 136
export const ADDRESS_BYTES = 128

/** No memory belongs to the request. */
export const NO_MEMORY = -1
/** Every completion of the request wakes JavaScript. */
export const NEVER_QUIET = -1
/** In a completion instead of a slot: a message of another ring. */
export const MESSAGE_SLOT = -1

// Numbers of the io_uring ABI (the kernel's include/uapi/linux/io_uring.h), which never change.
// They stand here since the headers of an older distribution lack the newer ones; beside each that
// is younger than 5.10 stands the kernel that brought it.
#pragma once

#include <cstdint>

namespace riolog {

namespace op {
constexpr uint8_t kNop = 0;
constexpr uint8_t kReadv = 1;
constexpr uint8_t kWritev = 2;
constexpr uint8_t kFsync = 3;
constexpr uint8_t kReadFixed = 4;
constexpr uint8_t kWriteFixed = 5;
constexpr uint8_t kPollAdd = 6;
constexpr uint8_t kSyncFileRange = 8;
constexpr uint8_t kSendmsg = 9;
constexpr uint8_t kRecvmsg = 10;
constexpr uint8_t kTimeout = 11;
constexpr uint8_t kAccept = 13;
constexpr uint8_t kAsyncCancel = 14;
constexpr uint8_t kLinkTimeout = 15;
constexpr uint8_t kConnect = 16;
constexpr uint8_t kFallocate = 17;
constexpr uint8_t kOpenat = 18;
constexpr uint8_t kClose = 19;
constexpr uint8_t kStatx = 21;
constexpr uint8_t kRead = 22;
constexpr uint8_t kWrite = 23;
constexpr uint8_t kFadvise = 24;
constexpr uint8_t kMadvise = 25;
constexpr uint8_t kSend = 26;
constexpr uint8_t kRecv = 27;
constexpr uint8_t kSplice = 30;
constexpr uint8_t kTee = 33;
constexpr uint8_t kShutdown = 34;   // 5.11
constexpr uint8_t kRenameat = 35;   // 5.11
constexpr uint8_t kUnlinkat = 36;   // 5.11
constexpr uint8_t kMkdirat = 37;    // 5.15
constexpr uint8_t kSymlinkat = 38;  // 5.15
constexpr uint8_t kLinkat = 39;     // 5.15
constexpr uint8_t kMsgRing = 40;    // 5.18
constexpr uint8_t kSocket = 45;     // 5.19
constexpr uint8_t kFtruncate = 55;  // 6.9
constexpr uint8_t kBind = 56;       // 6.11
constexpr uint8_t kListen = 57;     // 6.11
}  // namespace op

namespace sqe {
constexpr uint8_t kFixedFile = 1 << 0;
constexpr uint8_t kDrain = 1 << 1;
constexpr uint8_t kLink = 1 << 2;
constexpr uint8_t kHardlink = 1 << 3;
constexpr uint8_t kAsync = 1 << 4;
constexpr uint8_t kBufferSelect = 1 << 5;
}  // namespace sqe

namespace cqe {
constexpr uint32_t kBuffer = 1 << 0;  // the upper 16 bits of the flags name a provided buffer
constexpr uint32_t kMore = 1 << 1;    // the request lives on and will complete again (5.13)
constexpr uint32_t kBufferShift = 16;
}  // namespace cqe

namespace setup {
constexpr uint32_t kIoPoll = 1U << 0;
constexpr uint32_t kSqPoll = 1U << 1;
constexpr uint32_t kSqAffinity = 1U << 2;
constexpr uint32_t kCqSize = 1U << 3;
constexpr uint32_t kClamp = 1U << 4;
constexpr uint32_t kSubmitAll = 1U << 7;      // 5.18: a bad SQE does not stop those behind it
constexpr uint32_t kCoopTaskrun = 1U << 8;    // 5.19: no interrupt for task work
constexpr uint32_t kTaskrunFlag = 1U << 9;    // 5.19: sqflag::kTaskrun tells of it
constexpr uint32_t kSingleIssuer = 1U << 12;  // 6.0: only this thread submits
}  // namespace setup

namespace feature {
constexpr uint32_t kSingleMmap = 1U << 0;
constexpr uint32_t kNoDrop = 1U << 1;
constexpr uint32_t kExtArg = 1U << 8;  // 5.11: a time limit for io_uring_enter
}  // namespace feature

namespace sqflag {
constexpr uint32_t kNeedWakeup = 1U << 0;
constexpr uint32_t kCqOverflow = 1U << 1;
constexpr uint32_t kTaskrun = 1U << 2;  // 5.19
}  // namespace sqflag

namespace enter {
constexpr uint32_t kGetEvents = 1U << 0;
constexpr uint32_t kSqWakeup = 1U << 1;
constexpr uint32_t kSqWait = 1U << 2;
constexpr uint32_t kExtArg = 1U << 3;
}  // namespace enter

namespace reg {
constexpr uint32_t kFiles = 2;
constexpr uint32_t kFilesUpdate = 6;
constexpr uint32_t kProbe = 8;
constexpr uint32_t kBuffers2 = 15;       // 5.13
constexpr uint32_t kBuffersUpdate = 16;  // 5.13
constexpr uint32_t kPbufRing = 22;       // 5.19
constexpr uint32_t kUnregisterPbufRing = 23;
constexpr uint32_t kSyncCancel = 24;       // 6.0
constexpr uint32_t kRsrcSparse = 1U << 0;  // 5.19
}  // namespace reg

// What the register calls read. All are little blocks of plain numbers and addresses.
struct RegisterResources {  // io_uring_rsrc_register
  uint32_t count;
  uint32_t flags;
  uint64_t reserved2;
  uint64_t data;
  uint64_t tags;
};
static_assert(sizeof(RegisterResources) == 32);

struct UpdateResources {  // io_uring_rsrc_update2
  uint32_t offset;
  uint32_t reserved;
  uint64_t data;
  uint64_t tags;
  uint32_t count;
  uint32_t reserved2;
};
static_assert(sizeof(UpdateResources) == 32);

struct UpdateFiles {  // io_uring_files_update
  uint32_t offset;
  uint32_t reserved;
  uint64_t fds;
};
static_assert(sizeof(UpdateFiles) == 16);

struct RegisterBufferRing {  // io_uring_buf_reg
  uint64_t address;
  uint32_t entries;
  uint16_t group;
  uint16_t flags;
  uint64_t reserved[3];
};
static_assert(sizeof(RegisterBufferRing) == 40);

struct ProvidedBuffer {  // io_uring_buf; the tail of the ring lies over the first one's `tail`
  uint64_t address;
  uint32_t length;
  uint16_t id;
  uint16_t tail;
};
static_assert(sizeof(ProvidedBuffer) == 16);

struct WaitArgument {  // io_uring_getevents_arg
  uint64_t sigmask;
  uint32_t sigmaskBytes;
  uint32_t minWaitUs;
  uint64_t timespec;
};
static_assert(sizeof(WaitArgument) == 24);

// struct __kernel_timespec: 64-bit seconds on every architecture.
struct KernelTimespec {
  int64_t seconds;
  int64_t nanoseconds;
};
static_assert(sizeof(KernelTimespec) == 16);

struct SyncCancel {  // io_uring_sync_cancel_reg
  uint64_t userData;
  int32_t fd;
  uint32_t flags;
  KernelTimespec timeout;
  uint64_t reserved[4];
};
static_assert(sizeof(SyncCancel) == 64);

}  // namespace riolog

// An io_uring on raw system calls: setup, submission, completion, teardown (io_uring(7)).
//
// One ring belongs to one thread. It knows nothing of JavaScript: requests come in as plain
// structs, completions go out as plain structs, and who is told is the caller's business.
#pragma once

#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory.h"

namespace riolog {

// One operation, as JavaScript writes it into memory that it shares with native code: addresses
// never appear here. Offsets are doubles since JavaScript's numbers are; all are safe integers.
struct Request {
  uint8_t opcode;    // IORING_OP_*
  uint8_t sqeFlags;  // IOSQE_IO_LINK, IOSQE_IO_DRAIN, ...
  uint16_t ioprio;
  int32_t fd;
  uint32_t slot;  // names the operation until it has completed
  uint32_t length;
  double fileOffset;
  double memoryOffset;
  int32_t memory;       // MemoryTable id, -1 for none
  uint32_t opFlags;     // rw_flags, fsync_flags, ...: the field of the SQE that the opcode reads
  int32_t quietResult;  // a completion with just this result wakes nobody; kNeverQuiet: each does
  uint32_t reserved[5];
};
static_assert(sizeof(Request) == 64);

constexpr int32_t kNeverQuiet = -1;
constexpr int32_t kNoMemory = -1;

struct Completion {
  uint32_t slot;
  int32_t result;  // as the CQE has it: >= 0, or a negative errno
  uint32_t flags;  // IORING_CQE_F_*
  uint32_t reserved;
};
static_assert(sizeof(Completion) == 16);

struct RingConfig {
  uint32_t entries = 256;
  uint32_t cqEntries = 512;
};

// Why a ring could not be had: the system call that refused, and its errno.
struct RingFailure {
  const char* syscall;
  int error;
};

enum class StageStatus : int32_t {
  kTaken = 0,
  kNoRoom,     // fewer free SQEs than requests: reap and flush first
  kBadSlot,    // out of range, or of an operation that has not completed
  kBadOpcode,  // not one that this ring knows how to fill in, or not in the kernel's probe
  kBadMemory,  // no such memory, or the range leaves it
  kBadOffset,
  kBadFlags,
  kDanglingChain,  // the last request links to one that is not there
};

class Ring {
 public:
  // Opens a ring with the best flags that this kernel knows. nullptr on failure, with `failure`
  // set.
  static Ring* open(const RingConfig& config, RingFailure* failure);

  // Frees everything. With operations in flight the memory they use, and the ring's own mappings,
  // are leaked instead: closing the fd does not stop the kernel from writing to them.
  ~Ring();

  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Takes all requests or none. Each becomes an SQE, and an owner of its memory.
  StageStatus stage(const Request* requests, size_t count, const MemoryTable& memories) noexcept;

  // Hands everything staged to the kernel. 0, or the errno with which io_uring_enter(2) refused:
  // EAGAIN and EBUSY mean that what is left stays staged, to be flushed again after a reap.
  int flush() noexcept;

  // Moves completions into `out`. `wake` is set when one of them is not quiet.
  size_t reap(Completion* out, size_t capacity, bool* wake) noexcept;

  // Cancels what can be cancelled and waits until nothing is in flight; false after `milliseconds`.
  bool drain(int milliseconds) noexcept;

  int fd() const noexcept { return fd_; }
  size_t inFlight() const noexcept { return inFlight_; }
  bool hasUnflushed() const noexcept;
  uint32_t entries() const noexcept { return sqEntries_; }
  uint32_t cqEntries() const noexcept { return cqEntries_; }
  uint32_t setupFlags() const noexcept { return setupFlags_; }
  uint32_t features() const noexcept { return features_; }
  bool supports(uint8_t opcode) const noexcept;
  // CQEs that the kernel had to drop since the CQ was full (io_uring(7)); 0 for ever, by our cap.
  uint32_t kernelOverflowCount() const noexcept;

  // Keeps a copy of each SQE that the kernel has taken, and of the enter call that it went with.
  struct Traced {
    uint64_t enterCall;
    uint64_t offset;
    uint64_t address;
    uint32_t length;
    uint32_t opFlags;
    int32_t fd;
    uint8_t opcode;
    uint8_t flags;
  };
  void setTracing(bool on) { tracing_ = on; }
  const std::vector<Traced>& trace() const noexcept { return trace_; }
  void clearTrace() noexcept { trace_.clear(); }

 private:
  struct Slot {
    Memory* memory = nullptr;
    uint32_t generation = 0;
    int32_t quietResult = kNeverQuiet;
    bool busy = false;
    bool cut = false;  // its chain was cut by the kernel: it settles as ECANCELED
  };

  // io_uring_enter(2), so that a test can answer as a kernel does that runs short of memory.
  using EnterCall = long (*)(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags);
  friend struct RingTestAccess;

  Ring() = default;
  int map(const struct io_uring_params& params) noexcept;
  int probe() noexcept;
  StageStatus check(const Request& request, const MemoryTable& memories) const noexcept;
  void fill(const Request& request, const MemoryTable& memories) noexcept;
  int enter(uint32_t toSubmit, uint32_t minComplete, uint32_t flags) noexcept;
  void dropRestOfChain(uint32_t head, uint32_t tail) noexcept;
  static long sysEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags) noexcept;
  void recordTrace(uint32_t head, uint32_t count);
  size_t cancelAll(size_t from) noexcept;
  uint32_t loadSqHead() const noexcept;
  uint64_t userData(uint32_t slot) const noexcept;

  EnterCall enterCall_ = sysEnter;
  int fd_ = -1;
  uint32_t setupFlags_ = 0;
  uint32_t features_ = 0;

  uint8_t* rings_ = nullptr;  // SQ and CQ share one mapping (IORING_FEAT_SINGLE_MMAP)
  size_t ringsBytes_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  size_t sqesBytes_ = 0;

  uint32_t* sqHead_ = nullptr;
  uint32_t* sqTail_ = nullptr;
  uint32_t* sqFlags_ = nullptr;
  uint32_t sqMask_ = 0;
  uint32_t sqEntries_ = 0;
  uint32_t localTail_ = 0;  // of the SQEs filled in

  uint32_t* cqHead_ = nullptr;
  uint32_t* cqTail_ = nullptr;
  uint32_t* cqOverflow_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  uint32_t cqMask_ = 0;
  uint32_t cqEntries_ = 0;

  std::vector<Slot> slots_;
  size_t inFlight_ = 0;
  uint8_t opFlags_[256] = {};
  bool tracing_ = false;
  uint64_t enterCalls_ = 0;
  std::vector<Traced> trace_;
};

}  // namespace riolog

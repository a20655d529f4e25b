// An io_uring on raw system calls: setup, submission, completion, teardown (io_uring(7)).
//
// One ring belongs to one thread. It knows nothing of JavaScript: requests come in as plain
// structs, completions go out as plain structs, and who is told is the caller's business.
#pragma once

#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "buffer_group.h"
#include "files.h"
#include "memory.h"
#include "request.h"

namespace riolog {

struct Completion {
  uint32_t slot;   // kMessageSlot: another ring's message
  int32_t result;  // as the CQE has it: >= 0, or a negative errno
  uint32_t flags;  // IORING_CQE_F_*; of a message, its data
  uint32_t reserved;
};
static_assert(sizeof(Completion) == 16);

constexpr uint32_t kMessageSlot = UINT32_MAX;

struct RingConfig {
  uint32_t entries = 256;
  uint32_t cqEntries = 512;
  // IORING_SETUP_*; kBestFlags: the best that this kernel knows, with sqPoll and ioPoll as below.
  uint32_t flags = kBestFlags;
  bool sqPoll = false;
  bool ioPoll = false;
  uint32_t sqThreadIdleMs = 0;  // 0: the kernel's default, a second
  int32_t sqThreadCpu = -1;     // -1: any

  static constexpr uint32_t kBestFlags = UINT32_MAX;
};

// Why a ring could not be had: the system call that refused, and its errno.
struct RingFailure {
  const char* syscall;
  int error;
};

class Ring {
 public:
  // Opens a ring; `files` becomes the owner of descriptors that operations yield, and outlives it.
  // nullptr on failure, with `failure` set.
  static Ring* open(const RingConfig& config, OpenFiles* files, RingFailure* failure);

  // Frees everything. With operations in flight the memory they use, and the ring's own mappings,
  // are leaked instead: closing the fd does not stop the kernel from writing to them.
  ~Ring();

  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Takes all requests or none. Each becomes an SQE, and an owner of its memory.
  StageStatus stage(const Request* requests, size_t count, const MemoryTable& memories) noexcept;

  // Hands everything staged to the kernel. 0, or the errno with which io_uring_enter(2) refused:
  // EAGAIN and EBUSY mean that what is left stays staged, to be flushed again after a reap. After
  // any other, what was staged completes with that errno.
  int flush() noexcept;

  // Moves completions into `out`, at most `mostReads` of reads. `wake` is set when one of them is
  // not quiet, or when `out` or `mostReads` is reached.
  size_t reap(Completion* out, size_t capacity, bool* wake, size_t mostReads = SIZE_MAX) noexcept;

  // What the kernel has to do in this thread's name, and does when the thread enters it: begin an
  // operation that is linked behind one that is done, post a completion. One load where there is
  // nothing of the kind (IORING_SETUP_TASKRUN_FLAG, io_uring_setup(2)).
  void runTaskWork() noexcept;

  // Gives buffers back to the kernel that completions taken by reap named; the caller has copied
  // what it wants of them.
  void recycleBuffers() noexcept;

  // Asks for the operation of a slot to be cancelled. It completes all the same: with ECANCELED, or
  // as if it had not been asked.
  void cancel(uint32_t slot) noexcept;

  // Waits until the kernel has a completion to show; false after `milliseconds` (< 0: no limit).
  bool wait(int milliseconds) noexcept;

  // Cancels what can be cancelled and waits until nothing is in flight; false after `milliseconds`.
  bool drain(int milliseconds) noexcept;

  // Registered buffers (io_uring_register(2), IORING_REGISTER_BUFFERS2). Reads and writes in memory
  // that is registered use it by themselves. Each returns 0 or a negative errno, ENOMEM when the
  // limit of locked memory is reached; registerBuffer returns the index.
  int makeBufferTable(uint32_t count);
  int registerBuffer(Memory* memory);
  int unregisterBuffer(int index);

  // Registered files: 0 or a negative errno. fd -1 empties a place.
  int makeFileTable(uint32_t count);
  int setFile(uint32_t index, int fd) noexcept;

  // A group of provided buffers: its number, or a negative errno.
  int addBufferGroup(uint32_t count, uint32_t bytesEach);
  int removeBufferGroup(uint16_t group) noexcept;
  const BufferGroup* bufferGroup(uint16_t group) const noexcept;

  int fd() const noexcept { return fd_; }
  size_t inFlight() const noexcept { return inFlight_; }
  bool hasUnflushed() const noexcept;
  bool hasFailed() const noexcept { return !failed_.empty(); }
  bool hasCompletions() const noexcept;
  uint32_t entries() const noexcept { return sqEntries_; }
  uint32_t cqEntries() const noexcept { return cqEntries_; }
  // The most operations in flight: a few fewer than CQEs, which are kept for cancels.
  uint32_t slotCount() const noexcept { return slotCount_; }
  uint32_t setupFlags() const noexcept { return setupFlags_; }
  uint32_t features() const noexcept { return features_; }
  bool isPolled() const noexcept;
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
    uint16_t ioprio;
    uint8_t opcode;
    uint8_t flags;
  };
  void setTracing(bool on) { tracing_ = on; }
  const std::vector<Traced>& trace() const noexcept { return trace_; }
  void clearTrace() noexcept { trace_.clear(); }

 private:
  struct Slot {
    Holdings holdings;
    uint32_t generation = 0;
    int32_t quietResult = kNeverQuiet;
    int32_t ownedFd = -1;  // what a close takes from its owner, who gets it back if it never ran
    uint16_t bufferGroup = 0;
    bool busy = false;
    bool cut = false;  // its chain was cut by the kernel: it settles as ECANCELED
    bool yieldsFd = false;
    bool usesGroup = false;
    bool reads = false;
  };

  // io_uring_enter(2), so that a test can answer as a kernel does that runs short of memory.
  using EnterCall = long (*)(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                             const void* argument, size_t argumentBytes);
  friend struct RingTestAccess;

  Ring() = default;
  int map(const struct io_uring_params& params) noexcept;
  int probe() noexcept;
  StageStatus check(const Request& request, const MemoryTable& memories) const noexcept;
  void fill(const Request& request, const MemoryTable& memories) noexcept;
  int enter(uint32_t toSubmit, uint32_t minComplete, uint32_t flags) noexcept;
  int flushToThread() noexcept;
  bool makeRoom(size_t count) noexcept;
  void dropRestOfChain(uint32_t head, uint32_t tail) noexcept;
  void failStaged(uint32_t head, int error) noexcept;
  Completion finish(uint32_t index, int32_t result, uint32_t flags, bool* wake) noexcept;
  void useRegisteredBuffer(const Request& request, const MemoryTable& memories,
                           io_uring_sqe* sqe) const noexcept;
  static long sysEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                       const void* argument, size_t argumentBytes) noexcept;
  void recordTrace(uint32_t head, uint32_t count);
  bool cancelNow(uint64_t userData) noexcept;
  bool stageCancel(uint64_t userData) noexcept;
  void stagePendingCancels() noexcept;
  void sendPendingCancels() noexcept;
  void cancelEverything() noexcept;
  uint32_t loadSqHead() const noexcept;
  uint64_t userData(uint32_t slot) const noexcept;

  EnterCall enterCall_ = sysEnter;
  OpenFiles* files_ = nullptr;
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
  uint32_t tracedTail_ = 0;

  uint32_t* cqHead_ = nullptr;
  uint32_t* cqTail_ = nullptr;
  uint32_t* cqOverflow_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  uint32_t cqMask_ = 0;
  uint32_t cqEntries_ = 0;

  std::unique_ptr<Slot[]> slots_;
  uint32_t slotCount_ = 0;
  size_t inFlight_ = 0;
  // Operations that the kernel never took, with what became of them: told before its completions.
  std::vector<Completion> failed_;

  // user_data of operations to be cancelled once there is room; and cancels that the kernel has.
  std::vector<uint64_t> pendingCancels_;
  uint32_t cancelsInFlight_ = 0;
  bool hasSyncCancel_ = true;  // until the kernel says otherwise
  uint32_t maxCancelsInFlight_ = 0;

  std::vector<Memory*> buffers_;  // by index; nullptr where there is none
  std::unordered_map<const Memory*, uint16_t> bufferIndexes_;
  std::vector<std::unique_ptr<BufferGroup>> groups_;
  struct TakenBuffer {
    uint16_t group;
    uint16_t id;
  };
  std::vector<TakenBuffer> takenBuffers_;

  uint8_t opFlags_[256] = {};
  bool tracing_ = false;
  uint64_t enterCalls_ = 0;
  std::vector<Traced> trace_;
};

}  // namespace riolog

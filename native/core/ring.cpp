#include "ring.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>

namespace riolog {

namespace {

// Setup flags that the headers of an older distribution lack (include/uapi/linux/io_uring.h).
constexpr uint32_t kSetupClamp = 1U << 4;          // 5.6
constexpr uint32_t kSetupSubmitAll = 1U << 7;      // 5.18: a bad SQE does not stop those behind it
constexpr uint32_t kSetupCoopTaskrun = 1U << 8;    // 5.19: no interrupt for task work
constexpr uint32_t kSetupSingleIssuer = 1U << 12;  // 6.0: only this thread submits
constexpr uint32_t kSetupCqSize = 1U << 3;         // 5.5

constexpr uint32_t kSqCqOverflow = 1U << 1;

// user_data of our own cancel requests, whose completions concern nobody.
constexpr uint64_t kInternal = ~uint64_t{0};

int sysSetup(uint32_t entries, io_uring_params* params) noexcept {
  return static_cast<int>(syscall(__NR_io_uring_setup, entries, params));
}

uint32_t loadAcquire(const uint32_t* word) noexcept {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void storeRelease(uint32_t* word, uint32_t value) noexcept {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

int64_t nowMs() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

constexpr uint8_t kLinkFlags = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;
constexpr uint8_t kAllowedSqeFlags = kLinkFlags | IOSQE_IO_DRAIN | IOSQE_ASYNC;

bool isLinked(const io_uring_sqe& sqe) noexcept { return (sqe.flags & kLinkFlags) != 0; }

bool takesMemory(uint8_t opcode) noexcept {
  return opcode == IORING_OP_READ || opcode == IORING_OP_WRITE;
}

bool isKnown(uint8_t opcode) noexcept {
  return opcode == IORING_OP_NOP || opcode == IORING_OP_FSYNC || takesMemory(opcode);
}

bool isOffset(double value) noexcept {
  return value >= 0 && value <= 9007199254740991.0 && std::floor(value) == value;
}

}  // namespace

Ring* Ring::open(const RingConfig& config, RingFailure* failure) {
  // Newest first: a kernel that does not know a flag answers EINVAL.
  constexpr uint32_t kTries[] = {
      kSetupSubmitAll | kSetupCoopTaskrun | kSetupSingleIssuer,
      kSetupSubmitAll | kSetupCoopTaskrun,
      kSetupSubmitAll,
      0,
  };
  std::unique_ptr<Ring> ring(new Ring());
  io_uring_params params{};
  int fd = -1;
  for (const uint32_t flags : kTries) {
    params = {};
    params.flags = flags | kSetupCqSize | kSetupClamp;
    params.cq_entries = config.cqEntries;
    fd = sysSetup(config.entries, &params);
    if (fd >= 0 || errno != EINVAL) break;
  }
  if (fd < 0) {
    *failure = {"io_uring_setup", errno};
    return nullptr;
  }
  ring->fd_ = fd;
  ring->setupFlags_ = params.flags;
  ring->features_ = params.features;
  // Both features are older than the oldest kernel that riolog runs its ring on (5.10).
  constexpr uint32_t kNeeded = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP;
  if ((params.features & kNeeded) != kNeeded) {
    *failure = {"io_uring_setup", ENOSYS};
    return nullptr;
  }
  if (const int error = ring->map(params); error != 0) {
    *failure = {"mmap", error};
    return nullptr;
  }
  if (const int error = ring->probe(); error != 0) {
    *failure = {"io_uring_register", error};
    return nullptr;
  }
  ring->slots_.resize(ring->cqEntries_);
  return ring.release();
}

int Ring::map(const io_uring_params& params) noexcept {
  const size_t sqBytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
  const size_t cqBytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  ringsBytes_ = sqBytes > cqBytes ? sqBytes : cqBytes;
  void* rings = mmap(nullptr, ringsBytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                     IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return errno;
  rings_ = static_cast<uint8_t*>(rings);

  sqesBytes_ = params.sq_entries * sizeof(io_uring_sqe);
  void* sqes = mmap(nullptr, sqesBytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                    IORING_OFF_SQES);
  if (sqes == MAP_FAILED) return errno;
  sqes_ = static_cast<io_uring_sqe*>(sqes);

  const auto word = [this](uint32_t offset) {
    return reinterpret_cast<uint32_t*>(rings_ + offset);
  };
  sqHead_ = word(params.sq_off.head);
  sqTail_ = word(params.sq_off.tail);
  sqFlags_ = word(params.sq_off.flags);
  sqMask_ = *word(params.sq_off.ring_mask);
  sqEntries_ = params.sq_entries;
  localTail_ = *sqTail_;
  // SQE i always stands at index i, so the indirection array is filled in once.
  uint32_t* array = word(params.sq_off.array);
  for (uint32_t i = 0; i < sqEntries_; i++) array[i] = i;

  cqHead_ = word(params.cq_off.head);
  cqTail_ = word(params.cq_off.tail);
  cqOverflow_ = word(params.cq_off.overflow);
  cqMask_ = *word(params.cq_off.ring_mask);
  cqEntries_ = params.cq_entries;
  cqes_ = reinterpret_cast<io_uring_cqe*>(rings_ + params.cq_off.cqes);
  return 0;
}

int Ring::probe() noexcept {
  constexpr size_t kOps = 256;
  constexpr size_t kBytes = sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op);
  alignas(io_uring_probe) uint8_t bytes[kBytes] = {};
  if (syscall(__NR_io_uring_register, fd_, IORING_REGISTER_PROBE, bytes, kOps) < 0) return errno;
  io_uring_probe head;
  std::memcpy(&head, bytes, sizeof head);
  for (size_t i = 0; i < head.ops_len; i++) {
    io_uring_probe_op op;
    std::memcpy(&op, bytes + sizeof(io_uring_probe) + i * sizeof op, sizeof op);
    opFlags_[op.op] = static_cast<uint8_t>(op.flags);
  }
  return 0;
}

bool Ring::supports(uint8_t opcode) const noexcept {
  return (opFlags_[opcode] & IO_URING_OP_SUPPORTED) != 0;
}

uint32_t Ring::kernelOverflowCount() const noexcept { return loadAcquire(cqOverflow_); }

uint32_t Ring::loadSqHead() const noexcept { return loadAcquire(sqHead_); }

bool Ring::hasUnflushed() const noexcept { return loadSqHead() != localTail_; }

uint64_t Ring::userData(uint32_t slot) const noexcept {
  return (uint64_t{slots_[slot].generation} << 32) | slot;
}

StageStatus Ring::check(const Request& request, const MemoryTable& memories) const noexcept {
  if (request.slot >= slots_.size() || slots_[request.slot].busy) return StageStatus::kBadSlot;
  if (!isKnown(request.opcode) || !supports(request.opcode)) return StageStatus::kBadOpcode;
  if ((request.sqeFlags & ~kAllowedSqeFlags) != 0) return StageStatus::kBadFlags;
  if (!isOffset(request.fileOffset) || !isOffset(request.memoryOffset)) {
    return StageStatus::kBadOffset;
  }
  if (!takesMemory(request.opcode)) return StageStatus::kTaken;
  const Memory* memory = memories.find(request.memory);
  if (memory == nullptr) return StageStatus::kBadMemory;
  const auto offset = static_cast<uint64_t>(request.memoryOffset);
  if (offset > memory->size() || request.length > memory->size() - offset) {
    return StageStatus::kBadMemory;
  }
  return StageStatus::kTaken;
}

void Ring::fill(const Request& request, const MemoryTable& memories) noexcept {
  Slot& slot = slots_[request.slot];
  slot.cut = false;
  slot.generation++;
  slot.quietResult = request.quietResult;
  slot.memory = nullptr;
  inFlight_++;

  io_uring_sqe& sqe = sqes_[localTail_ & sqMask_];
  std::memset(&sqe, 0, sizeof sqe);
  sqe.opcode = request.opcode;
  sqe.flags = request.sqeFlags;
  sqe.ioprio = request.ioprio;
  sqe.fd = request.fd;
  sqe.user_data = userData(request.slot);
  if (takesMemory(request.opcode)) {
    Memory* memory = memories.find(request.memory);
    memory->retain();
    slot.memory = memory;
    sqe.addr =
        reinterpret_cast<uint64_t>(memory->data()) + static_cast<uint64_t>(request.memoryOffset);
    sqe.len = request.length;
    sqe.off = static_cast<uint64_t>(request.fileOffset);
    sqe.rw_flags = static_cast<decltype(sqe.rw_flags)>(request.opFlags);
  } else if (request.opcode == IORING_OP_FSYNC) {
    // fsync_flags, not sqe.flags: there the same bit would mean IOSQE_FIXED_FILE.
    sqe.fsync_flags = request.opFlags;
  }
  localTail_++;
}

StageStatus Ring::stage(const Request* requests, size_t count,
                        const MemoryTable& memories) noexcept {
  if (count > sqEntries_ - (localTail_ - loadSqHead())) return StageStatus::kNoRoom;
  if (count > 0 && (requests[count - 1].sqeFlags & kLinkFlags) != 0) {
    return StageStatus::kDanglingChain;
  }
  StageStatus status = StageStatus::kTaken;
  size_t checked = 0;
  for (; checked < count; checked++) {
    status = check(requests[checked], memories);
    if (status != StageStatus::kTaken) break;
    slots_[requests[checked].slot].busy = true;  // so that naming a slot twice is found
  }
  if (status != StageStatus::kTaken) {
    for (size_t i = 0; i < checked; i++) slots_[requests[i].slot].busy = false;
    return status;
  }
  for (size_t i = 0; i < count; i++) fill(requests[i], memories);
  return StageStatus::kTaken;
}

long Ring::sysEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags) noexcept {
  return syscall(__NR_io_uring_enter, fd, toSubmit, minComplete, flags, nullptr, 0);
}

int Ring::enter(uint32_t toSubmit, uint32_t minComplete, uint32_t flags) noexcept {
  for (;;) {
    const long n = enterCall_(fd_, toSubmit, minComplete, flags);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EINTR) return -errno;
  }
}

void Ring::recordTrace(uint32_t head, uint32_t count) {
  enterCalls_++;
  for (uint32_t i = 0; i < count; i++) {
    const io_uring_sqe& sqe = sqes_[(head + i) & sqMask_];
    trace_.push_back(
        {enterCalls_, sqe.off, sqe.addr, sqe.len, sqe.fsync_flags, sqe.fd, sqe.opcode, sqe.flags});
  }
}

int Ring::flush() noexcept {
  storeRelease(sqTail_, localTail_);
  for (;;) {
    const uint32_t head = loadSqHead();
    const uint32_t pending = localTail_ - head;
    if (pending == 0) return 0;
    const int n = enter(pending, 0, 0);
    if (n < 0) return -n;
    if (n == 0) return EAGAIN;
    if (tracing_) recordTrace(head, static_cast<uint32_t>(n));
    if (static_cast<uint32_t>(n) < pending && isLinked(sqes_[(head + n - 1) & sqMask_])) {
      // The kernel ran out of memory in mid-chain and has let the first part go as a chain of its
      // own (io_submit_sqes in io_uring/io_uring.c). The rest must not run on its own: an fsync
      // without its write would report durable what is not.
      dropRestOfChain(head + static_cast<uint32_t>(n), localTail_);
    }
  }
}

void Ring::dropRestOfChain(uint32_t head, uint32_t tail) noexcept {
  for (uint32_t i = head; i != tail; i++) {
    io_uring_sqe& sqe = sqes_[i & sqMask_];
    const bool more = isLinked(sqe);
    const uint64_t data = sqe.user_data;
    if (data != kInternal) slots_[static_cast<uint32_t>(data)].cut = true;
    std::memset(&sqe, 0, sizeof sqe);
    sqe.opcode = IORING_OP_NOP;
    sqe.user_data = data;
    if (!more) return;
  }
}

size_t Ring::reap(Completion* out, size_t capacity, bool* wake) noexcept {
  *wake = false;
  if ((loadAcquire(sqFlags_) & kSqCqOverflow) != 0) enter(0, 0, IORING_ENTER_GETEVENTS);
  uint32_t head = *cqHead_;
  const uint32_t tail = loadAcquire(cqTail_);
  size_t count = 0;
  while (head != tail && count < capacity) {
    const io_uring_cqe& cqe = cqes_[head & cqMask_];
    const auto index = static_cast<uint32_t>(cqe.user_data);
    const bool known = cqe.user_data != kInternal && index < slots_.size() && slots_[index].busy &&
                       userData(index) == cqe.user_data;
    if (known) {
      Slot& slot = slots_[index];
      const int32_t result = slot.cut ? -ECANCELED : cqe.res;
      if (slot.quietResult == kNeverQuiet || slot.quietResult != result) *wake = true;
      out[count++] = {index, result, cqe.flags, 0};
      slot.busy = false;
      if (slot.memory != nullptr) slot.memory->release();
      slot.memory = nullptr;
      inFlight_--;
    }
    head++;
  }
  storeRelease(cqHead_, head);
  return count;
}

size_t Ring::cancelAll(size_t from) noexcept {
  size_t index = from;
  for (; index < slots_.size(); index++) {
    if (!slots_[index].busy) continue;
    if (localTail_ - loadSqHead() == sqEntries_) break;
    io_uring_sqe& sqe = sqes_[localTail_ & sqMask_];
    std::memset(&sqe, 0, sizeof sqe);
    sqe.opcode = IORING_OP_ASYNC_CANCEL;
    sqe.fd = -1;
    sqe.addr = userData(static_cast<uint32_t>(index));
    sqe.user_data = kInternal;
    localTail_++;
  }
  return index;
}

bool Ring::drain(int milliseconds) noexcept {
  const int64_t deadline = nowMs() + milliseconds;
  Completion ignored[64];
  bool wake = false;
  size_t cancelFrom = 0;
  while (inFlight_ > 0) {
    flush();
    // From the start again and again: an operation that waits behind another of its chain cannot be
    // cancelled before that one is done.
    if (cancelFrom == slots_.size()) cancelFrom = 0;
    cancelFrom = cancelAll(cancelFrom);
    flush();
    while (reap(ignored, 64, &wake) > 0) {
    }
    if (inFlight_ == 0) break;
    const int64_t left = deadline - nowMs();
    if (left <= 0) return false;
    // Short naps: an internal cancel's completion can end the wait without ending an operation.
    pollfd waiting{fd_, POLLIN, 0};
    poll(&waiting, 1, static_cast<int>(left < 50 ? left : 50));
  }
  return true;
}

Ring::~Ring() {
  const bool safeToFree = inFlight_ == 0;
  if (safeToFree) {
    if (sqes_ != nullptr) munmap(sqes_, sqesBytes_);
    if (rings_ != nullptr) munmap(rings_, ringsBytes_);
  }
  if (fd_ >= 0) close(fd_);
}

}  // namespace riolog

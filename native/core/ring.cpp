#include "ring.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

#include "uring_abi.h"

namespace riolog {

namespace {

// user_data of our own cancel requests, whose completions concern nobody.
constexpr uint64_t kInternal = ~uint64_t{0};
// The upper half of the user_data that a message to another ring arrives with; the lower is its
// data.
constexpr uint32_t kMessageGeneration = UINT32_MAX - 1;

int sysSetup(uint32_t entries, io_uring_params* params) noexcept {
  return static_cast<int>(syscall(__NR_io_uring_setup, entries, params));
}

int sysRegister(int fd, uint32_t opcode, const void* argument, uint32_t count) noexcept {
  const long result = syscall(__NR_io_uring_register, fd, opcode, argument, count);
  return result < 0 ? -errno : static_cast<int>(result);
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

constexpr uint8_t kLinkFlags = sqe::kLink | sqe::kHardlink;

bool isLinked(const io_uring_sqe& sqe) noexcept { return (sqe.flags & kLinkFlags) != 0; }

// CQEs that are kept for cancels, of a CQ with so many.
uint32_t cancelReserve(uint32_t entries) noexcept { return std::clamp(entries / 4, 1U, 8U); }

int setUp(const RingConfig& config, io_uring_params* params) noexcept {
  // Newest first: a kernel that does not know a flag answers EINVAL. A ring with a kernel thread of
  // its own has no task work to be told of, and refuses COOP_TASKRUN.
  constexpr uint32_t kTries[] = {
      setup::kSubmitAll | setup::kCoopTaskrun | setup::kTaskrunFlag | setup::kSingleIssuer,
      setup::kSubmitAll | setup::kCoopTaskrun | setup::kTaskrunFlag,
      setup::kSubmitAll | setup::kSingleIssuer,
      setup::kSubmitAll,
      0,
  };
  const bool chosen = config.flags != RingConfig::kBestFlags;
  uint32_t always = setup::kCqSize | setup::kClamp;
  if (config.sqPoll) always |= setup::kSqPoll;
  if (config.ioPoll) always |= setup::kIoPoll;
  if (config.sqThreadCpu >= 0) always |= setup::kSqAffinity;
  for (const uint32_t flags : kTries) {
    if (!chosen && config.sqPoll && (flags & setup::kCoopTaskrun) != 0) continue;
    *params = {};
    params->flags = (chosen ? config.flags : flags) | always;
    params->cq_entries =
        std::max(config.cqEntries, config.entries + std::clamp(config.entries / 2, 1U, 8U));
    params->sq_thread_idle = config.sqThreadIdleMs;
    params->sq_thread_cpu = config.sqThreadCpu >= 0 ? static_cast<uint32_t>(config.sqThreadCpu) : 0;
    const int fd = sysSetup(config.entries, params);
    if (fd >= 0 || errno != EINVAL || chosen) return fd;
  }
  return -1;
}

}  // namespace

Ring* Ring::open(const RingConfig& config, OpenFiles* files, RingFailure* failure) {
  std::unique_ptr<Ring> ring(new Ring());
  io_uring_params params{};
  const int fd = setUp(config, &params);
  if (fd < 0) {
    *failure = {"io_uring_setup", errno};
    return nullptr;
  }
  ring->files_ = files;
  ring->fd_ = fd;
  ring->setupFlags_ = params.flags;
  ring->features_ = params.features;
  // Both features are older than the oldest kernel that riolog runs its ring on (5.10).
  constexpr uint32_t kNeeded = feature::kSingleMmap | feature::kNoDrop;
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
  ring->maxCancelsInFlight_ = cancelReserve(ring->cqEntries_);
  ring->slotCount_ = ring->cqEntries_ - ring->maxCancelsInFlight_;
  ring->slots_ = std::make_unique<Slot[]>(ring->slotCount_);
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
  tracedTail_ = localTail_;
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
  constexpr uint32_t kOps = 256;
  constexpr size_t kBytes = sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op);
  alignas(io_uring_probe) uint8_t bytes[kBytes] = {};
  if (const int error = sysRegister(fd_, reg::kProbe, bytes, kOps); error < 0) return -error;
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
  return (opFlags_[opcode] & IO_URING_OP_SUPPORTED) != 0 &&
         (!isPolled() || runsOnPolledRing(opcode));
}

bool Ring::isPolled() const noexcept { return (setupFlags_ & setup::kIoPoll) != 0; }

uint32_t Ring::kernelOverflowCount() const noexcept { return loadAcquire(cqOverflow_); }

uint32_t Ring::loadSqHead() const noexcept { return loadAcquire(sqHead_); }

bool Ring::hasUnflushed() const noexcept {
  // With a kernel thread that submits, what was flushed may stay in the queue for a while.
  if ((setupFlags_ & setup::kSqPoll) != 0) return *sqTail_ != localTail_;
  return loadSqHead() != localTail_;
}

bool Ring::hasCompletions() const noexcept {
  return !failed_.empty() || *cqHead_ != loadAcquire(cqTail_);
}

uint64_t Ring::userData(uint32_t slot) const noexcept {
  return (uint64_t{slots_[slot].generation} << 32) | slot;
}

// ---- submission ----

StageStatus Ring::check(const Request& request, const MemoryTable& memories) const noexcept {
  if (request.slot >= slotCount_ || slots_[request.slot].busy) return StageStatus::kBadSlot;
  if (!supports(request.opcode)) return StageStatus::kBadOpcode;
  const bool provided = (request.sqeFlags & sqe::kBufferSelect) != 0;
  if (provided && bufferGroup(request.bufferGroup) == nullptr) return StageStatus::kBadGroup;
  return checkRequest(request, memories);
}

void Ring::useRegisteredBuffer(const Request& request, const MemoryTable& memories,
                               io_uring_sqe* sqe) const noexcept {
  const bool read = request.opcode == op::kRead;
  if (bufferIndexes_.empty() || (!read && request.opcode != op::kWrite)) return;
  if ((request.sqeFlags & sqe::kBufferSelect) != 0 || request.length == 0) return;
  const auto found = bufferIndexes_.find(memories.find(request.memory));
  if (found == bufferIndexes_.end()) return;
  sqe->opcode = read ? op::kReadFixed : op::kWriteFixed;
  sqe->buf_index = found->second;
}

void Ring::fill(const Request& request, const MemoryTable& memories) noexcept {
  Slot& slot = slots_[request.slot];
  slot.cut = false;
  slot.generation = slot.generation + 1 < kMessageGeneration ? slot.generation + 1 : 0;
  slot.quietResult = request.quietResult;
  slot.yieldsFd = yieldsFd(request.opcode);
  slot.ownedFd = -1;
  slot.usesGroup = (request.sqeFlags & sqe::kBufferSelect) != 0;
  slot.reads = request.opcode == op::kRead;
  inFlight_++;

  io_uring_sqe& sqe = sqes_[localTail_ & sqMask_];
  fillSqe(request, memories, &sqe, &slot.holdings);
  sqe.user_data = userData(request.slot);
  useRegisteredBuffer(request, memories, &sqe);
  if (slot.usesGroup) {
    slot.bufferGroup = request.bufferGroup;
    slot.holdings.add(groups_[request.bufferGroup]->data());
  }
  if (request.opcode == op::kMsgRing) {
    sqe.off = (uint64_t{kMessageGeneration} << 32) | static_cast<uint32_t>(request.offset);
  }
  const bool closes = request.opcode == op::kClose && (request.sqeFlags & sqe::kFixedFile) == 0;
  if (closes && files_->disown(request.fd)) slot.ownedFd = request.fd;
  localTail_++;
}

bool Ring::makeRoom(size_t count) noexcept {
  if (count <= sqEntries_ - (localTail_ - loadSqHead())) return true;
  if ((setupFlags_ & setup::kSqPoll) == 0 || count > sqEntries_) return false;
  // The kernel's thread is behind: it takes what is there at once when it is awake.
  while (count > sqEntries_ - (localTail_ - loadSqHead())) {
    if (flush() != 0 || enter(0, 0, enter::kSqWait) < 0) return false;
  }
  return true;
}

StageStatus Ring::stage(const Request* requests, size_t count,
                        const MemoryTable& memories) noexcept {
  if (!makeRoom(count)) return StageStatus::kNoRoom;
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

long Ring::sysEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                    const void* argument, size_t argumentBytes) noexcept {
  return syscall(__NR_io_uring_enter, fd, toSubmit, minComplete, flags, argument, argumentBytes);
}

int Ring::enter(uint32_t toSubmit, uint32_t minComplete, uint32_t flags) noexcept {
  for (;;) {
    const long n = enterCall_(fd_, toSubmit, minComplete, flags, nullptr, 0);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EINTR) return -errno;
  }
}

void Ring::recordTrace(uint32_t head, uint32_t count) {
  enterCalls_++;
  for (uint32_t i = 0; i < count; i++) {
    const io_uring_sqe& sqe = sqes_[(head + i) & sqMask_];
    trace_.push_back({enterCalls_, sqe.off, sqe.addr, sqe.len, sqe.fsync_flags, sqe.fd, sqe.ioprio,
                      sqe.opcode, sqe.flags});
  }
}

int Ring::flush() noexcept {
  if ((setupFlags_ & setup::kSqPoll) != 0) return flushToThread();
  storeRelease(sqTail_, localTail_);
  for (;;) {
    const uint32_t head = loadSqHead();
    const uint32_t pending = localTail_ - head;
    if (pending == 0) return 0;
    const int n = enter(pending, 0, 0);
    if (n < 0) {
      if (n != -EAGAIN && n != -EBUSY) failStaged(head, -n);
      return -n;
    }
    if (n == 0) return EAGAIN;
    if (tracing_) recordTrace(head, static_cast<uint32_t>(n));
    if (static_cast<uint32_t>(n) < pending &&
        isLinked(sqes_[(head + static_cast<uint32_t>(n) - 1) & sqMask_])) {
      // The kernel ran out of memory in mid-chain and has let the first part go as a chain of its
      // own (io_submit_sqes in io_uring/io_uring.c). The rest must not run on its own: an fsync
      // without its write would report durable what is not.
      dropRestOfChain(head + static_cast<uint32_t>(n), localTail_);
    }
  }
}

// The store of the tail hands over all that is staged, chains as a whole: the kernel's thread of a
// ring that shares it with no other takes everything that it finds.
int Ring::flushToThread() noexcept {
  if (tracing_ && localTail_ != tracedTail_) recordTrace(tracedTail_, localTail_ - tracedTail_);
  tracedTail_ = localTail_;
  storeRelease(sqTail_, localTail_);
  // The thread may be about to sleep: it reads the tail after it has set the flag.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if ((loadAcquire(sqFlags_) & sqflag::kNeedWakeup) != 0) enter(0, 0, enter::kSqWakeup);
  return 0;
}

void Ring::dropRestOfChain(uint32_t head, uint32_t tail) noexcept {
  for (uint32_t i = head; i != tail; i++) {
    io_uring_sqe& sqe = sqes_[i & sqMask_];
    const bool more = isLinked(sqe);
    const uint64_t data = sqe.user_data;
    if (data != kInternal) slots_[static_cast<uint32_t>(data)].cut = true;
    std::memset(&sqe, 0, sizeof sqe);
    sqe.opcode = op::kNop;
    sqe.user_data = data;
    if (!more) return;
  }
}

// The kernel will never take these: each completes with its refusal, and none is left behind.
void Ring::failStaged(uint32_t head, int error) noexcept {
  for (uint32_t i = head; i != localTail_; i++) {
    const uint64_t data = sqes_[i & sqMask_].user_data;
    if (data == kInternal) {
      cancelsInFlight_--;
    } else {
      failed_.push_back({static_cast<uint32_t>(data), -error, 0, 0});
    }
  }
  localTail_ = head;
  storeRelease(sqTail_, head);
}

// ---- completion ----

Completion Ring::finish(uint32_t index, int32_t result, uint32_t flags, bool* wake) noexcept {
  Slot& slot = slots_[index];
  if (slot.cut) result = -ECANCELED;
  if (slot.quietResult == kNeverQuiet || slot.quietResult != result) *wake = true;
  if (slot.yieldsFd && result >= 0) files_->add(result);
  if ((flags & cqe::kBuffer) != 0) {
    takenBuffers_.push_back({slot.bufferGroup, static_cast<uint16_t>(flags >> cqe::kBufferShift)});
  }
  const Completion completion{index, result, flags, 0};
  if ((flags & cqe::kMore) != 0) return completion;
  if (slot.ownedFd >= 0 && result == -ECANCELED) files_->add(slot.ownedFd);
  if (const Holdings::Vector* vector = slot.holdings.vector(); vector != nullptr) {
    if (vector->name != nullptr) {
      vector->name->addressLength = vector->header.msg_namelen;
      vector->name->messageFlags = static_cast<uint32_t>(vector->header.msg_flags);
    }
  }
  slot.busy = false;
  slot.holdings.release();
  inFlight_--;
  return completion;
}

size_t Ring::reap(Completion* out, size_t capacity, bool* wake, size_t mostReads) noexcept {
  *wake = false;
  const uint32_t flags = loadAcquire(sqFlags_);
  const bool pollDevice = isPolled() && inFlight_ > 0;
  if ((flags & (sqflag::kCqOverflow | sqflag::kTaskrun)) != 0 || pollDevice) {
    enter(0, 0, enter::kGetEvents);
  }
  size_t count = 0;
  while (!failed_.empty() && count < capacity) {
    const Completion failed = failed_.back();
    failed_.pop_back();
    Slot& slot = slots_[failed.slot];
    if (slot.ownedFd >= 0) files_->add(slot.ownedFd);
    slot.ownedFd = -1;
    out[count++] = finish(failed.slot, failed.result, 0, wake);
  }
  uint32_t head = *cqHead_;
  const uint32_t tail = loadAcquire(cqTail_);
  size_t reads = 0;
  while (head != tail && count < capacity && reads < mostReads) {
    const io_uring_cqe& cqe = cqes_[head & cqMask_];
    const auto index = static_cast<uint32_t>(cqe.user_data);
    if (cqe.user_data == kInternal) {
      cancelsInFlight_--;
    } else if (cqe.user_data >> 32 == kMessageGeneration) {
      *wake = true;
      out[count++] = {kMessageSlot, cqe.res, index, 0};
    } else if (index < slotCount_ && slots_[index].busy && userData(index) == cqe.user_data) {
      if (slots_[index].reads) reads++;
      out[count++] = finish(index, cqe.res, cqe.flags, wake);
    }
    head++;
  }
  storeRelease(cqHead_, head);
  if (count == capacity || reads == mostReads) *wake = true;
  if (!pendingCancels_.empty()) sendPendingCancels();
  return count;
}

void Ring::runTaskWork() noexcept {
  if ((loadAcquire(sqFlags_) & sqflag::kTaskrun) != 0) enter(0, 0, enter::kGetEvents);
}

void Ring::recycleBuffers() noexcept {
  for (const TakenBuffer& taken : takenBuffers_) {
    if (groups_[taken.group] != nullptr) groups_[taken.group]->provide(taken.id);
  }
  takenBuffers_.clear();
}

bool Ring::wait(int milliseconds) noexcept {
  if (hasCompletions()) return true;
  if (isPolled()) {
    const int64_t deadline = nowMs() + milliseconds;
    while (!hasCompletions() && inFlight_ > 0) {
      if (enter(0, milliseconds < 0 ? 1 : 0, enter::kGetEvents) < 0) return hasCompletions();
      if (milliseconds >= 0 && nowMs() >= deadline) break;
    }
    return hasCompletions();
  }
  if (milliseconds < 0) {
    enter(0, 1, enter::kGetEvents);
  } else if ((features_ & feature::kExtArg) != 0) {
    const KernelTimespec limit{milliseconds / 1000, int64_t{milliseconds} % 1000 * 1000000};
    WaitArgument argument{};
    argument.timespec = reinterpret_cast<uint64_t>(&limit);
    // ETIME and EINTR are as good as a completion: the caller looks what there is.
    enterCall_(fd_, 0, 1, enter::kGetEvents | enter::kExtArg, &argument, sizeof argument);
  } else {
    pollfd waiting{fd_, POLLIN, 0};
    poll(&waiting, 1, milliseconds);
  }
  return hasCompletions();
}

// ---- cancelling ----

// Without an SQE: one would wait behind a drain, which may wait for the very operation that is to
// be cancelled. False where the kernel (before 6.0) has no such call.
bool Ring::cancelNow(uint64_t userData) noexcept {
  if (!hasSyncCancel_) return false;
  SyncCancel request{};
  request.userData = userData;
  request.fd = -1;
  const int result = sysRegister(fd_, reg::kSyncCancel, &request, 1);
  // What it finds completes; ENOENT and EALREADY (as ETIME, with no time to wait) need no answer.
  hasSyncCancel_ = result != -EINVAL;
  return hasSyncCancel_;
}

bool Ring::stageCancel(uint64_t userData) noexcept {
  if (cancelsInFlight_ == maxCancelsInFlight_) return false;
  if (localTail_ - loadSqHead() == sqEntries_ && (flush() != 0 || !makeRoom(1))) return false;
  // A cancel between the links of a chain would become one of them; chains are staged as a whole,
  // so it never stands there.
  io_uring_sqe& sqe = sqes_[localTail_ & sqMask_];
  std::memset(&sqe, 0, sizeof sqe);
  sqe.opcode = op::kAsyncCancel;
  sqe.fd = -1;
  sqe.addr = userData;
  sqe.user_data = kInternal;
  localTail_++;
  cancelsInFlight_++;
  return true;
}

void Ring::stagePendingCancels() noexcept {
  size_t staged = 0;
  while (staged < pendingCancels_.size() && stageCancel(pendingCancels_[staged])) staged++;
  pendingCancels_.erase(pendingCancels_.begin(),
                        pendingCancels_.begin() + static_cast<std::ptrdiff_t>(staged));
}

void Ring::cancel(uint32_t slot) noexcept {
  if (slot >= slotCount_ || !slots_[slot].busy) return;
  if (cancelNow(userData(slot))) return;
  pendingCancels_.push_back(userData(slot));
  sendPendingCancels();
}

void Ring::sendPendingCancels() noexcept {
  stagePendingCancels();
  if (flush() == 0 || (setupFlags_ & setup::kSqPoll) != 0) return;
  // The kernel does not take them now. Their places are the requests': whoever stages those counts
  // on all that are free.
  while (localTail_ != loadSqHead()) {
    const io_uring_sqe& last = sqes_[(localTail_ - 1) & sqMask_];
    if (last.user_data != kInternal) return;
    pendingCancels_.push_back(last.addr);
    cancelsInFlight_--;
    localTail_--;
  }
}

void Ring::cancelEverything() noexcept {
  pendingCancels_.clear();
  for (uint32_t index = 0; index < slotCount_; index++) {
    if (!slots_[index].busy || cancelNow(userData(index))) continue;
    pendingCancels_.push_back(userData(index));
  }
  stagePendingCancels();
}

bool Ring::drain(int milliseconds) noexcept {
  const int64_t deadline = nowMs() + milliseconds;
  Completion ignored[64];
  bool wake = false;
  while (inFlight_ > 0) {
    flush();
    // From the start again and again: an operation that waits behind another of its chain cannot be
    // cancelled before that one is done.
    if (pendingCancels_.empty()) cancelEverything();
    flush();
    while (reap(ignored, 64, &wake) > 0) {
    }
    recycleBuffers();
    if (inFlight_ == 0) break;
    const int64_t left = deadline - nowMs();
    if (left <= 0) return false;
    // Short naps: an internal cancel's completion can end the wait without ending an operation.
    wait(static_cast<int>(left < 50 ? left : 50));
  }
  return true;
}

// ---- registration ----

int Ring::makeBufferTable(uint32_t count) {
  if (!buffers_.empty()) return -EBUSY;
  RegisterResources request{};
  request.count = count;
  request.flags = reg::kRsrcSparse;
  const int result = sysRegister(fd_, reg::kBuffers2, &request, sizeof request);
  if (result < 0) return result;
  buffers_.resize(count, nullptr);
  return 0;
}

int Ring::registerBuffer(Memory* memory) {
  if (const auto known = bufferIndexes_.find(memory); known != bufferIndexes_.end()) {
    return known->second;
  }
  const auto free = std::find(buffers_.begin(), buffers_.end(), nullptr);
  if (free == buffers_.end()) return -ENOSPC;
  const auto index = static_cast<uint32_t>(free - buffers_.begin());
  const iovec place{memory->data(), memory->size()};
  UpdateResources request{};
  request.offset = index;
  request.data = reinterpret_cast<uint64_t>(&place);
  request.count = 1;
  const int result = sysRegister(fd_, reg::kBuffersUpdate, &request, sizeof request);
  if (result < 0) return result;
  memory->retain();
  *free = memory;
  bufferIndexes_.emplace(memory, static_cast<uint16_t>(index));
  return static_cast<int>(index);
}

int Ring::unregisterBuffer(int index) {
  if (index < 0 || static_cast<size_t>(index) >= buffers_.size()) return -EINVAL;
  Memory*& memory = buffers_[static_cast<size_t>(index)];
  if (memory == nullptr) return -ENOENT;
  const iovec nothing{nullptr, 0};
  UpdateResources request{};
  request.offset = static_cast<uint32_t>(index);
  request.data = reinterpret_cast<uint64_t>(&nothing);
  request.count = 1;
  const int result = sysRegister(fd_, reg::kBuffersUpdate, &request, sizeof request);
  if (result < 0) return result;
  bufferIndexes_.erase(memory);
  memory->release();  // the kernel keeps its own hold on the pages while requests use them
  memory = nullptr;
  return 0;
}

int Ring::makeFileTable(uint32_t count) {
  const std::vector<int32_t> none(count, -1);
  const int result = sysRegister(fd_, reg::kFiles, none.data(), count);
  return result < 0 ? result : 0;
}

int Ring::setFile(uint32_t index, int fd) noexcept {
  const int32_t value = fd;
  UpdateFiles request{index, 0, reinterpret_cast<uint64_t>(&value)};
  const int result = sysRegister(fd_, reg::kFilesUpdate, &request, 1);
  return result < 0 ? result : 0;
}

int Ring::addBufferGroup(uint32_t count, uint32_t bytesEach) {
  auto place = std::find(groups_.begin(), groups_.end(), nullptr);
  if (place == groups_.end()) {
    if (groups_.size() > UINT16_MAX) return -ENOSPC;
    groups_.emplace_back();
    place = groups_.end() - 1;
  }
  const auto group = static_cast<uint16_t>(place - groups_.begin());
  int error = 0;
  *place = BufferGroup::create(fd_, group, count, bytesEach, &error);
  return *place == nullptr ? -error : group;
}

int Ring::removeBufferGroup(uint16_t group) noexcept {
  if (bufferGroup(group) == nullptr) return -ENOENT;
  for (uint32_t i = 0; i < slotCount_; i++) {
    if (slots_[i].busy && slots_[i].usesGroup && slots_[i].bufferGroup == group) return -EBUSY;
  }
  // Numbers of buffers that are to be given back would be another's, of the next group here.
  std::erase_if(takenBuffers_, [group](const TakenBuffer& taken) { return taken.group == group; });
  groups_[group]->unregister(fd_);
  groups_[group].reset();
  return 0;
}

const BufferGroup* Ring::bufferGroup(uint16_t group) const noexcept {
  return group < groups_.size() ? groups_[group].get() : nullptr;
}

Ring::~Ring() {
  const bool safeToFree = inFlight_ == 0 && cancelsInFlight_ == 0;
  if (safeToFree) {
    if (sqes_ != nullptr) munmap(sqes_, sqesBytes_);
    if (rings_ != nullptr) munmap(rings_, ringsBytes_);
  } else {
    for (uint32_t i = 0; i < slotCount_; i++) {
      if (slots_[i].busy) slots_[i].holdings.leak();
    }
    for (const auto& group : groups_) {
      if (group != nullptr) group->leak();
    }
  }
  if (fd_ >= 0) close(fd_);
  for (Memory* memory : buffers_) {
    if (memory != nullptr) memory->release();
  }
}

}  // namespace riolog

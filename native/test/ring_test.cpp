#include "core/ring.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/uring_abi.h"
#include "harness.h"
#include "ring_test_access.h"

namespace riolog {

namespace test {
namespace {

constexpr uint8_t kLink = IOSQE_IO_LINK;

// A ring, or nullptr after the case has been marked as skipped: a container's seccomp profile, the
// emulator qemu-user and old kernels have none.
OpenFiles& openFiles() {
  static OpenFiles files;
  return files;
}

std::unique_ptr<Ring> openRing(uint32_t entries = 8, uint32_t cqEntries = 16) {
  RingFailure failure{};
  RingConfig config;
  config.entries = entries;
  config.cqEntries = cqEntries;
  std::unique_ptr<Ring> ring(Ring::open(config, &openFiles(), &failure));
  if (ring == nullptr) {
    skip(std::string("no io_uring here: ") + failure.syscall + ": " + std::strerror(failure.error));
  }
  return ring;
}

Request nop(uint32_t slot, uint8_t sqeFlags = 0) {
  Request request{};
  request.opcode = IORING_OP_NOP;
  request.sqeFlags = sqeFlags;
  request.fd = -1;
  request.slot = slot;
  request.memory = kNoMemory;
  request.secondMemory = kNoMemory;
  request.quietResult = kNeverQuiet;
  return request;
}

Request transfer(uint8_t opcode, uint32_t slot, int fd, int32_t memory, uint32_t length,
                 uint8_t sqeFlags = 0) {
  Request request = nop(slot, sqeFlags);
  request.opcode = opcode;
  request.fd = fd;
  request.memory = memory;
  request.length = length;
  return request;
}

Request fdatasync(uint32_t slot, int fd, uint8_t sqeFlags = 0) {
  Request request = nop(slot, sqeFlags);
  request.opcode = IORING_OP_FSYNC;
  request.fd = fd;
  request.opFlags = IORING_FSYNC_DATASYNC;
  return request;
}

StageStatus stage(Ring& ring, const std::vector<Request>& requests, const MemoryTable& memories) {
  return ring.stage(requests.data(), requests.size(), memories);
}

StageStatus stage(Ring& ring, const std::vector<Request>& requests) {
  return stage(ring, requests, MemoryTable{});
}

constexpr int kPatienceMs = 10'000;

// Waits for `count` completions; fewer when they do not come in time.
std::vector<Completion> complete(Ring& ring, size_t count) {
  std::vector<Completion> all;
  for (int turn = 0; all.size() < count && turn < kPatienceMs / 10; turn++) {
    Completion some[64];
    bool wake = false;
    const size_t n = ring.reap(some, 64, &wake);
    all.insert(all.end(), some, some + n);
    if (n > 0) continue;
    pollfd waiting{ring.fd(), POLLIN, 0};
    poll(&waiting, 1, 10);
  }
  CHECK_EQUAL(all.size(), count);
  return all;
}

// The result of each slot from 0 on; kMissing where none came.
constexpr int32_t kMissing = INT32_MIN;

std::vector<int32_t> resultsBySlot(Ring& ring, size_t count) {
  std::vector<int32_t> results(count, kMissing);
  for (const Completion& completion : complete(ring, count)) {
    CHECK(completion.slot < count);
    if (completion.slot >= count) continue;
    CHECK_EQUAL(results[completion.slot], kMissing);
    results[completion.slot] = completion.result;
  }
  return results;
}

// A file that has no name any more, and so needs no tidying up.
class TemporaryFile {
 public:
  explicit TemporaryFile(size_t bytes = 0) {
    const char* folder = std::getenv("TMPDIR");
    std::string name = std::string(folder != nullptr ? folder : "/tmp") + "/riolog-XXXXXX";
    fd_ = mkostemp(name.data(), O_CLOEXEC);
    if (fd_ < 0) std::abort();
    unlink(name.c_str());
    const std::vector<uint8_t> content(bytes, 0x5A);
    if (write(fd_, content.data(), bytes) != static_cast<ssize_t>(bytes)) std::abort();
  }
  ~TemporaryFile() { ::close(fd_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// A pipe that nobody has written to: a read from it stays in flight.
struct EmptyPipe {
  int readEnd = -1;
  int writeEnd = -1;
  EmptyPipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    readEnd = ends[0];
    writeEnd = ends[1];
  }
  ~EmptyPipe() {
    ::close(readEnd);
    ::close(writeEnd);
  }
  EmptyPipe(const EmptyPipe&) = delete;
  EmptyPipe& operator=(const EmptyPipe&) = delete;
};

// Memory with a name in a table; the case is one owner.
struct NamedMemory {
  MemoryTable table;
  Memory* memory;
  int32_t id;
  explicit NamedMemory(size_t bytes) : memory(Memory::allocate(bytes)), id(table.add(memory)) {}
  ~NamedMemory() { memory->release(); }
  NamedMemory(const NamedMemory&) = delete;
  NamedMemory& operator=(const NamedMemory&) = delete;
};

size_t openFileCount() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  size_t count = 0;
  while (readdir(folder) != nullptr) count++;
  closedir(folder);
  return count;
}

// ---- what runs ----

TEST("ring: a nop completes, and wakes") {
  auto ring = openRing();
  if (ring == nullptr) return;
  CHECK_EQUAL(stage(*ring, {nop(3)}), StageStatus::kTaken);
  CHECK(ring->hasUnflushed());
  CHECK_EQUAL(ring->inFlight(), 1U);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK(!ring->hasUnflushed());
  Completion completion{};
  bool wake = false;
  CHECK_EQUAL(ring->reap(&completion, 1, &wake), 1U);
  CHECK(wake);
  CHECK_EQUAL(completion.slot, 3U);
  CHECK_EQUAL(completion.result, 0);
  CHECK_EQUAL(ring->inFlight(), 0U);
}

TEST("ring: write, then fdatasync, in one chain and one enter") {
  auto ring = openRing();
  if (ring == nullptr) return;
  TemporaryFile file;
  NamedMemory memory(4096);
  std::memset(memory.memory->data(), 0xC3, 4096);
  ring->setTracing(true);
  const auto status = stage(
      *ring,
      {transfer(IORING_OP_WRITE, 0, file.fd(), memory.id, 4096, kLink), fdatasync(1, file.fd())},
      memory.table);
  CHECK_EQUAL(status, StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  const auto results = resultsBySlot(*ring, 2);
  CHECK_EQUAL(results[0], 4096);
  CHECK_EQUAL(results[1], 0);
  uint8_t found[4096] = {};
  CHECK_EQUAL(pread(file.fd(), found, sizeof found, 0), 4096);
  CHECK(std::memcmp(found, memory.memory->data(), sizeof found) == 0);

  CHECK_EQUAL(ring->trace().size(), 2U);
  CHECK_EQUAL(ring->trace()[0].enterCall, ring->trace()[1].enterCall);
  CHECK_EQUAL(ring->trace()[0].flags, kLink);
  CHECK_EQUAL(ring->trace()[1].flags, 0);
  CHECK_EQUAL(ring->trace()[1].opFlags, IORING_FSYNC_DATASYNC);
}

long entersOnlyToWork = 0;
long countingEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                   const void* argument, size_t argumentBytes) {
  if (toSubmit == 0 && minComplete == 0) entersOnlyToWork++;
  return RingTestAccess::sysEnter(fd, toSubmit, minComplete, flags, argument, argumentBytes);
}

TEST("ring: a thread that never waits lets a chain go on, and enters the kernel for nothing else") {
  auto ring = openRing();
  if (ring == nullptr) return;
  TemporaryFile file;
  NamedMemory memory(4096);
  RingTestAccess::setEnter(*ring, countingEnter);
  entersOnlyToWork = 0;
  for (int i = 0; i < 1000; i++) ring->runTaskWork();
  CHECK_EQUAL(entersOnlyToWork, 0);
  CHECK_EQUAL(stage(*ring,
                    {transfer(IORING_OP_WRITE, 0, file.fd(), memory.id, 4096, kLink),
                     fdatasync(1, file.fd())},
                    memory.table),
              StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (RingTestAccess::completionsAtHand(*ring) < 2 &&
         std::chrono::steady_clock::now() < deadline) {
    ring->runTaskWork();
  }
  CHECK_EQUAL(RingTestAccess::completionsAtHand(*ring), 2U);
  // At most for the write's completion, for the sync's, and once more where they come in pieces.
  CHECK(entersOnlyToWork <= 8);
  const auto results = resultsBySlot(*ring, 2);
  CHECK_EQUAL(results[0], 4096);
  CHECK_EQUAL(results[1], 0);
}

TEST("ring: offsets in file and memory reach the kernel") {
  auto ring = openRing();
  if (ring == nullptr) return;
  TemporaryFile file(8192);
  NamedMemory memory(8192);
  Request read = transfer(IORING_OP_READ, 0, file.fd(), memory.id, 100);
  read.offset = 8192 - 50;
  read.memoryOffset = 1000;
  CHECK_EQUAL(stage(*ring, {read}, memory.table), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(resultsBySlot(*ring, 1)[0], 50);
  const uint8_t* bytes = memory.memory->data();
  CHECK_EQUAL(bytes[999], 0);
  CHECK_EQUAL(bytes[1000], 0x5A);
  CHECK_EQUAL(bytes[1049], 0x5A);
  CHECK_EQUAL(bytes[1050], 0);
}

TEST("ring: a short read breaks its chain") {
  auto ring = openRing();
  if (ring == nullptr) return;
  TemporaryFile file(100);
  NamedMemory memory(4096);
  const auto status = stage(*ring,
                            {transfer(IORING_OP_READ, 0, file.fd(), memory.id, 4096, kLink),
                             fdatasync(1, file.fd(), kLink), nop(2), nop(3)},
                            memory.table);
  CHECK_EQUAL(status, StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  const auto results = resultsBySlot(*ring, 4);
  CHECK_EQUAL(results[0], 100);
  CHECK_EQUAL(results[1], -ECANCELED);
  CHECK_EQUAL(results[2], -ECANCELED);
  CHECK_EQUAL(results[3], 0);  // not of the chain
}

TEST("ring: a failing operation breaks its chain") {
  auto ring = openRing();
  if (ring == nullptr) return;
  NamedMemory memory(4096);
  const auto status = stage(
      *ring, {nop(0, kLink), transfer(IORING_OP_WRITE, 1, -1, memory.id, 4096, kLink), nop(2)},
      memory.table);
  CHECK_EQUAL(status, StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  const auto results = resultsBySlot(*ring, 3);
  CHECK_EQUAL(results[0], 0);
  CHECK_EQUAL(results[1], -EBADF);
  CHECK_EQUAL(results[2], -ECANCELED);
}

TEST("ring: a quiet result wakes nobody, any other does") {
  auto ring = openRing();
  if (ring == nullptr) return;
  Request quiet = nop(0);
  quiet.quietResult = 0;
  Request other = nop(1);
  other.quietResult = 17;
  Completion completions[2];
  bool wake = true;
  CHECK_EQUAL(stage(*ring, {quiet}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(ring->reap(completions, 2, &wake), 1U);
  CHECK(!wake);
  CHECK_EQUAL(stage(*ring, {quiet, other}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(ring->reap(completions, 2, &wake), 2U);
  CHECK(wake);
}

TEST("ring: what a full completion area leaves behind comes with the next reap") {
  auto ring = openRing();
  if (ring == nullptr) return;
  CHECK_EQUAL(stage(*ring, {nop(0), nop(1), nop(2)}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  Completion completions[2];
  bool wake = false;
  CHECK_EQUAL(ring->reap(completions, 0, &wake), 0U);
  CHECK_EQUAL(ring->reap(completions, 2, &wake), 2U);
  CHECK_EQUAL(ring->inFlight(), 1U);
  CHECK_EQUAL(ring->reap(completions, 2, &wake), 1U);
  CHECK_EQUAL(completions[0].slot, 2U);
}

TEST("ring: reads come a few at a time where that is asked for, others beside them as they are") {
  auto ring = openRing();
  if (ring == nullptr) return;
  NamedMemory named(4096);
  const int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  std::vector<Request> requests;
  for (uint32_t slot = 0; slot < 6; slot++) {
    const bool isNop = slot == 1 || slot == 2;
    requests.push_back(isNop ? nop(slot) : transfer(IORING_OP_READ, slot, fd, named.id, 64));
    requests.back().quietResult = isNop ? 0 : 64;
  }
  CHECK_EQUAL(stage(*ring, requests, named.table), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  Completion completions[8];
  bool wake = false;
  CHECK_EQUAL(ring->reap(completions, 8, &wake, 2), 4U);  // a read, both NOPs, a read
  CHECK(wake);                                            // there are more, though all are quiet
  CHECK_EQUAL(completions[3].slot, 3U);
  CHECK_EQUAL(ring->reap(completions, 8, &wake, 3), 2U);
  CHECK(!wake);
  CHECK_EQUAL(completions[1].slot, 5U);
  CHECK_EQUAL(ring->inFlight(), 0U);
  close(fd);
}

TEST("ring: with every slot in flight, the kernel never has to drop a completion") {
  auto ring = openRing(8, 16);
  if (ring == nullptr) return;
  const uint32_t slots = ring->slotCount();
  CHECK(slots >= ring->entries());
  CHECK(slots < ring->cqEntries());  // the rest is kept for cancels
  for (int round = 0; round < 1000; round++) {
    for (uint32_t slot = 0; slot < slots; slot++) {
      CHECK_EQUAL(stage(*ring, {nop(slot)}), StageStatus::kTaken);
      CHECK_EQUAL(ring->flush(), 0);
    }
    CHECK_EQUAL(ring->inFlight(), slots);
    CHECK_EQUAL(stage(*ring, {nop(slots)}), StageStatus::kBadSlot);
    for (uint32_t slot = 0; slot < slots; slot++) ring->cancel(slot);
    CHECK_EQUAL(complete(*ring, slots).size(), slots);
  }
  CHECK_EQUAL(ring->kernelOverflowCount(), 0U);
}

// ---- what is refused ----

TEST("ring: a chain that would link to whatever comes next is refused") {
  auto ring = openRing();
  if (ring == nullptr) return;
  CHECK_EQUAL(stage(*ring, {nop(0), nop(1, kLink)}), StageStatus::kDanglingChain);
  CHECK_EQUAL(stage(*ring, {nop(0, IOSQE_IO_HARDLINK)}), StageStatus::kDanglingChain);
  CHECK_EQUAL(ring->inFlight(), 0U);
  CHECK(!ring->hasUnflushed());
  CHECK_EQUAL(stage(*ring, {}), StageStatus::kTaken);
}

TEST("ring: stage takes all or nothing") {
  auto ring = openRing();
  if (ring == nullptr) return;
  TemporaryFile file(4096);
  NamedMemory memory(4096);
  const int64_t before = Memory::liveCount();
  Request bad = nop(1);
  bad.opcode = 255;
  const Request good = transfer(IORING_OP_READ, 0, file.fd(), memory.id, 4096);
  CHECK_EQUAL(stage(*ring, {good, bad}, memory.table), StageStatus::kBadOpcode);
  CHECK_EQUAL(ring->inFlight(), 0U);
  CHECK(!ring->hasUnflushed());
  // Neither the slot nor the memory is still taken.
  CHECK_EQUAL(stage(*ring, {good}, memory.table), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(resultsBySlot(*ring, 1)[0], 4096);
  CHECK_EQUAL(Memory::liveCount(), before);
}

TEST("ring: a slot is taken until its completion has been reaped") {
  auto ring = openRing(4, 8);
  if (ring == nullptr) return;
  CHECK_EQUAL(stage(*ring, {nop(1), nop(1)}), StageStatus::kBadSlot);
  CHECK_EQUAL(stage(*ring, {nop(8)}), StageStatus::kBadSlot);
  CHECK_EQUAL(stage(*ring, {nop(UINT32_MAX)}), StageStatus::kBadSlot);
  CHECK_EQUAL(stage(*ring, {nop(1)}), StageStatus::kTaken);
  CHECK_EQUAL(stage(*ring, {nop(1)}), StageStatus::kBadSlot);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(stage(*ring, {nop(1)}), StageStatus::kBadSlot);
  CHECK_EQUAL(complete(*ring, 1).size(), 1U);
  CHECK_EQUAL(stage(*ring, {nop(1)}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(complete(*ring, 1).size(), 1U);
}

TEST("ring: no more than the queue holds, and a chain of just that") {
  auto ring = openRing(4, 8);
  if (ring == nullptr) return;
  CHECK_EQUAL(ring->entries(), 4U);
  std::vector<Request> chain = {nop(0, kLink), nop(1, kLink), nop(2, kLink), nop(3)};
  CHECK_EQUAL(stage(*ring, {nop(0), nop(1), nop(2), nop(3), nop(4)}), StageStatus::kNoRoom);
  CHECK_EQUAL(stage(*ring, chain), StageStatus::kTaken);
  CHECK_EQUAL(stage(*ring, {nop(4)}), StageStatus::kNoRoom);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(stage(*ring, {nop(4)}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(complete(*ring, 5).size(), 5U);
}

StageStatus stageRead(Ring& ring, const NamedMemory& memory, double memoryOffset, uint32_t length) {
  Request read = transfer(IORING_OP_READ, 0, -1, memory.id, length);
  read.memoryOffset = memoryOffset;
  return stage(ring, {read}, memory.table);
}

TEST("ring: memory that is not there, or a range that leaves it, is refused") {
  auto ring = openRing();
  if (ring == nullptr) return;
  NamedMemory memory(8192);
  CHECK_EQUAL(stageRead(*ring, memory, 0, 8193), StageStatus::kBadMemory);
  CHECK_EQUAL(stageRead(*ring, memory, 4096, 4097), StageStatus::kBadMemory);
  CHECK_EQUAL(stageRead(*ring, memory, 8193, 0), StageStatus::kBadMemory);
  CHECK_EQUAL(stageRead(*ring, memory, 8192, 1), StageStatus::kBadMemory);
  CHECK_EQUAL(stageRead(*ring, memory, 1, UINT32_MAX), StageStatus::kBadMemory);
  CHECK_EQUAL(stageRead(*ring, memory, 9007199254740991.0, UINT32_MAX), StageStatus::kBadMemory);
  for (const int32_t id : {kNoMemory, memory.id + 1, INT32_MAX, INT32_MIN}) {
    CHECK_EQUAL(stage(*ring, {transfer(IORING_OP_READ, 0, -1, id, 0)}, memory.table),
                StageStatus::kBadMemory);
  }
  CHECK_EQUAL(ring->inFlight(), 0U);
  CHECK_EQUAL(stageRead(*ring, memory, 8192, 0), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(complete(*ring, 1).size(), 1U);
}

TEST("ring: offsets that are no safe integers are refused") {
  auto ring = openRing();
  if (ring == nullptr) return;
  NamedMemory memory(8192);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double offset :
       {-2.0, 0.5, 9007199254740992.0, 1e300, kInfinity, -kInfinity, std::nan("")}) {
    CHECK_EQUAL(stageRead(*ring, memory, offset, 1), StageStatus::kBadOffset);
    Request read = transfer(IORING_OP_READ, 0, -1, memory.id, 1);
    read.offset = offset;
    CHECK_EQUAL(stage(*ring, {read}, memory.table), StageStatus::kBadOffset);
  }
  CHECK_EQUAL(ring->inFlight(), 0U);
}

TEST("ring: SQE flags and operations that this ring does not know are refused") {
  auto ring = openRing();
  if (ring == nullptr) return;
  // IOSQE_CQE_SKIP_SUCCESS, and one that no kernel has: a completion must always come.
  for (const uint8_t flag : {uint8_t{1 << 6}, uint8_t{1 << 7}}) {
    CHECK_EQUAL(stage(*ring, {nop(0, flag)}), StageStatus::kBadFlags);
  }
  CHECK_EQUAL(stage(*ring, {nop(0, sqe::kBufferSelect)}), StageStatus::kBadGroup);
  // The forms for registered buffers are chosen by the ring; the others need what no request has.
  for (const int opcode : {4, 5, 20, 29, 31, 46, 63, 64, 255}) {
    Request request = nop(0);
    request.opcode = static_cast<uint8_t>(opcode);
    CHECK_EQUAL(stage(*ring, {request}), StageStatus::kBadOpcode);
  }
  CHECK_EQUAL(ring->inFlight(), 0U);
}

TEST("ring: a failed setup says which call failed, and leaves no file open") {
  const size_t before = openFileCount();
  RingFailure failure{};
  RingConfig config;
  config.entries = 0;
  CHECK(Ring::open(config, &openFiles(), &failure) == nullptr);
  CHECK(std::strcmp(failure.syscall, "io_uring_setup") == 0);
  CHECK(failure.error > 0);
  CHECK_EQUAL(openFileCount(), before);
}

TEST("ring: opened and closed 200 times leaves no file open") {
  if (openRing() == nullptr) return;
  const size_t before = openFileCount();
  for (int i = 0; i < 200; i++) openRing();
  CHECK_EQUAL(openFileCount(), before);
}

// ---- memory and teardown ----

TEST("ring: memory in flight outlives every other owner") {
  auto ring = openRing();
  if (ring == nullptr) return;
  const int64_t before = Memory::liveCount();
  EmptyPipe pipe;
  MemoryTable table;
  Memory* memory = Memory::allocate(4096);
  const int32_t id = table.add(memory);
  CHECK_EQUAL(stage(*ring, {transfer(IORING_OP_READ, 0, pipe.readEnd, id, 4096)}, table),
              StageStatus::kTaken);
  table.remove(id);
  memory->release();
  CHECK_EQUAL(Memory::liveCount(), before + 1);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(write(pipe.writeEnd, "hello", 5), 5);
  CHECK_EQUAL(resultsBySlot(*ring, 1)[0], 5);
  CHECK_EQUAL(Memory::liveCount(), before);
}

TEST("ring: drain cancels a read from an empty pipe") {
  auto ring = openRing(8, 32);
  if (ring == nullptr) return;
  const int64_t before = Memory::liveCount();
  EmptyPipe pipe;
  NamedMemory memory(4096);
  std::vector<Request> reads;
  for (uint32_t slot = 0; slot < 8; slot++) {
    reads.push_back(transfer(IORING_OP_READ, slot, pipe.readEnd, memory.id, 4096));
  }
  CHECK_EQUAL(stage(*ring, reads, memory.table), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  for (Request& read : reads) read.slot += 8;
  CHECK_EQUAL(stage(*ring, reads, memory.table), StageStatus::kTaken);  // these not yet flushed
  CHECK_EQUAL(ring->inFlight(), 16U);
  CHECK(ring->drain(kPatienceMs));
  CHECK_EQUAL(ring->inFlight(), 0U);
  CHECK_EQUAL(ring->kernelOverflowCount(), 0U);
  CHECK_EQUAL(Memory::liveCount(), before + 1);
}

// A linked operation cannot be found by a cancel before the one ahead of it is done.
TEST("ring: drain cancels what waits in a chain behind something that cannot be cancelled") {
  auto ring = openRing();
  if (ring == nullptr) return;
  TemporaryFile file(32 << 20);  // dirty, so that the sync takes a while
  EmptyPipe pipe;
  NamedMemory memory(4096);
  const auto status = stage(
      *ring,
      {fdatasync(0, file.fd(), kLink), transfer(IORING_OP_READ, 1, pipe.readEnd, memory.id, 4096)},
      memory.table);
  CHECK_EQUAL(status, StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  usleep(1000);
  CHECK(ring->drain(kPatienceMs));
}

// What the ring leaks on purpose stays reachable for the leak checker, which looks after statics
// have been destroyed.
std::vector<Memory*>& leakedOnPurpose() {
  static auto* const memories = new std::vector<Memory*>();
  return *memories;
}

TEST("ring: destroyed with a read in flight it leaks the memory and its mappings, frees neither") {
  auto ring = openRing();
  if (ring == nullptr) return;
  const int64_t before = Memory::liveCount();
  EmptyPipe pipe;
  MemoryTable table;
  Memory* memory = Memory::allocate(4096);
  leakedOnPurpose().push_back(memory);
  CHECK_EQUAL(
      stage(*ring, {transfer(IORING_OP_READ, 0, pipe.readEnd, table.add(memory), 4096)}, table),
      StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  memory->release();
  void* mapping = RingTestAccess::mapping(*ring);
  const size_t bytes = RingTestAccess::mappingBytes(*ring);
  ring.reset();
  CHECK_EQUAL(Memory::liveCount(), before + 1);
  memory->data()[0] = 1;  // faults if the pages are gone
  CHECK_EQUAL(msync(mapping, bytes, MS_ASYNC), 0);
}

TEST("ring: destroyed with requests that the kernel never saw it leaks, too") {
  auto ring = openRing();
  if (ring == nullptr) return;
  const int64_t before = Memory::liveCount();
  MemoryTable table;
  Memory* memory = Memory::allocate(4096);
  leakedOnPurpose().push_back(memory);
  CHECK_EQUAL(stage(*ring, {transfer(IORING_OP_READ, 0, -1, table.add(memory), 4096)}, table),
              StageStatus::kTaken);
  memory->release();
  ring.reset();
  CHECK_EQUAL(Memory::liveCount(), before + 1);
}

// ---- a kernel in trouble ----

// How the replaced enter answers: it fails `failures` times with `error`, then hands `firstPart`
// SQEs to the kernel (0: all of them), then behaves.
struct Trouble {
  int failures = 0;
  int error = 0;
  uint32_t firstPart = 0;
  int calls = 0;
};
Trouble trouble;

long troubledEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                   const void* argument, size_t argumentBytes) {
  trouble.calls++;
  if (trouble.failures > 0) {
    trouble.failures--;
    errno = trouble.error;
    return trouble.error == 0 ? 0 : -1;
  }
  const uint32_t part = trouble.firstPart > 0 ? trouble.firstPart : toSubmit;
  trouble.firstPart = 0;
  return RingTestAccess::sysEnter(fd, part < toSubmit ? part : toSubmit, minComplete, flags,
                                  argument, argumentBytes);
}

std::unique_ptr<Ring> openTroubled(const Trouble& kind) {
  auto ring = openRing();
  trouble = kind;
  if (ring != nullptr) RingTestAccess::setEnter(*ring, troubledEnter);
  return ring;
}

size_t tracedCount(const Ring& ring, uint8_t opcode) {
  size_t count = 0;
  for (const Ring::Traced& traced : ring.trace()) count += traced.opcode == opcode;
  return count;
}

TEST("ring: when the kernel takes the write only, its sync never runs") {
  auto ring = openTroubled({.firstPart = 1});
  if (ring == nullptr) return;
  TemporaryFile file;
  NamedMemory memory(4096);
  ring->setTracing(true);
  const auto status = stage(
      *ring,
      {transfer(IORING_OP_WRITE, 0, file.fd(), memory.id, 4096, kLink), fdatasync(1, file.fd())},
      memory.table);
  CHECK_EQUAL(status, StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  const auto results = resultsBySlot(*ring, 2);
  CHECK_EQUAL(results[0], 4096);
  CHECK_EQUAL(results[1], -ECANCELED);
  CHECK_EQUAL(tracedCount(*ring, IORING_OP_WRITE), 1U);
  CHECK_EQUAL(tracedCount(*ring, IORING_OP_FSYNC), 0U);
}

TEST("ring: a chain cut anywhere ends there, and what comes behind it runs") {
  for (uint32_t cut = 1; cut <= 7; cut++) {
    auto ring = openTroubled({.firstPart = cut});
    if (ring == nullptr) return;
    // Two chains of three, and one that stands alone.
    const std::vector<Request> requests = {nop(0, kLink), nop(1, kLink), nop(2), nop(3, kLink),
                                           nop(4, kLink), nop(5),        nop(6)};
    CHECK_EQUAL(stage(*ring, requests), StageStatus::kTaken);
    CHECK_EQUAL(ring->flush(), 0);
    const auto results = resultsBySlot(*ring, 7);
    for (uint32_t slot = 0; slot < 7; slot++) {
      const uint32_t chainEnd = slot < 3 ? 3 : slot < 6 ? 6 : 7;
      const uint32_t chainStart = slot < 3 ? 0 : slot < 6 ? 3 : 6;
      const bool dropped = slot >= cut && cut > chainStart && cut < chainEnd;
      CHECK_EQUAL(results[slot], dropped ? -ECANCELED : 0);
    }
    // A slot whose chain was cut is as good as new.
    CHECK_EQUAL(stage(*ring, {nop(0), nop(1), nop(2), nop(3), nop(4), nop(5), nop(6)}),
                StageStatus::kTaken);
    CHECK_EQUAL(ring->flush(), 0);
    for (const int32_t result : resultsBySlot(*ring, 7)) CHECK_EQUAL(result, 0);
  }
}

TEST("ring: EAGAIN and EBUSY leave everything staged, and each operation completes once") {
  for (const int error : {EAGAIN, EBUSY}) {
    auto ring = openTroubled({.failures = 2, .error = error});
    if (ring == nullptr) return;
    ring->setTracing(true);
    CHECK_EQUAL(stage(*ring, {nop(0, kLink), nop(1), nop(2)}), StageStatus::kTaken);
    CHECK_EQUAL(ring->flush(), error);
    CHECK(ring->hasUnflushed());
    CHECK_EQUAL(ring->trace().size(), 0U);
    CHECK_EQUAL(ring->flush(), error);
    CHECK_EQUAL(stage(*ring, {nop(3)}), StageStatus::kTaken);
    CHECK_EQUAL(ring->flush(), 0);
    CHECK_EQUAL(ring->trace().size(), 4U);
    for (const int32_t result : resultsBySlot(*ring, 4)) CHECK_EQUAL(result, 0);
    CHECK_EQUAL(ring->inFlight(), 0U);
  }
}

TEST("ring: a kernel that takes nothing is asked again later, not at once for ever") {
  auto ring = openTroubled({.failures = 1, .error = 0});
  if (ring == nullptr) return;
  CHECK_EQUAL(stage(*ring, {nop(0)}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), EAGAIN);
  CHECK_EQUAL(trouble.calls, 1);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(resultsBySlot(*ring, 1)[0], 0);
}

TEST("ring: EINTR is retried on the spot") {
  auto ring = openTroubled({.failures = 3, .error = EINTR});
  if (ring == nullptr) return;
  CHECK_EQUAL(stage(*ring, {nop(0), nop(1)}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(trouble.calls, 4);
  for (const int32_t result : resultsBySlot(*ring, 2)) CHECK_EQUAL(result, 0);
}

TEST("ring: drain gets through a kernel that refuses for a while") {
  auto ring = openTroubled({.failures = 5, .error = EAGAIN});
  if (ring == nullptr) return;
  EmptyPipe pipe;
  NamedMemory memory(4096);
  CHECK_EQUAL(
      stage(*ring, {transfer(IORING_OP_READ, 0, pipe.readEnd, memory.id, 4096)}, memory.table),
      StageStatus::kTaken);
  CHECK(ring->drain(kPatienceMs));
}

}  // namespace
}  // namespace test
}  // namespace riolog

// A ring whose kernel refuses for good, and one with a thread of the kernel's that submits.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/ring.h"
#include "core/uring_abi.h"
#include "harness.h"
#include "ring_test_access.h"

namespace riolog {

namespace test {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr int32_t kMissing = INT32_MIN;

std::unique_ptr<Ring> openRing(OpenFiles* files, bool sqPoll, uint32_t entries = 8) {
  RingFailure failure{};
  RingConfig config;
  config.entries = entries;
  config.cqEntries = 4 * entries;
  config.sqPoll = sqPoll;
  config.sqThreadIdleMs = 20;
  std::unique_ptr<Ring> ring(Ring::open(config, files, &failure));
  if (ring == nullptr) skip(std::string("no such io_uring here: ") + std::strerror(failure.error));
  return ring;
}

Request request(uint8_t opcode, uint32_t slot, int fd = -1, uint8_t sqeFlags = 0) {
  Request made{};
  made.opcode = opcode;
  made.sqeFlags = sqeFlags;
  made.fd = fd;
  made.slot = slot;
  made.memory = kNoMemory;
  made.secondMemory = kNoMemory;
  made.quietResult = kNeverQuiet;
  return made;
}

// The result of each slot from 0 on; that none comes twice is checked.
std::vector<int32_t> results(Ring& ring, size_t count) {
  std::vector<int32_t> all(count, kMissing);
  size_t found = 0;
  for (int turn = 0; found < count && turn < kPatienceMs / 10; turn++) {
    Completion some[8];
    bool wake = false;
    const size_t n = ring.reap(some, 8, &wake);
    for (size_t i = 0; i < n; i++) {
      CHECK(some[i].slot < count);
      if (some[i].slot >= count) continue;
      CHECK_EQUAL(all[some[i].slot], kMissing);
      all[some[i].slot] = some[i].result;
      found++;
    }
    if (n > 0) continue;
    pollfd waiting{ring.fd(), POLLIN, 0};
    poll(&waiting, 1, 10);
  }
  CHECK_EQUAL(found, count);
  return all;
}

int failures = 0;
int failure = 0;

long failingEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                  const void* argument, size_t argumentBytes) {
  if (failures > 0 && toSubmit > 0) {
    failures--;
    errno = failure;
    return -1;
  }
  return RingTestAccess::sysEnter(fd, toSubmit, minComplete, flags, argument, argumentBytes);
}

TEST("ring: what the kernel refuses for good completes once, and holds nothing") {
  for (const int error : {EBADF, ENXIO, EFAULT, EBADFD, EOPNOTSUPP}) {
    OpenFiles files;
    auto ring = openRing(&files, false);
    if (ring == nullptr) return;
    RingTestAccess::setEnter(*ring, failingEnter);
    failure = error;
    failures = 1;
    const int64_t before = Memory::liveCount();
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    files.add(fd);
    MemoryTable table;
    Memory* memory = Memory::allocate(4096);
    Request read = request(op::kRead, 1, fd);
    read.memory = table.add(memory);
    read.length = 4096;
    const Request all[] = {request(op::kNop, 0), read, request(op::kClose, 2, fd),
                           request(op::kNop, 3, -1, IOSQE_IO_LINK), request(op::kNop, 4)};
    CHECK_EQUAL(ring->stage(all, 5, table), StageStatus::kTaken);
    memory->release();
    CHECK_EQUAL(files.close(fd), -EBADF);  // the close on its way has it
    CHECK_EQUAL(ring->flush(), error);
    CHECK(!ring->hasUnflushed());
    CHECK(ring->hasCompletions());
    for (const int32_t result : results(*ring, 5)) CHECK_EQUAL(result, -error);
    CHECK_EQUAL(ring->inFlight(), 0U);
    CHECK_EQUAL(Memory::liveCount(), before);
    CHECK_EQUAL(files.close(fd), 0);  // and gave it back
    // The slots and the queue are as good as new.
    const Request again[] = {request(op::kNop, 0), request(op::kNop, 1)};
    CHECK_EQUAL(ring->stage(again, 2, table), StageStatus::kTaken);
    CHECK_EQUAL(ring->flush(), 0);
    for (const int32_t result : results(*ring, 2)) CHECK_EQUAL(result, 0);
  }
}

TEST("ring: refused for good after it was refused for a while") {
  OpenFiles files;
  auto ring = openRing(&files, false);
  if (ring == nullptr) return;
  RingTestAccess::setEnter(*ring, failingEnter);
  failure = EAGAIN;
  failures = 1;
  const Request first = request(op::kNop, 0);
  CHECK_EQUAL(ring->stage(&first, 1, MemoryTable{}), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), EAGAIN);
  const Request second = request(op::kNop, 1);
  CHECK_EQUAL(ring->stage(&second, 1, MemoryTable{}), StageStatus::kTaken);
  failure = EBADF;
  failures = 1;
  CHECK(ring->drain(kPatienceMs));
  CHECK_EQUAL(ring->inFlight(), 0U);
}

TEST("ring: a thread of the kernel submits more than the queue holds, awake and asleep") {
  OpenFiles files;
  auto ring = openRing(&files, true, 4);
  if (ring == nullptr) return;
  for (int round = 0; round < 50; round++) {
    if (round % 10 == 9) usleep(40'000);  // it falls asleep
    for (uint32_t slot = 0; slot < 12; slot++) {
      const Request nop = request(op::kNop, slot);
      CHECK_EQUAL(ring->stage(&nop, 1, MemoryTable{}), StageStatus::kTaken);
      CHECK_EQUAL(ring->flush(), 0);
    }
    for (const int32_t result : results(*ring, 12)) CHECK_EQUAL(result, 0);
  }
  CHECK_EQUAL(ring->inFlight(), 0U);
  CHECK_EQUAL(ring->kernelOverflowCount(), 0U);
}

TEST("ring: a thread of the kernel finds paths and vectors though their owners have gone") {
  OpenFiles files;
  auto ring = openRing(&files, true);
  if (ring == nullptr) return;
  const int64_t before = Memory::liveCount();
  for (int round = 0; round < 100; round++) {
    MemoryTable table;
    Memory* path = Memory::allocate(64);
    std::memcpy(path->data(), "/dev/zero", 10);
    Request open = request(op::kOpenat, 0, AT_FDCWD);
    open.memory = table.add(path);
    open.opFlags = O_RDONLY | O_CLOEXEC;
    CHECK_EQUAL(ring->stage(&open, 1, table), StageStatus::kTaken);
    path->release();
    CHECK_EQUAL(ring->flush(), 0);
    const int fd = results(*ring, 1)[0];
    CHECK(fd >= 0);

    Memory* segments = Memory::allocate(2 * sizeof(Segment));
    Memory* bytes = Memory::allocate(8192);
    const int32_t id = table.add(bytes);
    const Segment parts[] = {{id, 100, 0}, {id, 200, 4096}};
    std::memcpy(segments->data(), parts, sizeof parts);
    Request read = request(op::kReadv, 0, fd);
    read.memory = table.add(segments);
    read.length = 2;
    CHECK_EQUAL(ring->stage(&read, 1, table), StageStatus::kTaken);
    std::memset(segments->data(), 0xFF, sizeof parts);  // it was copied
    segments->release();
    bytes->release();
    CHECK_EQUAL(ring->flush(), 0);
    CHECK_EQUAL(results(*ring, 1)[0], 300);
    CHECK_EQUAL(files.close(fd), 0);
  }
  CHECK_EQUAL(Memory::liveCount(), before);
}

TEST("ring: a thread of the kernel is drained of what would never end") {
  OpenFiles files;
  auto ring = openRing(&files, true);
  if (ring == nullptr) return;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  const int64_t before = Memory::liveCount();
  MemoryTable table;
  Memory* memory = Memory::allocate(4096);
  Request read = request(op::kRead, 0, ends[0]);
  read.memory = table.add(memory);
  read.length = 4096;
  for (; read.slot < 8; read.slot++) {
    CHECK_EQUAL(ring->stage(&read, 1, table), StageStatus::kTaken);
    CHECK_EQUAL(ring->flush(), 0);
  }
  memory->release();
  CHECK(ring->drain(kPatienceMs));
  CHECK_EQUAL(ring->inFlight(), 0U);
  CHECK_EQUAL(Memory::liveCount(), before);
  ring.reset();
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST("ring: unregistering a buffer in flight frees it when its operation has completed") {
  OpenFiles files;
  auto ring = openRing(&files, false);
  if (ring == nullptr) return;
  if (ring->makeBufferTable(4) != 0) return skip("no sparse buffer tables here");
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  const int64_t before = Memory::liveCount();
  MemoryTable table;
  Memory* memory = Memory::allocate(4096);
  const int32_t id = table.add(memory);
  const int index = ring->registerBuffer(memory);
  CHECK(index >= 0);
  CHECK_EQUAL(ring->registerBuffer(memory), index);
  Request read = request(op::kRead, 0, ends[0]);
  read.memory = id;
  read.length = 4096;
  CHECK_EQUAL(ring->stage(&read, 1, table), StageStatus::kTaken);
  CHECK_EQUAL(ring->flush(), 0);
  CHECK_EQUAL(ring->unregisterBuffer(index), 0);
  CHECK_EQUAL(ring->unregisterBuffer(index), -ENOENT);
  table.remove(id);
  memory->release();
  CHECK_EQUAL(Memory::liveCount(), before + 1);
  CHECK_EQUAL(write(ends[1], "hello", 5), 5);
  const int32_t result = results(*ring, 1)[0];
  // A kernel that looks the buffer up when it runs may not find it any more; none writes elsewhere.
  CHECK(result == 5 || result == -EFAULT);
  CHECK_EQUAL(Memory::liveCount(), before);
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace test
}  // namespace riolog

// What a request may be, by its opcode, and who owns what while it is on its way.
#include "core/request.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/ring.h"
#include "core/uring_abi.h"
#include "harness.h"

namespace riolog {

namespace test {
namespace {

constexpr uint32_t kAddress = 128;  // sizeof(sockaddr_storage)

// Memory with a name in a table.
class Named {
 public:
  Named(MemoryTable& table, size_t bytes)
      : memory_(Memory::allocate(bytes)), id_(table.add(memory_)), table_(table) {}
  ~Named() {
    table_.remove(id_);
    memory_->release();
  }
  Named(const Named&) = delete;
  Named& operator=(const Named&) = delete;
  uint8_t* data() const { return memory_->data(); }
  Memory* memory() const { return memory_; }
  int32_t id() const { return id_; }

 private:
  Memory* memory_;
  int32_t id_;
  MemoryTable& table_;
};

Request request(uint8_t opcode, int32_t memory = kNoMemory, uint32_t length = 0) {
  Request made{};
  made.opcode = opcode;
  made.fd = -1;
  made.memory = memory;
  made.length = length;
  made.secondMemory = kNoMemory;
  made.quietResult = kNeverQuiet;
  return made;
}

void putSegment(const Named& vector, uint32_t index, const Segment& segment) {
  std::memcpy(vector.data() + index * sizeof segment, &segment, sizeof segment);
}

// ---- ranges, by opcode ----

TEST("request: bytes must lie in their memory, for each opcode that has some") {
  MemoryTable table;
  Named memory(table, 4096);
  for (const uint8_t opcode : {op::kRead, op::kWrite, op::kSend, op::kRecv, op::kMadvise}) {
    Request good = request(opcode, memory.id(), 4096);
    CHECK_EQUAL(checkRequest(good, table), StageStatus::kTaken);
    good.memoryOffset = 1;
    CHECK_EQUAL(checkRequest(good, table), StageStatus::kBadMemory);
    good.length = 4095;
    CHECK_EQUAL(checkRequest(good, table), StageStatus::kTaken);
    good.memoryOffset = 4097;
    good.length = 0;
    CHECK_EQUAL(checkRequest(good, table), StageStatus::kBadMemory);
    good.memoryOffset = -1;
    CHECK_EQUAL(checkRequest(good, table), StageStatus::kBadMemory);
    CHECK_EQUAL(checkRequest(request(opcode, kNoMemory, 1), table), StageStatus::kBadMemory);
    CHECK_EQUAL(checkRequest(request(opcode, memory.id() + 1, 1), table), StageStatus::kBadMemory);
  }
}

TEST("request: a path must end within its memory, and within PATH_MAX") {
  MemoryTable table;
  Named memory(table, 8192);
  Named ends(table, 16);
  for (const uint8_t opcode : {op::kOpenat, op::kUnlinkat, op::kMkdirat}) {
    std::memset(memory.data(), 'x', 8192);
    CHECK_EQUAL(checkRequest(request(opcode, memory.id()), table), StageStatus::kBadPath);
    memory.data()[4096] = 0;
    CHECK_EQUAL(checkRequest(request(opcode, memory.id()), table), StageStatus::kBadPath);
    memory.data()[4095] = 0;
    CHECK_EQUAL(checkRequest(request(opcode, memory.id()), table), StageStatus::kTaken);
    Request atTheEnd = request(opcode, memory.id());
    atTheEnd.memoryOffset = 8191;
    CHECK_EQUAL(checkRequest(atTheEnd, table), StageStatus::kBadPath);
    memory.data()[8191] = 0;
    CHECK_EQUAL(checkRequest(atTheEnd, table), StageStatus::kTaken);
    atTheEnd.memoryOffset = 8192;
    CHECK_EQUAL(checkRequest(atTheEnd, table), StageStatus::kBadPath);
  }
  std::memset(memory.data(), 'x', 8192);
  for (const uint8_t opcode : {op::kRenameat, op::kLinkat, op::kSymlinkat}) {
    Request both = request(opcode, ends.id());
    CHECK_EQUAL(checkRequest(both, table), StageStatus::kBadPath);
    both.secondMemory = memory.id();
    CHECK_EQUAL(checkRequest(both, table), StageStatus::kBadPath);
    both.secondMemory = ends.id();
    CHECK_EQUAL(checkRequest(both, table), StageStatus::kTaken);
  }
}

TEST("request: statx needs a path, and room for all of its struct") {
  MemoryTable table;
  Named path(table, 16);
  Named room(table, 300);
  Request statx = request(op::kStatx, path.id());
  CHECK_EQUAL(checkRequest(statx, table), StageStatus::kBadMemory);
  statx.secondMemory = room.id();
  CHECK_EQUAL(checkRequest(statx, table), StageStatus::kTaken);
  statx.secondMemoryOffset = 300 - 256;
  CHECK_EQUAL(checkRequest(statx, table), StageStatus::kTaken);
  statx.secondMemoryOffset++;
  CHECK_EQUAL(checkRequest(statx, table), StageStatus::kBadMemory);
  statx.secondMemoryOffset = UINT32_MAX;
  CHECK_EQUAL(checkRequest(statx, table), StageStatus::kBadMemory);
}

TEST("request: an address is no longer than the largest, and lies in its memory") {
  MemoryTable table;
  Named large(table, 4096);
  Named small(table, 20);
  for (const uint8_t opcode : {op::kConnect, op::kBind}) {
    Request to = request(opcode, large.id());
    to.offset = kAddress;
    CHECK_EQUAL(checkRequest(to, table), StageStatus::kTaken);
    to.offset = kAddress + 1;
    CHECK_EQUAL(checkRequest(to, table), StageStatus::kBadMemory);
    to.offset = -1;
    CHECK_EQUAL(checkRequest(to, table), StageStatus::kBadMemory);
    to.memory = small.id();
    to.offset = 21;
    CHECK_EQUAL(checkRequest(to, table), StageStatus::kBadMemory);
    to.offset = 20;
    CHECK_EQUAL(checkRequest(to, table), StageStatus::kTaken);
  }
}

TEST("request: a timer's time lies in its memory") {
  MemoryTable table;
  Named memory(table, 20);
  for (const uint8_t opcode : {op::kTimeout, op::kLinkTimeout}) {
    Request timer = request(opcode, memory.id());
    CHECK_EQUAL(checkRequest(timer, table), StageStatus::kTaken);
    timer.memoryOffset = 5;
    CHECK_EQUAL(checkRequest(timer, table), StageStatus::kBadMemory);
    CHECK_EQUAL(checkRequest(request(opcode), table), StageStatus::kBadMemory);
  }
}

TEST("request: each segment of a vector is looked at") {
  MemoryTable table;
  Named vector(table, 64);
  Named bytes(table, 4096);
  for (const uint8_t opcode : {op::kReadv, op::kWritev, op::kSendmsg, op::kRecvmsg}) {
    putSegment(vector, 0, {bytes.id(), 4096, 0});
    putSegment(vector, 1, {bytes.id(), 96, 4000});
    Request scatter = request(opcode, vector.id(), 2);
    CHECK_EQUAL(checkRequest(scatter, table), StageStatus::kTaken);
    for (const Segment& bad : {Segment{bytes.id(), 97, 4000}, Segment{bytes.id(), UINT32_MAX, 1},
                               Segment{bytes.id(), 0, 4097}, Segment{kNoMemory, 1, 0},
                               Segment{INT32_MAX, 1, 0}, Segment{bytes.id(), 1, -1}}) {
      putSegment(vector, 1, bad);
      CHECK_EQUAL(checkRequest(scatter, table), StageStatus::kBadMemory);
    }
    for (const double offset : {0.5, -2.0, std::nan(""), 1e300}) {
      putSegment(vector, 1, {bytes.id(), 1, offset});
      CHECK_EQUAL(checkRequest(scatter, table), StageStatus::kBadOffset);
    }
    putSegment(vector, 1, {bytes.id(), 1, 0});
    scatter.length = 5;  // of 16 bytes each: one more than there is room for
    CHECK_EQUAL(checkRequest(scatter, table), StageStatus::kBadMemory);
    scatter.length = kMaxSegments + 1;
    CHECK_EQUAL(checkRequest(scatter, table), StageStatus::kBadMemory);
    scatter.length = UINT32_MAX;
    CHECK_EQUAL(checkRequest(scatter, table), StageStatus::kBadMemory);
  }
}

TEST("request: what a message tells of its sender has room") {
  MemoryTable table;
  Named vector(table, 16);
  Named bytes(table, 64);
  Named name(table, sizeof(MessageName));
  putSegment(vector, 0, {bytes.id(), 64, 0});
  Request message = request(op::kRecvmsg, vector.id(), 1);
  message.secondMemory = name.id();
  message.offset = kAddress;
  CHECK_EQUAL(checkRequest(message, table), StageStatus::kTaken);
  message.secondMemoryOffset = 1;
  CHECK_EQUAL(checkRequest(message, table), StageStatus::kBadMemory);
  message.secondMemoryOffset = 0;
  message.offset = kAddress + 1;
  CHECK_EQUAL(checkRequest(message, table), StageStatus::kBadMemory);
}

// ---- who owns the memory ----

TEST("request: a vector owns each of its memories until it has completed") {
  const int64_t before = Memory::liveCount();
  Holdings holdings;
  io_uring_sqe sqe{};
  {
    MemoryTable table;
    Named vector(table, 64);
    Named first(table, 4096);
    Named second(table, 4096);
    Named third(table, 4096);
    putSegment(vector, 0, {first.id(), 10, 1});
    putSegment(vector, 1, {second.id(), 20, 2});
    putSegment(vector, 2, {third.id(), 30, 3});
    putSegment(vector, 3, {first.id(), 40, 50});
    fillSqe(request(op::kWritev, vector.id(), 4), table, &sqe, &holdings);
    const auto* segments = reinterpret_cast<const iovec*>(sqe.addr);
    CHECK(segments[0].iov_base == first.data() + 1);
    CHECK(segments[3].iov_base == first.data() + 50);
    CHECK_EQUAL(segments[2].iov_len, 30U);
    // JavaScript can change its segments now: the kernel has its own.
    std::memset(vector.data(), 0xFF, 64);
    CHECK(segments[1].iov_base == second.data() + 2);
  }
  CHECK_EQUAL(Memory::liveCount(), before + 3);
  holdings.release();
  CHECK_EQUAL(Memory::liveCount(), before);
  holdings.release();
  CHECK_EQUAL(Memory::liveCount(), before);
}

// ---- on a ring ----

// Closes what the test forgot, as the end of a thread does.
struct World {
  OpenFiles files;
  std::unique_ptr<Ring> ring;
  MemoryTable table;
};

std::unique_ptr<World> openWorld(uint32_t entries = 8, uint32_t cqEntries = 16) {
  auto world = std::make_unique<World>();
  RingFailure failure{};
  RingConfig config;
  config.entries = entries;
  config.cqEntries = cqEntries;
  world->ring.reset(Ring::open(config, &world->files, &failure));
  if (world->ring != nullptr) return world;
  skip(std::string("no io_uring here: ") + failure.syscall + ": " + std::strerror(failure.error));
  return nullptr;
}

std::vector<int32_t> run(World& world, const std::vector<Request>& requests) {
  std::vector<int32_t> results(requests.size(), INT32_MIN);
  CHECK_EQUAL(world.ring->stage(requests.data(), requests.size(), world.table),
              StageStatus::kTaken);
  CHECK_EQUAL(world.ring->flush(), 0);
  size_t count = 0;
  for (int turn = 0; count < requests.size() && turn < 1000; turn++) {
    Completion some[16];
    bool wake = false;
    const size_t n = world.ring->reap(some, 16, &wake);
    for (size_t i = 0; i < n; i++) results[some[i].slot] = some[i].result;
    count += n;
    if (n == 0) world.ring->wait(10);
  }
  CHECK_EQUAL(count, requests.size());
  return results;
}

bool isOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

Request openNull(World&, const Named& path, uint32_t slot) {
  std::strcpy(reinterpret_cast<char*>(path.data()), "/dev/null");
  Request open = request(op::kOpenat, path.id());
  open.fd = AT_FDCWD;
  open.opFlags = O_RDONLY | O_CLOEXEC;
  open.slot = slot;
  return open;
}

TEST("request: a descriptor that nobody was told of is closed with the thread's others") {
  auto world = openWorld();
  if (world == nullptr) return;
  int fd = -1;
  {
    Named path(world->table, 64);
    const auto results = run(*world, {openNull(*world, path, 0)});
    fd = results[0];
  }
  CHECK(fd >= 0);
  CHECK(isOpen(fd));
  world.reset();
  CHECK(!isOpen(fd));
}

TEST("request: a close takes the descriptor from its owner, once") {
  auto world = openWorld();
  if (world == nullptr) return;
  Named path(world->table, 64);
  const int fd = run(*world, {openNull(*world, path, 0)})[0];
  Request close = request(op::kClose);
  close.fd = fd;
  CHECK_EQUAL(run(*world, {close})[0], 0);
  CHECK(!isOpen(fd));
  CHECK_EQUAL(world->files.close(fd), -EBADF);
}

TEST("request: a close in a broken chain gives the descriptor back") {
  auto world = openWorld();
  if (world == nullptr) return;
  Named path(world->table, 64);
  const int fd = run(*world, {openNull(*world, path, 0)})[0];
  Request broken = request(op::kFsync);
  broken.sqeFlags = sqe::kLink;
  Request close = request(op::kClose);
  close.fd = fd;
  close.slot = 1;
  const auto results = run(*world, {broken, close});
  CHECK_EQUAL(results[0], -EBADF);
  CHECK_EQUAL(results[1], -ECANCELED);
  CHECK(isOpen(fd));
  CHECK_EQUAL(world->files.close(fd), 0);
  CHECK(!isOpen(fd));
}

TEST("request: only memory that is registered is read into as such") {
  auto world = openWorld();
  if (world == nullptr) return;
  if (world->ring->makeBufferTable(2) < 0) return skip("no table of buffers here");
  Named registered(world->table, 4096);
  Named other(world->table, 4096);
  const int index = world->ring->registerBuffer(registered.memory());
  if (index < 0) return skip("no locked memory here");
  CHECK_EQUAL(world->ring->registerBuffer(registered.memory()), index);
  const int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  std::vector<Request> reads;
  for (const Named* memory : {&registered, &other}) {
    Request read = request(op::kRead, memory->id(), 4096);
    read.fd = fd;
    read.slot = static_cast<uint32_t>(reads.size());
    std::memset(memory->data(), 0xFF, 4096);
    reads.push_back(read);
  }
  world->ring->setTracing(true);
  for (const int32_t result : run(*world, reads)) CHECK_EQUAL(result, 4096);
  CHECK_EQUAL(world->ring->trace()[0].opcode, op::kReadFixed);
  CHECK_EQUAL(world->ring->trace()[1].opcode, op::kRead);
  CHECK_EQUAL(registered.data()[4095], 0);
  CHECK_EQUAL(other.data()[4095], 0);
  CHECK_EQUAL(world->ring->unregisterBuffer(index), 0);
  CHECK_EQUAL(world->ring->unregisterBuffer(index), -ENOENT);
  CHECK_EQUAL(world->ring->unregisterBuffer(2), -EINVAL);
  world->ring->clearTrace();
  CHECK_EQUAL(run(*world, {reads[0]})[0], 4096);
  CHECK_EQUAL(world->ring->trace()[0].opcode, op::kRead);
  ::close(fd);
}

TEST("request: however often one cancels, the kernel never has to drop a completion") {
  auto world = openWorld(4, 8);
  if (world == nullptr) return;
  Named memory(world->table, 4096);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  const uint32_t slots = world->ring->slotCount();
  for (int round = 0; round < 50; round++) {
    for (uint32_t slot = 0; slot < slots; slot++) {
      Request read = request(op::kRead, memory.id(), 4096);
      read.fd = ends[0];
      read.slot = slot;
      CHECK_EQUAL(world->ring->stage(&read, 1, world->table), StageStatus::kTaken);
      CHECK_EQUAL(world->ring->flush(), 0);
    }
    for (uint32_t i = 0; i < 20 * slots; i++) world->ring->cancel(i % slots);
    world->ring->cancel(slots);
    world->ring->cancel(UINT32_MAX);
    CHECK(world->ring->drain(10'000));
  }
  CHECK_EQUAL(world->ring->kernelOverflowCount(), 0U);
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace test
}  // namespace riolog

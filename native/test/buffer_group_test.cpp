// Buffers that the kernel takes by itself: whose they are, and that each goes back once.
#include "core/buffer_group.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/ring.h"
#include "core/uring_abi.h"
#include "harness.h"

namespace riolog::test {
namespace {

constexpr uint16_t kRecvMultishot = 1 << 1;  // IORING_RECV_MULTISHOT, in ioprio
constexpr int kPatienceMs = 10'000;

// A connection, a ring, and a group of its buffers. Without them the case has been skipped.
class Receiver {
 public:
  Receiver(uint32_t count, uint32_t bytesEach) : memoriesBefore_(Memory::liveCount()) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_) != 0) std::abort();
    RingFailure failure{};
    RingConfig config;
    config.entries = 8;
    config.cqEntries = 16;
    ring_.reset(Ring::open(config, &files_, &failure));
    if (ring_ == nullptr) {
      skip(std::string("no io_uring here: ") + std::strerror(failure.error));
      return;
    }
    group_ = ring_->addBufferGroup(count, bytesEach);
    if (group_ < 0) skip(std::string("no buffer rings here: ") + std::strerror(-group_));
  }
  ~Receiver() {
    ring_.reset();
    ::close(ends_[0]);
    ::close(ends_[1]);
    CHECK_EQUAL(Memory::liveCount(), memoriesBefore_);
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  bool works() const { return ring_ != nullptr && group_ >= 0; }
  Ring& ring() { return *ring_; }
  uint16_t group() const { return static_cast<uint16_t>(group_); }

  void send(const void* bytes, size_t length) {
    CHECK_EQUAL(::send(ends_[1], bytes, length, 0), static_cast<ssize_t>(length));
  }

  StageStatus receive(uint32_t slot, uint16_t ioprio = 0) {
    Request request{};
    request.opcode = op::kRecv;
    request.sqeFlags = sqe::kBufferSelect;
    request.ioprio = ioprio;
    request.fd = ends_[0];
    request.slot = slot;
    request.memory = kNoMemory;
    request.secondMemory = kNoMemory;
    request.quietResult = kNeverQuiet;
    request.bufferGroup = group();
    const StageStatus status = ring_->stage(&request, 1, MemoryTable{});
    CHECK_EQUAL(ring_->flush(), 0);
    return status;
  }

  // The next completion; one of slot UINT32_MAX - 1 when none comes.
  Completion next() {
    for (int turn = 0; turn < kPatienceMs / 10; turn++) {
      Completion completion{UINT32_MAX - 1, 0, 0, 0};
      bool wake = false;
      if (ring_->reap(&completion, 1, &wake) == 1) return completion;
      pollfd waiting{ring_->fd(), POLLIN, 0};
      poll(&waiting, 1, 10);
    }
    CHECK(false);
    return {UINT32_MAX - 1, 0, 0, 0};
  }

  // Where a completion's bytes stand.
  const uint8_t* bytesOf(const Completion& completion) const {
    const BufferGroup* group = ring_->bufferGroup(static_cast<uint16_t>(group_));
    return group->data()->data() + size_t{idOf(completion)} * group->bytesEach();
  }
  static uint16_t idOf(const Completion& completion) {
    return static_cast<uint16_t>(completion.flags >> cqe::kBufferShift);
  }

 private:
  int64_t memoriesBefore_;
  int ends_[2] = {-1, -1};
  OpenFiles files_;
  std::unique_ptr<Ring> ring_;
  int group_ = -ENOSYS;
};

TEST("buffer group: each buffer is used once until it is given back") {
  Receiver receiver(2, 64);
  if (!receiver.works()) return;
  std::set<uint16_t> ids;
  for (const char* text : {"one", "two"}) {
    receiver.send(text, 3);
    CHECK_EQUAL(receiver.receive(0), StageStatus::kTaken);
    const Completion completion = receiver.next();
    CHECK_EQUAL(completion.result, 3);
    CHECK((completion.flags & cqe::kBuffer) != 0);
    CHECK(std::memcmp(receiver.bytesOf(completion), text, 3) == 0);
    ids.insert(Receiver::idOf(completion));
  }
  CHECK_EQUAL(ids.size(), 2U);
  receiver.send("three", 5);
  CHECK_EQUAL(receiver.receive(0), StageStatus::kTaken);
  CHECK_EQUAL(receiver.next().result, -ENOBUFS);
  receiver.ring().recycleBuffers();
  receiver.ring().recycleBuffers();  // gives nothing back twice
  for (int i = 0; i < 2; i++) {
    if (i > 0) receiver.send("three", 5);
    CHECK_EQUAL(receiver.receive(0), StageStatus::kTaken);
    CHECK_EQUAL(receiver.next().result, 5);
  }
  receiver.send("four", 4);
  CHECK_EQUAL(receiver.receive(0), StageStatus::kTaken);
  CHECK_EQUAL(receiver.next().result, -ENOBUFS);
}

TEST("buffer group: the count of what was given back wraps") {
  Receiver receiver(4, 16);
  if (!receiver.works()) return;
  size_t wrong = 0;
  for (uint32_t i = 0; i < 70'000; i++) {  // the ring's tail has 16 bits
    receiver.send(&i, sizeof i);
    if (receiver.receive(i % 8) != StageStatus::kTaken) wrong++;
    const Completion completion = receiver.next();
    if (completion.result != sizeof i || Receiver::idOf(completion) > 3 ||
        std::memcmp(receiver.bytesOf(completion), &i, sizeof i) != 0) {
      wrong++;
    }
    receiver.ring().recycleBuffers();
    if (wrong > 0) break;
  }
  CHECK_EQUAL(wrong, 0U);
}

TEST("buffer group: one request that completes again and again") {
  Receiver receiver(8, 16);
  if (!receiver.works()) return;
  CHECK_EQUAL(receiver.receive(3, kRecvMultishot), StageStatus::kTaken);
  for (uint32_t i = 0; i < 1000; i++) {
    receiver.send(&i, sizeof i);
    const Completion completion = receiver.next();
    if (i == 0 && completion.result == -EINVAL) return skip("no multishot recv here");
    CHECK_EQUAL(completion.slot, 3U);
    CHECK_EQUAL(completion.result, static_cast<int32_t>(sizeof i));
    CHECK((completion.flags & cqe::kMore) != 0);
    CHECK(std::memcmp(receiver.bytesOf(completion), &i, sizeof i) == 0);
    CHECK_EQUAL(receiver.ring().inFlight(), 1U);
    CHECK_EQUAL(receiver.receive(3), StageStatus::kBadSlot);  // it is taken all the while
    receiver.ring().recycleBuffers();
  }
  CHECK(receiver.ring().drain(kPatienceMs));
  CHECK_EQUAL(receiver.ring().inFlight(), 0U);
}

TEST("buffer group: is not removed while it is used, and its number is used again") {
  Receiver receiver(2, 64);
  if (!receiver.works()) return;
  Ring& ring = receiver.ring();
  const int64_t before = Memory::liveCount();
  CHECK_EQUAL(receiver.receive(0), StageStatus::kTaken);
  CHECK_EQUAL(ring.removeBufferGroup(receiver.group()), -EBUSY);
  receiver.send("x", 1);
  CHECK_EQUAL(receiver.next().result, 1);
  CHECK_EQUAL(ring.removeBufferGroup(receiver.group()), 0);
  ring.recycleBuffers();  // of what is no more
  CHECK_EQUAL(ring.removeBufferGroup(receiver.group()), -ENOENT);
  CHECK_EQUAL(Memory::liveCount(), before - 2);
  CHECK_EQUAL(receiver.receive(0), StageStatus::kBadGroup);

  CHECK_EQUAL(ring.addBufferGroup(2, 32), receiver.group());
  const int other = ring.addBufferGroup(1, 32);
  CHECK(other != receiver.group());
  receiver.send("y", 1);
  CHECK_EQUAL(receiver.receive(0), StageStatus::kTaken);
  const Completion completion = receiver.next();
  CHECK_EQUAL(completion.result, 1);
  CHECK_EQUAL(receiver.bytesOf(completion)[0], 'y');
}

TEST("buffer group: what the kernel or the system does not have is refused, and costs nothing") {
  Receiver receiver(2, 64);
  if (!receiver.works()) return;
  const int64_t before = Memory::liveCount();
  CHECK(receiver.ring().addBufferGroup(3, 64) < 0);  // no power of two
  CHECK(receiver.ring().addBufferGroup(65536, 64) < 0);
  CHECK_EQUAL(receiver.ring().addBufferGroup(0, 64), -ENOMEM);
  CHECK_EQUAL(receiver.ring().addBufferGroup(2, 0), -ENOMEM);
  CHECK_EQUAL(Memory::liveCount(), before);
  CHECK(receiver.ring().bufferGroup(UINT16_MAX) == nullptr);
}

}  // namespace
}  // namespace riolog::test

#include "request.h"

#include <limits.h>
#include <cmath>
#include <cstring>

#include "uring_abi.h"

namespace riolog {

namespace {

// What an opcode makes of a request's first memory (the SQE's addr).
enum class First : uint8_t {
  kNone,
  kNumber,   // memoryOffset itself
  kBytes,    // `length` bytes; or a provided buffer
  kPath,     // a string that ends with 0
  kAddress,  // a socket address of `offset` bytes
  kPeer,     // room for a socket address; its length is the second memory; or none
  kTimespec,
  kVector,   // `length` segments
  kMessage,  // the same, with a socket address of `offset` bytes in the second memory; or none
};

// What it makes of the second (the SQE's off).
enum class Second : uint8_t {
  kNone,
  kNumber,  // `offset` itself
  kPath,
  kStatx,
  kWithFirst,  // as `First` says
};

struct Shape {
  bool known = false;
  First first = First::kNone;
  Second second = Second::kNone;
};

constexpr size_t kOpcodes = 64;
constexpr uint32_t kStatxBytes = 256;  // sizeof(struct statx), statx(2)
constexpr uint32_t kAddressBytes = sizeof(MessageName::address);

struct Shapes {
  Shape of[kOpcodes];
  constexpr Shapes() {
    const auto set = [this](uint8_t opcode, First first, Second second) {
      of[opcode] = {true, first, second};
    };
    set(op::kNop, First::kNone, Second::kNone);
    set(op::kRead, First::kBytes, Second::kNumber);
    set(op::kWrite, First::kBytes, Second::kNumber);
    set(op::kReadv, First::kVector, Second::kNumber);
    set(op::kWritev, First::kVector, Second::kNumber);
    set(op::kFsync, First::kNone, Second::kNumber);
    set(op::kSyncFileRange, First::kNone, Second::kNumber);
    set(op::kFallocate, First::kNumber, Second::kNumber);
    set(op::kFtruncate, First::kNone, Second::kNumber);
    set(op::kFadvise, First::kNone, Second::kNumber);
    set(op::kMadvise, First::kBytes, Second::kNone);
    set(op::kOpenat, First::kPath, Second::kNone);
    set(op::kClose, First::kNone, Second::kNone);
    set(op::kStatx, First::kPath, Second::kStatx);
    set(op::kUnlinkat, First::kPath, Second::kNone);
    set(op::kMkdirat, First::kPath, Second::kNone);
    set(op::kRenameat, First::kPath, Second::kPath);
    set(op::kLinkat, First::kPath, Second::kPath);
    set(op::kSymlinkat, First::kPath, Second::kPath);
    set(op::kSplice, First::kNumber, Second::kNumber);
    set(op::kTee, First::kNone, Second::kNone);
    set(op::kSocket, First::kNone, Second::kNumber);
    set(op::kBind, First::kAddress, Second::kNumber);
    set(op::kListen, First::kNone, Second::kNone);
    set(op::kAccept, First::kPeer, Second::kWithFirst);
    set(op::kConnect, First::kAddress, Second::kNumber);
    set(op::kShutdown, First::kNone, Second::kNone);
    set(op::kSend, First::kBytes, Second::kNone);
    set(op::kRecv, First::kBytes, Second::kNone);
    set(op::kSendmsg, First::kMessage, Second::kWithFirst);
    set(op::kRecvmsg, First::kMessage, Second::kWithFirst);
    set(op::kPollAdd, First::kNone, Second::kNone);
    set(op::kTimeout, First::kTimespec, Second::kNumber);
    set(op::kLinkTimeout, First::kTimespec, Second::kNone);
    set(op::kAsyncCancel, First::kNone, Second::kNone);
    set(op::kMsgRing, First::kNone, Second::kNone);
  }
};
constexpr Shapes kShapes;

bool isOffset(double value) noexcept {
  return value >= -1 && value <= 9007199254740991.0 && std::floor(value) == value;
}

uint64_t toOffset(double value) noexcept {
  return value < 0 ? ~uint64_t{0} : static_cast<uint64_t>(value);
}

bool lies(const Memory* memory, double offset, uint64_t bytes) noexcept {
  if (memory == nullptr || offset < 0) return false;
  const auto from = static_cast<uint64_t>(offset);
  return from <= memory->size() && bytes <= memory->size() - from;
}

bool endsInTime(const Memory* memory, double offset) noexcept {
  if (!lies(memory, offset, 1)) return false;
  const auto from = static_cast<size_t>(offset);
  const size_t room = memory->size() - from;
  return std::memchr(memory->data() + from, 0, room < PATH_MAX ? room : PATH_MAX) != nullptr;
}

// JavaScript can reach the memory that the segment stands in: so it is copied before it is checked,
// and again when it is used, with nobody running in between.
Segment segmentAt(const Request& request, const Memory& memory, uint32_t index) noexcept {
  Segment segment;
  const auto from = static_cast<size_t>(request.memoryOffset) + index * sizeof segment;
  std::memcpy(&segment, memory.data() + from, sizeof segment);
  return segment;
}

StageStatus checkVector(const Request& request, const MemoryTable& memories) noexcept {
  const Memory* memory = memories.find(request.memory);
  if (request.length > kMaxSegments ||
      !lies(memory, request.memoryOffset, request.length * sizeof(Segment))) {
    return StageStatus::kBadMemory;
  }
  for (uint32_t i = 0; i < request.length; i++) {
    const Segment segment = segmentAt(request, *memory, i);
    if (!isOffset(segment.offset)) return StageStatus::kBadOffset;
    if (!lies(memories.find(segment.memory), segment.offset, segment.length)) {
      return StageStatus::kBadMemory;
    }
  }
  return StageStatus::kTaken;
}

StageStatus check(bool good) noexcept {
  return good ? StageStatus::kTaken : StageStatus::kBadMemory;
}

StageStatus checkFirst(const Request& request, First first, const MemoryTable& memories) noexcept {
  const Memory* memory = memories.find(request.memory);
  const Memory* second = memories.find(request.secondMemory);
  switch (first) {
    case First::kNone:
    case First::kNumber:
      return StageStatus::kTaken;
    case First::kBytes:
      if ((request.sqeFlags & sqe::kBufferSelect) != 0) return StageStatus::kTaken;
      return check(lies(memory, request.memoryOffset, request.length));
    case First::kPath:
      return endsInTime(memory, request.memoryOffset) ? StageStatus::kTaken : StageStatus::kBadPath;
    case First::kAddress:
      return check(request.offset >= 0 && request.offset <= kAddressBytes &&
                   lies(memory, request.memoryOffset, static_cast<uint64_t>(request.offset)));
    case First::kPeer:
      if (request.memory == kNoMemory) return StageStatus::kTaken;
      return check(lies(memory, request.memoryOffset, kAddressBytes) &&
                   lies(second, request.secondMemoryOffset, sizeof(uint32_t)));
    case First::kTimespec:
      return check(lies(memory, request.memoryOffset, sizeof(KernelTimespec)));
    case First::kVector:
      return checkVector(request, memories);
    case First::kMessage:
      if (request.secondMemory != kNoMemory &&
          (request.offset < 0 || request.offset > kAddressBytes ||
           !lies(second, request.secondMemoryOffset, sizeof(MessageName)))) {
        return StageStatus::kBadMemory;
      }
      return checkVector(request, memories);
  }
  return StageStatus::kBadOpcode;
}

StageStatus checkSecond(const Request& request, Second second,
                        const MemoryTable& memories) noexcept {
  const Memory* memory = memories.find(request.secondMemory);
  if (second == Second::kStatx) {
    return check(lies(memory, request.secondMemoryOffset, kStatxBytes));
  }
  if (second == Second::kPath && !endsInTime(memory, request.secondMemoryOffset)) {
    return StageStatus::kBadPath;
  }
  return StageStatus::kTaken;
}

constexpr uint8_t kAllowedSqeFlags =
    sqe::kFixedFile | sqe::kDrain | sqe::kLink | sqe::kHardlink | sqe::kAsync | sqe::kBufferSelect;

uint64_t addressOf(const Memory* memory, double offset) noexcept {
  return reinterpret_cast<uint64_t>(memory->data()) + static_cast<uint64_t>(offset);
}

void fillVector(const Request& request, const MemoryTable& memories, io_uring_sqe* sqe,
                Holdings* holdings) {
  const Memory* memory = memories.find(request.memory);
  Holdings::Vector* vector = holdings->makeVector(request.length);
  for (uint32_t i = 0; i < request.length; i++) {
    const Segment segment = segmentAt(request, *memory, i);
    Memory* bytes = memories.find(segment.memory);
    holdings->add(bytes);
    vector->segments[i].iov_base = reinterpret_cast<void*>(addressOf(bytes, segment.offset));
    vector->segments[i].iov_len = segment.length;
  }
  const bool message = request.opcode == op::kSendmsg || request.opcode == op::kRecvmsg;
  if (!message) {
    sqe->addr = reinterpret_cast<uint64_t>(vector->segments.get());
    return;
  }
  vector->header.msg_iov = vector->segments.get();
  vector->header.msg_iovlen = request.length;
  if (request.secondMemory != kNoMemory) {
    Memory* second = memories.find(request.secondMemory);
    holdings->add(second);
    auto* name = reinterpret_cast<MessageName*>(second->data() + request.secondMemoryOffset);
    vector->header.msg_name = name->address;
    vector->header.msg_namelen = static_cast<socklen_t>(request.offset);
    if (request.opcode == op::kRecvmsg) vector->name = name;
  }
  sqe->addr = reinterpret_cast<uint64_t>(&vector->header);
  sqe->len = 1;
}

}  // namespace

void Holdings::add(Memory* memory) {
  memory->retain();
  if (first_ == nullptr) {
    first_ = memory;
  } else if (second_ == nullptr) {
    second_ = memory;
  } else {
    more_.push_back(memory);
  }
}

void Holdings::release() noexcept {
  if (first_ != nullptr) first_->release();
  if (second_ != nullptr) second_->release();
  for (Memory* memory : more_) memory->release();
  first_ = nullptr;
  second_ = nullptr;
  more_.clear();
  vector_.reset();
}

void Holdings::leak() noexcept {
  first_ = nullptr;
  second_ = nullptr;
  more_.clear();
  (void)vector_.release();
}

Holdings::Vector* Holdings::makeVector(size_t segments) {
  vector_ = std::make_unique<Vector>();
  vector_->segments = std::make_unique<iovec[]>(segments);
  return vector_.get();
}

bool yieldsFd(uint8_t opcode) noexcept {
  return opcode == op::kOpenat || opcode == op::kAccept || opcode == op::kSocket;
}

bool runsOnPolledRing(uint8_t opcode) noexcept {
  switch (opcode) {
    case op::kNop:
    case op::kRead:
    case op::kWrite:
    case op::kReadv:
    case op::kWritev:
    case op::kMsgRing:
      return true;
    default:
      return false;
  }
}

StageStatus checkRequest(const Request& request, const MemoryTable& memories) noexcept {
  if (request.opcode >= kOpcodes || !kShapes.of[request.opcode].known) {
    return StageStatus::kBadOpcode;
  }
  if ((request.sqeFlags & ~kAllowedSqeFlags) != 0) return StageStatus::kBadFlags;
  if (!isOffset(request.offset) || !isOffset(request.memoryOffset)) return StageStatus::kBadOffset;
  const Shape& shape = kShapes.of[request.opcode];
  const StageStatus first = checkFirst(request, shape.first, memories);
  if (first != StageStatus::kTaken) return first;
  return checkSecond(request, shape.second, memories);
}

void fillSqe(const Request& request, const MemoryTable& memories, io_uring_sqe* sqe,
             Holdings* holdings) {
  const Shape& shape = kShapes.of[request.opcode];
  std::memset(sqe, 0, sizeof *sqe);
  sqe->opcode = request.opcode;
  sqe->flags = request.sqeFlags;
  sqe->ioprio = request.ioprio;
  sqe->fd = request.fd;
  sqe->len = request.length;
  // All the flags of opcodes share this word (a union): rw_flags, fsync_flags, msg_flags, ... It is
  // not sqe->flags, where the same bit would mean IOSQE_FIXED_FILE.
  sqe->fsync_flags = request.opFlags;
  sqe->splice_fd_in = request.otherFd;
  if ((request.sqeFlags & sqe::kBufferSelect) != 0) sqe->buf_group = request.bufferGroup;
  if (shape.second == Second::kNumber) sqe->off = toOffset(request.offset);

  switch (shape.first) {
    case First::kNone:
      break;
    case First::kNumber:
      sqe->addr = toOffset(request.memoryOffset);
      break;
    case First::kVector:
    case First::kMessage:
      fillVector(request, memories, sqe, holdings);
      break;
    case First::kTimespec:
      sqe->len = 1;
      [[fallthrough]];
    default:
      if (request.memory == kNoMemory || (request.sqeFlags & sqe::kBufferSelect) != 0) break;
      Memory* memory = memories.find(request.memory);
      holdings->add(memory);
      sqe->addr = addressOf(memory, request.memoryOffset);
  }
  const bool wantsSecond = shape.second == Second::kPath || shape.second == Second::kStatx ||
                           (shape.first == First::kPeer && request.memory != kNoMemory);
  if (wantsSecond) {
    Memory* memory = memories.find(request.secondMemory);
    holdings->add(memory);
    sqe->off = addressOf(memory, request.secondMemoryOffset);
  }
}

}  // namespace riolog

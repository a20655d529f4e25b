// A request to the kernel as JavaScript writes it, and what each opcode takes.
//
// JavaScript names memory by number and place; addresses are made here, after every range has been
// checked, and the memory gets an owner for as long as the kernel may use it.
#pragma once

#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "memory.h"

namespace riolog {

// Offsets are doubles since JavaScript's numbers are; all are safe integers, or -1 where that means
// "the file's own position" or "none".
struct Request {
  uint8_t opcode;    // IORING_OP_*
  uint8_t sqeFlags;  // IOSQE_*
  uint16_t ioprio;   // also IORING_RECV_MULTISHOT and the like
  int32_t fd;
  uint32_t slot;    // names the operation until it has completed
  uint32_t length;  // the SQE's len: bytes, a count, a mode, ..., by the opcode
  double offset;    // the SQE's off, where that is a number
  double memoryOffset;
  int32_t memory;       // MemoryTable id, kNoMemory for none
  uint32_t opFlags;     // rw_flags, fsync_flags, ...: the field of the SQE that the opcode reads
  int32_t quietResult;  // a completion with just this result wakes nobody; kNeverQuiet: each does
  int32_t secondMemory;
  uint32_t secondMemoryOffset;
  int32_t otherFd;  // splice_fd_in
  uint16_t bufferGroup;
  uint16_t reserved;
  uint32_t reserved2;
};
static_assert(sizeof(Request) == 64);

constexpr int32_t kNeverQuiet = -1;
constexpr int32_t kNoMemory = -1;

// One piece of a scattered read or write, as JavaScript writes it into the memory that a request
// with a vector names: `length` of them.
struct Segment {
  int32_t memory;
  uint32_t length;
  double offset;
};
static_assert(sizeof(Segment) == 16);

// UIO_MAXIOV of the kernel (include/uapi/linux/uio.h).
constexpr uint32_t kMaxSegments = 1024;

// The second memory of a recvmsg: the sender's address, and behind it what else the kernel told.
struct MessageName {
  uint8_t address[128];  // sizeof(sockaddr_storage)
  uint32_t addressLength;
  uint32_t messageFlags;  // MSG_TRUNC, ...
};
static_assert(sizeof(MessageName) == 136);

enum class StageStatus : int32_t {
  kTaken = 0,
  kNoRoom,     // fewer free SQEs than requests: reap and flush first
  kBadSlot,    // out of range, or of an operation that has not completed
  kBadOpcode,  // not one that this ring knows how to fill in, or not in the kernel's probe
  kBadMemory,  // no such memory, or the range leaves it
  kBadOffset,
  kBadFlags,
  kDanglingChain,  // the last request links to one that is not there
  kBadPath,        // no end within the memory, or within PATH_MAX
  kBadGroup,       // no such group of provided buffers
};

// What a request owns until it has completed.
class Holdings {
 public:
  Holdings() = default;
  ~Holdings() { release(); }
  Holdings(const Holdings&) = delete;
  Holdings& operator=(const Holdings&) = delete;

  void add(Memory* memory);
  void release() noexcept;
  // Never frees: for what the kernel may still use when nobody can wait for it.
  void leak() noexcept;

  // The header and segments of a vector; their addresses stay the same until release.
  struct Vector {
    msghdr header;
    std::unique_ptr<iovec[]> segments;
    MessageName* name;  // where a recvmsg tells what it learned
  };
  Vector* makeVector(size_t segments);
  const Vector* vector() const noexcept { return vector_.get(); }

 private:
  Memory* first_ = nullptr;
  Memory* second_ = nullptr;
  std::vector<Memory*> more_;  // of a vector
  std::unique_ptr<Vector> vector_;
};

// True when the opcode gives a descriptor that somebody has to close.
bool yieldsFd(uint8_t opcode) noexcept;

// Only these may be asked of a ring with IORING_SETUP_IOPOLL (io_uring/opdef.c, `iopoll`).
bool runsOnPolledRing(uint8_t opcode) noexcept;

// Everything that can be known to be wrong before the kernel is asked. The ring checks slot,
// probe and buffer group.
StageStatus checkRequest(const Request& request, const MemoryTable& memories) noexcept;

// Fills in all of the SQE but user_data, and takes ownership of the memory. The request has been
// checked, in the same turn.
void fillSqe(const Request& request, const MemoryTable& memories, io_uring_sqe* sqe,
             Holdings* holdings);

}  // namespace riolog

// A group of equal buffers from which the kernel takes one when data has come
// (io_uring_register_buf_ring(3)): many idle sockets share few buffers.
#pragma once

#include <cstdint>
#include <memory>

#include "memory.h"

namespace riolog {

class BufferGroup {
 public:
  // `count` is a power of two, at most 32768. nullptr with `error` set when the kernel refuses, or
  // there is no memory.
  static std::unique_ptr<BufferGroup> create(int ringFd, uint16_t group, uint32_t count,
                                             uint32_t bytesEach, int* error);
  ~BufferGroup();

  BufferGroup(const BufferGroup&) = delete;
  BufferGroup& operator=(const BufferGroup&) = delete;

  // Hands a buffer back to the kernel. Not to be called for one that it still has.
  void provide(uint16_t id) noexcept;

  // The bytes of all buffers, one after the other.
  Memory* data() const noexcept { return data_; }
  uint32_t bytesEach() const noexcept { return bytesEach_; }
  uint32_t count() const noexcept { return count_; }

  // Takes the group from the kernel; requests that have a buffer of it keep its memory alive.
  void unregister(int ringFd) noexcept;
  // Never frees: for a group that the kernel may still use.
  void leak() noexcept;

 private:
  BufferGroup() = default;

  uint16_t group_ = 0;
  uint32_t count_ = 0;
  uint32_t bytesEach_ = 0;
  uint16_t tail_ = 0;
  Memory* entries_ = nullptr;
  Memory* data_ = nullptr;
};

}  // namespace riolog

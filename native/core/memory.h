// Page-aligned memory with its own count of owners.
//
// The kernel may write to a buffer long after JavaScript has forgotten it, so a buffer that goes to
// the kernel is never V8's to free: the JavaScript view is one owner, each operation in flight is
// another, and the pages go back only when the last owner lets go.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace riolog {

class Memory {
 public:
  // A zeroed block with one owner, the caller; its address is a multiple of 64 KiB, the largest
  // alignment that a device may ask of a log, and from 2 MiB on of 2 MiB: made of huge pages, where
  // the system has them. Returns nullptr when the system has no memory.
  static Memory* allocate(size_t bytes) noexcept;

  void retain() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  uint8_t* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }

  // Blocks allocated and not yet freed in this process, for leak tests.
  static int64_t liveCount() noexcept;

  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

 private:
  Memory(uint8_t* data, size_t size, uint8_t* mapping, size_t mappingSize) noexcept
      : data_(data), size_(size), mapping_(mapping), mappingSize_(mappingSize) {}
  ~Memory();

  uint8_t* data_;
  size_t size_;
  uint8_t* mapping_;
  size_t mappingSize_;
  std::atomic<uint32_t> owners_{1};
};

// Names memory by small numbers, so that a request written as plain numbers can refer to it.
// A number stays taken while JavaScript holds the view. One table belongs to one thread.
class MemoryTable {
 public:
  int32_t add(Memory* memory);
  void remove(int32_t id) noexcept;
  Memory* find(int32_t id) const noexcept;

 private:
  std::vector<Memory*> entries_;
  std::vector<int32_t> free_;
};

}  // namespace riolog

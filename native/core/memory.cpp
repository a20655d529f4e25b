#include "memory.h"

#include <sys/mman.h>

#include <new>

namespace riolog {

namespace {
constexpr size_t kAlignment = 64 * 1024;
// Of x86-64, and of arm64 with pages of 4 KiB (Documentation/admin-guide/mm/transhuge.rst).
constexpr size_t kHugePage = 2 * 1024 * 1024;
std::atomic<int64_t> liveBlocks{0};
}  // namespace

Memory* Memory::allocate(size_t bytes) noexcept {
  if (bytes == 0 || bytes > SIZE_MAX / 2) return nullptr;
  const size_t alignment = bytes < kHugePage ? kAlignment : kHugePage;
  // mmap gives page alignment; the slack makes room for the larger one.
  const size_t mappingSize = bytes + alignment;
  void* mapping =
      mmap(nullptr, mappingSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
#if defined(MADV_DONTFORK)
  // A fork makes private pages copy-on-write; a direct read that is in flight would then land in
  // the child's page and not in ours (open(2), O_DIRECT). The child of a Node process only calls
  // exec.
  madvise(mapping, mappingSize, MADV_DONTFORK);
#endif
  const auto address = reinterpret_cast<uintptr_t>(mapping);
  const uintptr_t aligned = (address + alignment - 1) & ~uintptr_t{alignment - 1};
#if defined(MADV_HUGEPAGE)
  // A transfer of a megabyte is one piece of memory then, where it would be 256: that is what the
  // kernel pins and hands to the device, each time. Most systems leave it to madvise(2), some do it
  // anyway.
  const size_t huge = bytes & ~(kHugePage - 1);
  if (huge > 0) madvise(reinterpret_cast<void*>(aligned), huge, MADV_HUGEPAGE);
#endif
  auto* memory = new (std::nothrow) Memory(reinterpret_cast<uint8_t*>(aligned), bytes,
                                           static_cast<uint8_t*>(mapping), mappingSize);
  if (memory == nullptr) {
    munmap(mapping, mappingSize);
    return nullptr;
  }
  liveBlocks.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

void Memory::release() noexcept {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

Memory::~Memory() {
  munmap(mapping_, mappingSize_);
  liveBlocks.fetch_sub(1, std::memory_order_relaxed);
}

int64_t Memory::liveCount() noexcept { return liveBlocks.load(std::memory_order_relaxed); }

int32_t MemoryTable::add(Memory* memory) {
  if (!free_.empty()) {
    const int32_t id = free_.back();
    free_.pop_back();
    entries_[static_cast<size_t>(id)] = memory;
    return id;
  }
  entries_.push_back(memory);
  return static_cast<int32_t>(entries_.size() - 1);
}

void MemoryTable::remove(int32_t id) noexcept {
  if (find(id) == nullptr) return;
  entries_[static_cast<size_t>(id)] = nullptr;
  free_.push_back(id);
}

Memory* MemoryTable::find(int32_t id) const noexcept {
  if (id < 0 || static_cast<size_t>(id) >= entries_.size()) return nullptr;
  return entries_[static_cast<size_t>(id)];
}

}  // namespace riolog

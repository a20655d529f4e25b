#include "core/memory.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "harness.h"

namespace riolog::test {
namespace {

#if defined(__linux__)
// Whether the mapping that an address lies in has been advised so (VmFlags, proc_pid_smaps(5)).
bool mayBeHuge(const void* address) {
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  std::ifstream smaps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
      found = wanted >= from && wanted < to;
    if (found && line.starts_with("VmFlags:")) return line.find(" hg") != std::string::npos;
  }
  return false;
}
#endif

TEST("memory: zeroed, aligned to 64 KiB, as long as asked") {
  const int64_t before = Memory::liveCount();
  for (const size_t bytes :
       {size_t{1}, size_t{4095}, size_t{4096}, size_t{65537}, size_t{1} << 20}) {
    Memory* memory = Memory::allocate(bytes);
    CHECK(memory != nullptr);
    CHECK_EQUAL(memory->size(), bytes);
    CHECK_EQUAL(reinterpret_cast<uintptr_t>(memory->data()) % 65536, 0U);
    size_t nonZero = 0;
    for (size_t i = 0; i < bytes; i++) nonZero += memory->data()[i] != 0;
    CHECK_EQUAL(nonZero, 0U);
    std::memset(memory->data(), 0xAB, bytes);
    memory->release();
  }
  CHECK_EQUAL(Memory::liveCount(), before);
}

TEST("memory: from 2 MiB on it lies where a huge page may stand") {
  constexpr size_t kHuge = size_t{2} << 20;
#if defined(__linux__)
  void* probe = mmap(nullptr, kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool isAdvised = madvise(probe, kHuge, MADV_HUGEPAGE) == 0 && mayBeHuge(probe);
  munmap(probe, kHuge);
#endif
  for (const size_t bytes : {kHuge, kHuge + 1, 5 * kHuge / 2, 4 * kHuge}) {
    Memory* memory = Memory::allocate(bytes);
    CHECK(memory != nullptr);
    CHECK_EQUAL(reinterpret_cast<uintptr_t>(memory->data()) % kHuge, 0U);
    memory->data()[bytes - 1] = 1;
#if defined(__linux__)
    if (isAdvised)
      CHECK(mayBeHuge(memory->data()));
    else
      skip("no MADV_HUGEPAGE here");  // a kernel without, or qemu-user, which passes it over
#endif
    memory->release();
  }
}

TEST("memory: what no system has is refused, not promised") {
  CHECK(Memory::allocate(0) == nullptr);
  CHECK(Memory::allocate(SIZE_MAX) == nullptr);
  CHECK(Memory::allocate(SIZE_MAX / 2) == nullptr);
  CHECK(Memory::allocate(size_t{1} << 60) == nullptr);
}

TEST("memory: lives until its last owner lets go") {
  const int64_t before = Memory::liveCount();
  Memory* memory = Memory::allocate(4096);
  memory->retain();
  memory->retain();
  memory->release();
  memory->release();
  CHECK_EQUAL(Memory::liveCount(), before + 1);
  memory->data()[0] = 1;
  memory->release();
  CHECK_EQUAL(Memory::liveCount(), before);
}

#if defined(__linux__)
bool childHas(void* page) {
  const pid_t child = fork();
  if (child == 0) _exit(msync(page, 4096, MS_ASYNC) == 0 ? 1 : 0);
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

TEST("memory: a fork does not take it along, so that direct reads in flight land in it") {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  CHECK(childHas(page));
  const bool heeded = madvise(page, 4096, MADV_DONTFORK) == 0 && !childHas(page);
  Memory* memory = Memory::allocate(4096);
  if (heeded) {
    CHECK(!childHas(memory->data()));
  } else {
    skip("no MADV_DONTFORK here");  // qemu-user passes it over
  }
  memory->release();
  munmap(page, 4096);
}
#endif

TEST("memory table: names are reused, and unknown ones find nothing") {
  MemoryTable table;
  Memory* first = Memory::allocate(1);
  Memory* second = Memory::allocate(1);
  const int32_t firstId = table.add(first);
  const int32_t secondId = table.add(second);
  CHECK(firstId != secondId);
  CHECK(table.find(firstId) == first);
  CHECK(table.find(secondId) == second);
  CHECK(table.find(-1) == nullptr);
  CHECK(table.find(2) == nullptr);
  CHECK(table.find(INT32_MAX) == nullptr);
  CHECK(table.find(INT32_MIN) == nullptr);

  table.remove(firstId);
  CHECK(table.find(firstId) == nullptr);
  table.remove(firstId);  // a second time changes nothing: the name must not be given out twice
  table.remove(-1);
  table.remove(99);
  CHECK_EQUAL(table.add(second), firstId);
  CHECK_EQUAL(table.add(first), 2);
  first->release();
  second->release();
}

}  // namespace
}  // namespace riolog::test

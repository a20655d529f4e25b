// Bytes that end where readable memory ends: a read of one byte too many faults.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace riolog::test {

class Guarded {
 public:
  explicit Guarded(size_t length) : length_(length) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    usable_ = (length + page - 1) / page * page;
    mapped_ = usable_ + page;
    void* mapping =
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) std::abort();
    mapping_ = static_cast<uint8_t*>(mapping);
    if (mprotect(mapping_ + usable_, page, PROT_NONE) != 0) std::abort();
  }
  ~Guarded() { munmap(mapping_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  // The last byte of these stands right before the page that faults.
  uint8_t* data() const { return mapping_ + usable_ - length_; }
  size_t size() const { return length_; }

 private:
  size_t length_;
  size_t usable_;
  size_t mapped_;
  uint8_t* mapping_;
};

}  // namespace riolog::test

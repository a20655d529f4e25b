// The bytes of an input, taken from its front; zeros once there are no more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace riolog::fuzz {

class Input {
 public:
  Input(const uint8_t* bytes, size_t size) : bytes_(bytes), left_(size) {}

  template <typename T>
  T take() {
    T value{};
    const size_t length = std::min(sizeof value, left_);
    if (length > 0) std::memcpy(&value, bytes_, length);
    advance(length);
    return value;
  }

  // At most `most` bytes; fewer where the input ends.
  size_t takeInto(uint8_t* to, size_t most) {
    const size_t length = std::min(most, left_);
    if (length > 0) std::memcpy(to, bytes_, length);
    advance(length);
    return length;
  }

  size_t left() const { return left_; }

 private:
  void advance(size_t length) {
    bytes_ += length;
    left_ -= length;
  }

  const uint8_t* bytes_;
  size_t left_;
};

// Exactly so many bytes on the heap: AddressSanitizer sees a read of the next one.
class Exact {
 public:
  explicit Exact(size_t size) : bytes_(new uint8_t[size]()), size_(size) {}
  Exact(const uint8_t* from, size_t size) : Exact(size) {
    if (size > 0) std::memcpy(bytes_.get(), from, size);
  }

  uint8_t* data() const { return bytes_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  size_t size_;
};

}  // namespace riolog::fuzz

// The first thing that does not hold is what a property returns.
#define HOLDS(condition)                 \
  do {                                   \
    if (!(condition)) return #condition; \
  } while (false)

// The friend of Ring: what no caller may do, a test must.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ring.h"

namespace riolog {

struct RingTestAccess {
  static void setEnter(Ring& ring, Ring::EnterCall call) { ring.enterCall_ = call; }
  static long sysEnter(int fd, uint32_t toSubmit, uint32_t minComplete, uint32_t flags,
                       const void* argument, size_t argumentBytes) {
    return Ring::sysEnter(fd, toSubmit, minComplete, flags, argument, argumentBytes);
  }
  static uint32_t completionsAtHand(const Ring& ring) {
    return __atomic_load_n(ring.cqTail_, __ATOMIC_ACQUIRE) - *ring.cqHead_;
  }
  static void* mapping(const Ring& ring) { return ring.rings_; }
  static size_t mappingBytes(const Ring& ring) { return ring.ringsBytes_; }
};

}  // namespace riolog

// The file system calls that Node does not offer: relative to a directory's descriptor, and flock.
// Each returns a result >= 0, or a negative errno, and retries EINTR.
#pragma once

#include <cstdint>

namespace riolog {

struct FileCall {
  enum Kind : uint32_t {
    kOpenAt = 0,    // (dirFd, name, flags, mode) -> fd, always with O_CLOEXEC and O_NOFOLLOW
    kUnlinkAt = 1,  // (dirFd, name)
    kRenameAt = 2,  // (dirFd, name, otherName)
    kFlock = 3,     // (fd), exclusive, without waiting
    kDropCache = 4,  // (fd): what the page cache holds of a synced file is forgotten
    kDioAlignment = 5,  // (fd) -> bytes, 0 where the kernel does not tell (statx(2), STATX_DIOALIGN)
  };
  Kind kind;
  int fd;
  const char* name;
  const char* otherName;
  int flags;
  uint32_t mode;
};

int64_t runFileCall(const FileCall& call) noexcept;

}  // namespace riolog

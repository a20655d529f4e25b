// The file system calls that Node does not offer: relative to a directory's descriptor, and flock.
// Each returns a result >= 0, or a negative errno, and retries EINTR.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_set>

namespace riolog {

// The descriptors that one JavaScript thread has opened. A worker that is terminated closes nothing
// by itself, and a descriptor left open would hold its file's lock for as long as the process
// lives.
class OpenFiles {
 public:
  OpenFiles() = default;
  ~OpenFiles();
  OpenFiles(const OpenFiles&) = delete;
  OpenFiles& operator=(const OpenFiles&) = delete;

  void add(int fd);
  // Closes a descriptor of this set; 0 or a negative errno, EBADF for any other.
  int close(int fd) noexcept;
  // Gives a descriptor up to whoever closes it now; false for one that is not of this set.
  bool disown(int fd) noexcept;

 private:
  std::mutex mutex_;  // files are opened on threads of libuv's pool
  std::unordered_set<int> fds_;
};

struct FileCall {
  enum Kind : uint32_t {
    // (dirFd, name, flags, mode) -> fd of a regular file, always with O_CLOEXEC and O_NOFOLLOW;
    // EISDIR for a directory, ENXIO for a pipe or a device
    kOpenAt = 0,
    kUnlinkAt = 1,      // (dirFd, name)
    kRenameAt = 2,      // (dirFd, name, otherName)
    kFlock = 3,         // (fd), exclusive, without waiting
    kDropCache = 4,     // (fd): what the page cache holds of a synced file is forgotten
    kDioAlignment = 5,  // (fd) -> bytes, 0 where statx(2) does not tell (STATX_DIOALIGN)
    kGetFlags = 6,      // (fd) -> O_* as open(2) and fcntl(2) left them
    // (fd, flags: first KiB, mode: KiB): takes space that reads as zeros, and grows the file
    // (fallocate(2)); EOPNOTSUPP where there is no such thing
    kAllocate = 7,
  };
  Kind kind;
  int fd;
  const char* name;
  const char* otherName;
  int flags;
  uint32_t mode;
};

// A descriptor that is opened goes into `files`.
int64_t runFileCall(const FileCall& call, OpenFiles* files);

// What became of a commit: 0, or a negative errno and which half of it failed.
struct CommitResult {
  int64_t result = 0;
  bool inSync = false;
};

// Writes all of it at `position` and makes it durable, holding up the calling thread: by fdatasync
// behind the whole write, or with `dsync` by RWF_DSYNC on each write (pwritev2(2)), where there is
// that. A short write goes on from its last whole block, as O_DIRECT asks.
CommitResult commitBlocking(int fd, const uint8_t* data, uint64_t length, uint64_t position,
                            bool dsync) noexcept;

}  // namespace riolog

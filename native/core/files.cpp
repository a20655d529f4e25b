#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/stat.h>  // not <sys/stat.h>: glibc 2.36 has no direct I/O fields in struct statx
#include <sys/syscall.h>
#endif

#include <cerrno>
#include <cstdio>

#include "regular_file.h"

namespace riolog {

namespace {

// Each answers like a system call: -1 with errno set, or a result.
int64_t dioAlignment(int fd) noexcept {
#if defined(STATX_DIOALIGN)
  struct statx found;
  if (syscall(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &found) != 0) return -1;
  if ((found.stx_mask & STATX_DIOALIGN) == 0) return 0;
  const uint32_t memory = found.stx_dio_mem_align;
  const uint32_t offset = found.stx_dio_offset_align;
  return memory > offset ? memory : offset;
#else
  (void)fd;
  return 0;
#endif
}

int64_t dropCache(int fd) noexcept {
#if defined(POSIX_FADV_DONTNEED)
  const int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (error == 0) return 0;
  errno = error;
  return -1;
#else
  (void)fd;
  return 0;
#endif
}

int64_t allocate(int fd, int64_t fromKiB, int64_t lengthKiB) noexcept {
#if defined(__linux__)
  return fallocate(fd, 0, fromKiB * 1024, lengthKiB * 1024);
#else
  (void)fd, (void)fromKiB, (void)lengthKiB;
  errno = EOPNOTSUPP;
  return -1;
#endif
}

int64_t runOnce(const FileCall& call) noexcept {
  switch (call.kind) {
    case FileCall::kOpenAt:
      return openRegular(call.fd, call.name, call.flags, call.mode);
    case FileCall::kUnlinkAt:
      return unlinkat(call.fd, call.name, 0);
    case FileCall::kRenameAt:
      return renameat(call.fd, call.name, call.fd, call.otherName);
    case FileCall::kFlock:
      return flock(call.fd, LOCK_EX | LOCK_NB);
    case FileCall::kDropCache:
      return dropCache(call.fd);
    case FileCall::kDioAlignment:
      return dioAlignment(call.fd);
    case FileCall::kGetFlags:
      return fcntl(call.fd, F_GETFL);
    case FileCall::kAllocate:
      return allocate(call.fd, call.flags, call.mode);
  }
  return -EINVAL;
}

}  // namespace

OpenFiles::~OpenFiles() {
  for (const int fd : fds_) ::close(fd);
}

void OpenFiles::add(int fd) {
  const std::lock_guard<std::mutex> held(mutex_);
  fds_.insert(fd);
}

int OpenFiles::close(int fd) noexcept {
  const std::lock_guard<std::mutex> held(mutex_);
  if (fds_.erase(fd) == 0) return -EBADF;
  // Never again after EINTR: on Linux the descriptor is gone then, too (close(2)).
  return ::close(fd) == 0 ? 0 : -errno;
}

bool OpenFiles::disown(int fd) noexcept {
  const std::lock_guard<std::mutex> held(mutex_);
  return fds_.erase(fd) > 0;
}

int64_t runFileCall(const FileCall& call, OpenFiles* files) {
  for (;;) {
    const int64_t result = runOnce(call);
    if (result != -1) {
      if (call.kind == FileCall::kOpenAt) files->add(static_cast<int>(result));
      return result;
    }
    if (errno != EINTR) return -errno;
  }
}

namespace {

constexpr uint64_t kBlockBytes = 4096;

#if defined(RWF_DSYNC)
constexpr bool kHasDsync = true;
#else
constexpr bool kHasDsync = false;
#endif

int64_t writeSome(int fd, const uint8_t* data, uint64_t length, uint64_t position,
                  bool dsync) noexcept {
#if defined(RWF_DSYNC)
  if (dsync) {
    const iovec piece{const_cast<uint8_t*>(data), length};
    return pwritev2(fd, &piece, 1, static_cast<off_t>(position), RWF_DSYNC);
  }
#else
  (void)dsync;
#endif
  return pwrite(fd, data, length, static_cast<off_t>(position));
}

int syncData(int fd) noexcept {
#if defined(__APPLE__)
  // fsync(2) there leaves the bytes in the drive's cache.
  return fcntl(fd, F_FULLFSYNC);
#else
  return fdatasync(fd);
#endif
}

}  // namespace

CommitResult commitBlocking(int fd, const uint8_t* data, uint64_t length, uint64_t position,
                            bool dsync) noexcept {
  uint64_t written = 0;
  while (written < length) {
    const uint64_t from = written - written % kBlockBytes;
    const int64_t count = writeSome(fd, data + from, length - from, position + from, dsync);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return {-errno, false};
    // No headway: it would be tried for ever.
    if (from + static_cast<uint64_t>(count) <= written) return {-EIO, false};
    written = from + static_cast<uint64_t>(count);
  }
  if (dsync && kHasDsync) return {};
  while (syncData(fd) != 0) {
    // A sync that failed for any other reason must not be tried again: the second one may come back
    // good though the bytes are lost.
    if (errno != EINTR) return {-errno, true};
  }
  return {};
}

}  // namespace riolog

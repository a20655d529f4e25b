#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/stat.h>  // not <sys/stat.h>: glibc 2.36 has no direct I/O fields in struct statx
#include <sys/syscall.h>
#endif

#include <cerrno>
#include <cstdio>

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

int64_t runOnce(const FileCall& call) noexcept {
  switch (call.kind) {
    case FileCall::kOpenAt:
      return openat(call.fd, call.name, call.flags | O_CLOEXEC | O_NOFOLLOW, call.mode);
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

}  // namespace riolog

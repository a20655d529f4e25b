#include "regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace riolog {

namespace {

// 0 for a regular file, else the errno that says what is wrong with it.
int notRegular(int fd) noexcept {
  struct stat found;
  if (fstat(fd, &found) != 0) return errno;
  if (S_ISREG(found.st_mode)) return 0;
  return S_ISDIR(found.st_mode) ? EISDIR : ENXIO;
}

}  // namespace

// Opening a pipe waits for somebody at its other end, unless it is told not to. The flag goes
// again: a ring would take it to mean that reads of the file must not wait either.
int openRegular(int directory, const char* name, int asked, uint32_t mode) noexcept {
  const int flags = asked | O_CLOEXEC | O_NOFOLLOW;
  int fd = openat(directory, name, flags | O_NONBLOCK, mode);
  // A regular file that somebody has a lease on (fcntl(2), F_SETLEASE): that wait ends.
  if (fd < 0 && errno == EAGAIN) fd = openat(directory, name, flags, mode);
  if (fd < 0) return -1;
  int wrong = notRegular(fd);
  const int now = wrong == 0 ? fcntl(fd, F_GETFL) : -1;
  if (wrong == 0 && (now < 0 || fcntl(fd, F_SETFL, now & ~O_NONBLOCK) != 0)) wrong = errno;
  if (wrong == 0) return fd;
  ::close(fd);
  errno = wrong;
  return -1;
}

}  // namespace riolog

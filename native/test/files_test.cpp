#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "harness.h"

namespace riolog::test {
namespace {

// A descriptor that closes itself.
class Opened {
 public:
  explicit Opened(const char* path) : fd_(open(path, O_RDWR | O_CLOEXEC)) {}
  explicit Opened(int fd) : fd_(fd) {}
  ~Opened() { close(fd_); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

int temporaryFile() {
  char name[] = "/tmp/riolog-test-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  return fd;
}

const std::vector<uint8_t>& bytes() {
  static const std::vector<uint8_t> filled(8192, 0x5A);
  return filled;
}

CommitResult commitTo(int fd, bool dsync) {
  return commitBlocking(fd, bytes().data(), bytes().size(), 4096, dsync);
}

void checkWritten(bool dsync) {
  const Opened file(temporaryFile());
  CHECK_EQUAL(commitTo(file.fd(), dsync).result, int64_t{0});
  std::vector<uint8_t> read(bytes().size() + 4096);
  CHECK_EQUAL(pread(file.fd(), read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
  CHECK_EQUAL(std::memcmp(read.data() + 4096, bytes().data(), bytes().size()), 0);
  CHECK_EQUAL(read[4095], uint8_t{0});
}

TEST("commit: writes all of it at its place") { checkWritten(false); }

#if defined(RWF_DSYNC)
// Asked of the kernel directly: an emulator of user programs may not know the flag.
bool hasDsync() {
  const Opened file(temporaryFile());
  char byte = 0;
  const iovec piece{&byte, 1};
  return pwritev2(file.fd(), &piece, 1, 0, RWF_DSYNC) == 1;
}

TEST("commit: the same by RWF_DSYNC, without a sync behind it") {
  if (!hasDsync()) return skip("pwritev2 has no RWF_DSYNC here");
  checkWritten(true);
  // It takes every write, and cannot be synced.
  const Opened sink("/dev/null");
  CHECK_EQUAL(commitTo(sink.fd(), true).result, int64_t{0});
}

TEST("commit: where RWF_DSYNC is refused that is told, and nothing else is done instead") {
  const Opened file("/dev/full");
  CHECK_EQUAL(commitTo(file.fd(), true).result, int64_t{-EOPNOTSUPP});
}
#endif

#if defined(__linux__)
TEST("commit: fdatasync comes behind the write, and its failure is told as such") {
  const Opened file("/dev/null");
  const CommitResult synced = commitTo(file.fd(), false);
  CHECK_EQUAL(synced.result, int64_t{-EINVAL});
  CHECK_EQUAL(synced.inSync, true);
}

TEST("commit: a failed write is told, and nothing is synced") {
  const Opened file("/dev/full");
  const CommitResult found = commitTo(file.fd(), false);
  CHECK_EQUAL(found.result, int64_t{-ENOSPC});
  CHECK_EQUAL(found.inSync, false);
}
#endif

TEST("commit: a descriptor that is none") {
  const CommitResult found = commitTo(-1, false);
  CHECK_EQUAL(found.result, int64_t{-EBADF});
  CHECK_EQUAL(found.inSync, false);
}

int64_t openAt(const char* path, int flags) {
  OpenFiles files;
  return runFileCall({FileCall::kOpenAt, AT_FDCWD, path, "", flags, 0600}, &files);
}

TEST("open: a pipe is refused and not waited for, and so are directories and devices") {
  char folder[] = "/tmp/riolog-test-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  const std::string pipe = std::string(folder) + "/pipe";
  CHECK_EQUAL(mkfifo(pipe.c_str(), 0600), 0);
  CHECK_EQUAL(openAt(pipe.c_str(), O_RDONLY), int64_t{-ENXIO});
  CHECK_EQUAL(openAt(pipe.c_str(), O_RDWR | O_CREAT), int64_t{-ENXIO});
  CHECK_EQUAL(openAt(folder, O_RDONLY), int64_t{-EISDIR});
  CHECK_EQUAL(openAt("/dev/null", O_RDWR), int64_t{-ENXIO});
  unlink(pipe.c_str());
  rmdir(folder);
}

TEST("open: what is opened does not carry O_NONBLOCK, which a ring would heed") {
  char name[] = "/tmp/riolog-test-XXXXXX";
  close(mkstemp(name));
  OpenFiles files;
  const int64_t fd = runFileCall({FileCall::kOpenAt, AT_FDCWD, name, "", O_RDWR, 0}, &files);
  CHECK(fd >= 0);
  const int64_t flags =
      runFileCall({FileCall::kGetFlags, static_cast<int>(fd), "", "", 0, 0}, &files);
  CHECK_EQUAL(flags & O_NONBLOCK, int64_t{0});
  CHECK_EQUAL(flags & O_ACCMODE, int64_t{O_RDWR});
  unlink(name);
}

TEST("allocate: the file grows, reads as zeros, and keeps what it has") {
  char name[] = "/tmp/riolog-test-XXXXXX";
  const int fd = mkstemp(name);
  CHECK_EQUAL(write(fd, "before", 6), ssize_t{6});
  CHECK_EQUAL(runFileCall({FileCall::kAllocate, fd, "", "", 0, 64}, nullptr), int64_t{0});
  CHECK_EQUAL(runFileCall({FileCall::kAllocate, fd, "", "", 100, 28}, nullptr), int64_t{0});
  CHECK_EQUAL(lseek(fd, 0, SEEK_END), off_t{128 * 1024});
  char bytes[16] = {1};
  CHECK_EQUAL(pread(fd, bytes, 6, 0), ssize_t{6});
  CHECK(std::string(bytes, 6) == "before");
  CHECK_EQUAL(pread(fd, bytes, 1, 110 * 1024), ssize_t{1});
  CHECK(bytes[0] == 0);
  CHECK_EQUAL(runFileCall({FileCall::kAllocate, -1, "", "", 0, 4}, nullptr), int64_t{-EBADF});
  close(fd);
  unlink(name);
}

}  // namespace
}  // namespace riolog::test

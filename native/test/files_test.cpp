#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
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

TEST("commit: writes all of it at its place, both ways") {
  for (const bool dsync : {false, true}) {
    const Opened file(temporaryFile());
    const CommitResult found = commitTo(file.fd(), dsync);
    CHECK_EQUAL(found.result, int64_t{0});
    std::vector<uint8_t> read(bytes().size() + 4096);
    CHECK_EQUAL(pread(file.fd(), read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
    CHECK_EQUAL(std::memcmp(read.data() + 4096, bytes().data(), bytes().size()), 0);
    CHECK_EQUAL(read[4095], uint8_t{0});
  }
}

#if defined(__linux__)
TEST("commit: fdatasync comes behind the write, and its failure is told as such") {
  // It takes every write, and cannot be synced.
  const Opened file("/dev/null");
  const CommitResult synced = commitTo(file.fd(), false);
  CHECK_EQUAL(synced.result, int64_t{-EINVAL});
  CHECK_EQUAL(synced.inSync, true);
  CHECK_EQUAL(commitTo(file.fd(), true).result, int64_t{0});
}

TEST("commit: a failed write is told, and nothing is synced") {
  const Opened file("/dev/full");
  const CommitResult found = commitTo(file.fd(), false);
  CHECK_EQUAL(found.result, int64_t{-ENOSPC});
  CHECK_EQUAL(found.inSync, false);
  // Which has no RWF_DSYNC: that is told too, not left out.
  CHECK_EQUAL(commitTo(file.fd(), true).result, int64_t{-EOPNOTSUPP});
}
#endif

TEST("commit: a descriptor that is none") {
  const CommitResult found = commitTo(-1, false);
  CHECK_EQUAL(found.result, int64_t{-EBADF});
  CHECK_EQUAL(found.inSync, false);
}

}  // namespace
}  // namespace riolog::test

// What registering things with the ring saves a commit: the file (IORING_REGISTER_FILES), the buffer
// (IORING_REGISTER_BUFFERS), the ring's own descriptor (IORING_REGISTER_RING_FDS). The same linked
// chain (write, then fdatasync) each way, in turns of some commits, so that a change of the machine's
// speed meets all alike.
//
//   cc -O2 -o registered registered.c && ./registered <directory> [bytes a commit] [rounds]
//
// Prints the median time of a commit each way and its ratio to the first, in microseconds.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { kFileBytes = 64 << 20, kBufferBytes = 1 << 20, kCommitsARound = 200, kWays = 5 };

struct Way {
  const char* name;
  int file, buffer, ring;
};
static const struct Way kAll[kWays] = {{"nothing", 0, 0, 0},
                                       {"file", 1, 0, 0},
                                       {"buffer", 0, 1, 0},
                                       {"ring", 0, 0, 1},
                                       {"all three", 1, 1, 1}};

static double nowUs(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static int byValue(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

struct Ring {
  int fd, enterFd;
  unsigned enterFlags;
  uint32_t *sqTail, *sqMask, *sqArray, *cqHead, *cqTail, *cqMask;
  struct io_uring_sqe* sqes;
  struct io_uring_cqe* cqes;
};

static struct Ring openRing(int registered) {
  struct io_uring_params p = {.flags = (1U << 8) | (1U << 12)};  // COOP_TASKRUN | SINGLE_ISSUER
  struct Ring r;
  r.fd = (int)syscall(__NR_io_uring_setup, 8, &p);
  if (r.fd < 0) fail("io_uring_setup");
  const size_t sq = p.sq_off.array + p.sq_entries * 4;
  const size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  const int prot = PROT_READ | PROT_WRITE;
  char* m = mmap(0, sq > cq ? sq : cq, prot, MAP_SHARED | MAP_POPULATE, r.fd, IORING_OFF_SQ_RING);
  r.sqes = mmap(0, p.sq_entries * 64, prot, MAP_SHARED | MAP_POPULATE, r.fd, IORING_OFF_SQES);
  if (m == MAP_FAILED || r.sqes == MAP_FAILED) fail("mmap");
  r.sqTail = (uint32_t*)(m + p.sq_off.tail);
  r.sqMask = (uint32_t*)(m + p.sq_off.ring_mask);
  r.sqArray = (uint32_t*)(m + p.sq_off.array);
  r.cqHead = (uint32_t*)(m + p.cq_off.head);
  r.cqTail = (uint32_t*)(m + p.cq_off.tail);
  r.cqMask = (uint32_t*)(m + p.cq_off.ring_mask);
  r.cqes = (struct io_uring_cqe*)(m + p.cq_off.cqes);
  r.enterFd = r.fd;
  r.enterFlags = 0;
  if (registered) {
    struct io_uring_rsrc_update update = {.offset = -1U, .data = (uint64_t)r.fd};
    if (syscall(__NR_io_uring_register, r.fd, 20, &update, 1) != 1) fail("REGISTER_RING_FDS");
    r.enterFd = (int)update.offset;
    r.enterFlags = 1U << 4;  // IORING_ENTER_REGISTERED_RING
  }
  return r;
}

static void commit(struct Ring* r, const struct Way* way, int fd, void* data, uint32_t length,
                   uint64_t at) {
  uint32_t tail = *r->sqTail;
  for (int i = 0; i < 2; i++, tail++) {
    const uint32_t index = tail & *r->sqMask;
    struct io_uring_sqe* sqe = &r->sqes[index];
    memset(sqe, 0, sizeof *sqe);
    sqe->fd = way->file ? 0 : fd;
    sqe->flags = way->file ? IOSQE_FIXED_FILE : 0;
    if (i == 0) {
      sqe->opcode = way->buffer ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE;
      sqe->flags |= IOSQE_IO_LINK;
      sqe->addr = (uint64_t)(uintptr_t)data;
      sqe->len = length;
      sqe->off = at;
      sqe->user_data = length;
    } else {
      sqe->opcode = IORING_OP_FSYNC;
      sqe->fsync_flags = IORING_FSYNC_DATASYNC;
    }
    r->sqArray[index] = index;
  }
  __atomic_store_n(r->sqTail, tail, __ATOMIC_RELEASE);
  if (syscall(__NR_io_uring_enter, r->enterFd, 2, 2, IORING_ENTER_GETEVENTS | r->enterFlags, NULL,
              0) != 2) {
    fail("io_uring_enter");
  }
  uint32_t head = *r->cqHead;
  while (head != __atomic_load_n(r->cqTail, __ATOMIC_ACQUIRE)) {
    const struct io_uring_cqe* cqe = &r->cqes[head++ & *r->cqMask];
    if (cqe->res != (int32_t)cqe->user_data) {
      fprintf(stderr, "chain failed: %d\n", cqe->res);
      exit(1);
    }
  }
  __atomic_store_n(r->cqHead, head, __ATOMIC_RELEASE);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const uint32_t bytes = argc > 2 ? (uint32_t)atoi(argv[2]) : 12288;
  const int rounds = argc > 3 ? atoi(argv[3]) : 40;
  char path[4096];
  snprintf(path, sizeof path, "%s/registered.bin", argv[1]);
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
  char* buffer = mmap(0, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fd < 0 || buffer == MAP_FAILED || bytes % 4096 != 0 || bytes > kBufferBytes) fail("open");
  unlink(path);
  memset(buffer, 7, kBufferBytes);
  for (off_t at = 0; at < kFileBytes; at += kBufferBytes) {
    if (pwrite(fd, buffer, kBufferBytes, at) != kBufferBytes) fail("pwrite");
  }
  if (fsync(fd) != 0) fail("fsync");

  struct Ring rings[kWays];
  double* medians = malloc(sizeof(double) * (size_t)(kWays * rounds));
  if (!medians) fail("malloc");
  for (int w = 0; w < kWays; w++) {
    rings[w] = openRing(kAll[w].ring);
    const struct iovec whole = {buffer, kBufferBytes};
    if (kAll[w].file && syscall(__NR_io_uring_register, rings[w].fd, 2, &fd, 1) != 0) {
      fail("REGISTER_FILES");
    }
    if (kAll[w].buffer && syscall(__NR_io_uring_register, rings[w].fd, 0, &whole, 1) != 0) {
      fail("REGISTER_BUFFERS");
    }
  }
  uint64_t at = 0;
  for (int round = 0; round < rounds; round++) {
    for (int w = 0; w < kWays; w++) {
      double samples[kCommitsARound];
      for (int i = 0; i < kCommitsARound; i++, at += bytes) {
        if (at + bytes > kFileBytes) at = 0;
        const double before = nowUs();
        commit(&rings[w], &kAll[w], fd, buffer, bytes, at);
        samples[i] = nowUs() - before;
      }
      qsort(samples, kCommitsARound, sizeof(double), byValue);
      medians[w * rounds + round] = samples[kCommitsARound / 2];
    }
  }
  printf("%u bytes a commit, %d rounds of %d commits\n", bytes, rounds, kCommitsARound);
  double ratios[1000];
  for (int w = 0; w < kWays; w++) {
    for (int i = 0; i < rounds && i < 1000; i++) ratios[i] = medians[w * rounds + i] / medians[i];
    qsort(ratios, (size_t)rounds, sizeof(double), byValue);
    const double ratio = ratios[rounds / 2];
    double sorted[1000];
    memcpy(sorted, medians + w * rounds, sizeof(double) * (size_t)rounds);
    qsort(sorted, (size_t)rounds, sizeof(double), byValue);
    printf("%-10s %7.1f us  %.3f (%.3f to %.3f)\n", kAll[w].name, sorted[rounds / 2], ratio,
           ratios[rounds / 4], ratios[rounds * 3 / 4]);
  }
  return 0;
}

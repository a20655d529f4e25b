// The yardstick: what the device gives a C program that does the same closed loop with the same
// group commit. `callers` records of `bytes` form a group; one linked chain (write, then fdatasync)
// is in flight at a time, on an O_DIRECT file that was written full of zeros. No checksums.
//
// Arguments: path, callers, bytes, milliseconds. Prints records/s, p50 and p99 in microseconds.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kFileBytes = 64 << 20, kBlock = 4096, kMaxSamples = 4 << 20 };

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
  int fd;
  uint32_t *sqTail, *sqMask, *sqArray, *cqHead, *cqTail, *cqMask;
  struct io_uring_sqe* sqes;
  struct io_uring_cqe* cqes;
};

static struct Ring openRing(void) {
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
  return r;
}

static void commit(struct Ring* r, int fd, void* data, uint32_t length, uint64_t at) {
  uint32_t tail = *r->sqTail;
  for (int i = 0; i < 2; i++, tail++) {
    const uint32_t index = tail & *r->sqMask;
    struct io_uring_sqe* sqe = &r->sqes[index];
    memset(sqe, 0, sizeof *sqe);
    sqe->fd = fd;
    if (i == 0) {
      sqe->opcode = IORING_OP_WRITE;
      sqe->flags = IOSQE_IO_LINK;
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
  if (syscall(__NR_io_uring_enter, r->fd, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0) != 2) {
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
  if (argc != 5) return 2;
  const int callers = atoi(argv[2]), bytes = atoi(argv[3]), milliseconds = atoi(argv[4]);
  const int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
  char* buffer = aligned_alloc(kBlock, 1 << 20);
  char* record = malloc((size_t)bytes);
  double* samples = malloc(kMaxSamples * sizeof *samples);
  if (fd < 0 || !buffer || !record || !samples) fail("open");
  memset(buffer, 0, 1 << 20);
  memset(record, 7, (size_t)bytes);
  for (off_t at = 0; at < kFileBytes; at += 1 << 20) {
    if (pwrite(fd, buffer, 1 << 20, at) != 1 << 20) fail("pwrite");
  }
  if (fsync(fd) != 0) fail("fsync");

  struct Ring ring = openRing();
  uint64_t at = 0;
  long commits = 0;
  const double started = nowUs(), deadline = started + milliseconds * 1e3;
  double before = started;
  while (before < deadline && commits < kMaxSamples) {
    uint32_t fill = 0;
    for (int i = 0; i < callers; i++, fill += 16 + (uint32_t)bytes) {
      memcpy(buffer + fill, &i, 4);
      memcpy(buffer + fill + 16, record, (size_t)bytes);
    }
    const uint32_t length = (fill + kBlock - 1) / kBlock * kBlock;
    if (at + length > kFileBytes) at = 0;
    commit(&ring, fd, buffer, length, at);
    at += length;
    const double after = nowUs();
    samples[commits++] = after - before;
    before = after;
  }
  qsort(samples, (size_t)commits, sizeof *samples, byValue);
  const double seconds = (before - started) / 1e6;
  printf("%.0f %.0f %.0f\n", commits * (double)callers / seconds, samples[commits / 2],
         samples[commits * 99 / 100]);
  unlink(argv[1]);
  return 0;
}

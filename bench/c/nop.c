// The yardstick for what a ring costs without I/O: NOPs per second on raw io_uring system calls.
// Fills `batch` entries, has one io_uring_enter submit them and wait for them, and reaps them all.
//
// Arguments: batch, seconds. Prints {"operations":N,"seconds":S,"cpuSeconds":C}.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kMaxBatch = 4096, kBetweenClocks = 512 };

static const double kWarmUpSeconds = 0.1;

static double secondsOf(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

struct Ring {
  int fd;
  uint32_t *sqTail, *sqMask, *cqHead, *cqTail, *cqMask;
  struct io_uring_sqe* sqes;
  struct io_uring_cqe* cqes;
};

static int setup(uint32_t entries, struct io_uring_params* p) {
  // Written out because older headers lack them; an older kernel refuses what it does not know.
  const uint32_t submitAll = 1U << 7, coopTaskrun = 1U << 8, singleIssuer = 1U << 12;
  const uint32_t choices[] = {submitAll | coopTaskrun | singleIssuer, submitAll | coopTaskrun,
                              submitAll, 0};
  for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
    memset(p, 0, sizeof *p);
    p->flags = choices[i];
    const int fd = (int)syscall(__NR_io_uring_setup, entries, p);
    if (fd >= 0) return fd;
    if (errno != EINVAL) break;
  }
  fail("io_uring_setup");
  return -1;
}

static struct Ring openRing(uint32_t entries) {
  struct io_uring_params p;
  struct Ring r;
  r.fd = setup(entries, &p);
  const size_t sq = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
  const size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  const int prot = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;
  char* m = mmap(0, sq > cq ? sq : cq, prot, how, r.fd, IORING_OFF_SQ_RING);
  r.sqes = mmap(0, p.sq_entries * sizeof *r.sqes, prot, how, r.fd, IORING_OFF_SQES);
  if (m == MAP_FAILED || r.sqes == MAP_FAILED) fail("mmap");
  r.sqTail = (uint32_t*)(m + p.sq_off.tail);
  r.sqMask = (uint32_t*)(m + p.sq_off.ring_mask);
  r.cqHead = (uint32_t*)(m + p.cq_off.head);
  r.cqTail = (uint32_t*)(m + p.cq_off.tail);
  r.cqMask = (uint32_t*)(m + p.cq_off.ring_mask);
  r.cqes = (struct io_uring_cqe*)(m + p.cq_off.cqes);
  // Entries are used in the ring's own order, so the index array never changes.
  uint32_t* array = (uint32_t*)(m + p.sq_off.array);
  for (uint32_t i = 0; i < p.sq_entries; i++) array[i] = i;
  return r;
}

static void runBatch(struct Ring* r, uint32_t batch) {
  uint32_t tail = *r->sqTail;
  uint64_t expected = 0;
  for (uint32_t i = 0; i < batch; i++, tail++) {
    struct io_uring_sqe* sqe = &r->sqes[tail & *r->sqMask];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_NOP;
    sqe->fd = -1;
    sqe->user_data = tail;
    expected += tail;
  }
  __atomic_store_n(r->sqTail, tail, __ATOMIC_RELEASE);
  const long submitted =
      syscall(__NR_io_uring_enter, r->fd, batch, batch, IORING_ENTER_GETEVENTS, NULL, 0);
  if (submitted != (long)batch) fail("io_uring_enter");
  uint32_t head = *r->cqHead, reaped = 0;
  while (head != __atomic_load_n(r->cqTail, __ATOMIC_ACQUIRE)) {
    const struct io_uring_cqe* cqe = &r->cqes[head++ & *r->cqMask];
    if (cqe->res != 0) break;
    expected -= cqe->user_data;
    reaped++;
  }
  __atomic_store_n(r->cqHead, head, __ATOMIC_RELEASE);
  if (reaped != batch || expected != 0) {
    fprintf(stderr, "of %u NOPs %u completed\n", batch, reaped);
    exit(1);
  }
}

static long runFor(struct Ring* r, uint32_t batch, double seconds) {
  // A look at the clock costs a good part of a NOP, so there is one for some hundreds.
  const uint32_t batches = batch < kBetweenClocks ? kBetweenClocks / batch : 1;
  const double deadline = secondsOf(CLOCK_MONOTONIC) + seconds;
  long operations = 0;
  while (secondsOf(CLOCK_MONOTONIC) < deadline) {
    for (uint32_t i = 0; i < batches; i++) runBatch(r, batch);
    operations += (long)batches * batch;
  }
  return operations;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int batch = atoi(argv[1]);
  const double seconds = atof(argv[2]);
  if (batch < 1 || batch > kMaxBatch || seconds <= 0) return 2;
  struct Ring ring = openRing((uint32_t)batch);
  runFor(&ring, (uint32_t)batch, kWarmUpSeconds);
  const double started = secondsOf(CLOCK_MONOTONIC);
  const double cpuStarted = secondsOf(CLOCK_PROCESS_CPUTIME_ID);
  const long operations = runFor(&ring, (uint32_t)batch, seconds);
  const double took = secondsOf(CLOCK_MONOTONIC) - started;
  const double cpu = secondsOf(CLOCK_PROCESS_CPUTIME_ID) - cpuStarted;
  printf("{\"operations\":%ld,\"seconds\":%.6f,\"cpuSeconds\":%.6f}\n", operations, took, cpu);
  return 0;
}

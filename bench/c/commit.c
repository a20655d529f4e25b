// The yardstick: what the device gives a C program on raw io_uring that writes what riolog writes.
// Groups are laid out as riolog's are (a header of 64 bytes, 12 bytes and padding to 8 a record, padded
// to 4096) and are at most 1 MiB, on an O_DIRECT file that was written full of zeros. No checksums.
//
//   commit closed PATH CALLERS BYTES MILLISECONDS    each appends, waits until it is durable, goes on
//   commit open PATH RATE BYTES MILLISECONDS SEED    records come at random times, RATE a second
//   commit ingest PATH RECORDS BYTES                 all of them, and one sync at the end
//
// In the first two one commit is in flight at a time, and what is appended meanwhile is the next group: a
// linked chain (write, then fdatasync), or after `--dsync` one write by RWF_DSYNC. After `--poll` the first one
// asks again and again instead of sleeping, and lets others go first. Prints a line of JSON.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  kBlock = 4096,
  kMiB = 1 << 20,
  kHugePage = 2 * kMiB,
  kFileBytes = 64 * kMiB,
  kGroupHeader = 64,
  kRecordHeader = 12,
  kMaxGroup = kMiB,
  kMaxSamples = 32 << 20,
  kWritesInFlight = 4,
};

static double nowUs(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double cpuSeconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static int byValue(const void* a, const void* b) {
  const float x = *(const float*)a, y = *(const float*)b;
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

static void enter(const struct Ring* r, uint32_t submit, uint32_t wait) {
  const uint32_t flags = wait > 0 ? IORING_ENTER_GETEVENTS : 0;
  if (syscall(__NR_io_uring_enter, r->fd, submit, wait, flags, NULL, 0) != (long)submit) {
    fail("io_uring_enter");
  }
}

static struct io_uring_sqe* nextSqe(const struct Ring* r, uint8_t opcode, int fd) {
  const uint32_t tail = *r->sqTail, index = tail & *r->sqMask;
  struct io_uring_sqe* sqe = &r->sqes[index];
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = fd;
  r->sqArray[index] = index;
  __atomic_store_n(r->sqTail, tail + 1, __ATOMIC_RELEASE);
  return sqe;
}

static struct io_uring_sqe* prepareWrite(const struct Ring* r, int fd, void* data, uint32_t length,
                                         uint64_t at) {
  struct io_uring_sqe* sqe = nextSqe(r, IORING_OP_WRITE, fd);
  sqe->addr = (uint64_t)(uintptr_t)data;
  sqe->len = length;
  sqe->off = at;
  sqe->user_data = length;
  return sqe;
}

/** Operations of a commit: a write and an fdatasync, or a write that is durable by itself. */
static uint32_t perCommit = 2;

/** Submits a commit, and does not wait for it. */
static void submitCommit(const struct Ring* r, int fd, void* data, uint32_t length, uint64_t at) {
  struct io_uring_sqe* write = prepareWrite(r, fd, data, length, at);
  if (perCommit == 1) {
    write->rw_flags = RWF_DSYNC;
  } else {
    write->flags = IOSQE_IO_LINK;
    nextSqe(r, IORING_OP_FSYNC, fd)->fsync_flags = IORING_FSYNC_DATASYNC;
  }
  enter(r, perCommit, 0);
}

/** A bit for each buffer of `ingest` that the kernel has; its number is in the user data of its write. */
static uint32_t busy;

static uint32_t reap(const struct Ring* r) {
  uint32_t head = *r->cqHead, count = 0;
  for (; head != __atomic_load_n(r->cqTail, __ATOMIC_ACQUIRE); head++, count++) {
    const struct io_uring_cqe* cqe = &r->cqes[head & *r->cqMask];
    if (cqe->res != (int32_t)(uint32_t)cqe->user_data) {
      fprintf(stderr, "an operation failed: %d\n", cqe->res);
      exit(1);
    }
    busy &= ~(1U << (cqe->user_data >> 32));
  }
  __atomic_store_n(r->cqHead, head, __ATOMIC_RELEASE);
  return count;
}

/** Whether a thread that waits stays awake. */
static int polls = 0;

static void waitFor(const struct Ring* r, uint32_t completions) {
  uint32_t got = reap(r);
  while (got < completions) {
    if (polls) {
      sched_yield();  // On its way back the kernel posts what is done (IORING_SETUP_COOP_TASKRUN).
    } else {
      enter(r, 0, completions - got);
    }
    got += reap(r);
  }
}

/** A group that is being filled. `since` says when each of its records was appended. */
struct Group {
  char* bytes;
  uint32_t fill, records;
  double* since;
};

/** Huge pages where the system has them, as riolog takes them. */
static char* longMemory(size_t bytes) {
  const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  char* memory = aligned_alloc(kHugePage, size);
  if (!memory) fail("malloc");
  madvise(memory, size, MADV_HUGEPAGE);
  memset(memory, 0, bytes);
  return memory;
}

static struct Group newGroup(uint32_t span) {
  const size_t most = kMaxGroup > span + kGroupHeader ? kMaxGroup : span + kGroupHeader;
  const size_t size = (most + kBlock - 1) / kBlock * kBlock;
  struct Group g = {.bytes = longMemory(size), .fill = kGroupHeader};
  g.since = malloc((most / span + 1) * sizeof *g.since);
  if (!g.since) fail("malloc");
  return g;
}

static uint32_t spanOf(uint32_t bytes) { return (kRecordHeader + bytes + 7) / 8 * 8; }

/** Returns whether there was room. */
static int put(struct Group* g, const char* record, uint32_t bytes, double since) {
  const uint32_t span = spanOf(bytes);
  if (g->records > 0 && g->fill + span > kMaxGroup) return 0;
  memcpy(g->bytes + g->fill, &bytes, 4);
  memcpy(g->bytes + g->fill + kRecordHeader, record, bytes);
  g->fill += span;
  g->since[g->records++] = since;
  return 1;
}

static uint32_t lengthOf(const struct Group* g) {
  return (g->fill + kBlock - 1) / kBlock * kBlock;
}

static int openZeroed(const char* path, uint64_t bytes) {
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
  char* zeros = aligned_alloc(kBlock, kMiB);
  if (fd < 0 || !zeros) fail("open");
  memset(zeros, 0, kMiB);
  for (uint64_t at = 0; at < bytes; at += kMiB) {
    if (pwrite(fd, zeros, kMiB, (off_t)at) != kMiB) fail("pwrite");
  }
  if (fsync(fd) != 0) fail("fsync");
  free(zeros);
  return fd;
}

/** What a run came to. */
struct Tally {
  double records, seconds, cpuSeconds, writtenBytes;
  float* latenciesUs;
  size_t samples;
};

/** Not getrusage's, which begins with what the process that started this one had. */
static double peakRssMiB(void) {
  FILE* status = fopen("/proc/self/status", "r");
  char line[256];
  double kib = 0;
  while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %lf", &kib);
  if (status) fclose(status);
  return kib / 1024;
}

static void print(struct Tally* t) {
  // Before the latencies are sorted: they are of the measuring, not of what is measured.
  const double samplesMiB = t->samples * sizeof *t->latenciesUs / 1048576.0;
  const double peak = peakRssMiB() - samplesMiB;
  printf("{\"operations\":%.0f,\"seconds\":%.9f,\"cpuSeconds\":%.6f,\"writtenBytes\":%.0f",
         t->records, t->seconds, t->cpuSeconds, t->writtenBytes);
  if (t->samples > 0) {
    qsort(t->latenciesUs, t->samples, sizeof *t->latenciesUs, byValue);
    printf(",\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f", t->latenciesUs[t->samples / 2],
           t->latenciesUs[t->samples * 99 / 100], t->latenciesUs[t->samples * 999 / 1000]);
  }
  printf(",\"peakRssMiB\":%.1f}\n", peak);
}

static void tallyGroup(struct Tally* t, const struct Group* g, double now) {
  for (uint32_t i = 0; i < g->records; i++) t->latenciesUs[t->samples++] = (float)(now - g->since[i]);
  t->records += g->records;
  t->writtenBytes += lengthOf(g);
}

/** The callers' times of appending, in the order in which they wait for a group. */
struct Queue {
  double* since;
  uint32_t size, first, count;
};

static void push(struct Queue* q, double since) {
  q->since[(q->first + q->count++) % q->size] = since;
}

/** Into the group, until it is full. */
static void take(struct Queue* q, struct Group* g, const char* record, uint32_t bytes) {
  while (q->count > 0 && put(g, record, bytes, q->since[q->first])) {
    q->first = (q->first + 1) % q->size;
    q->count--;
  }
}

static void closedLoop(struct Tally* t, int fd, uint32_t callers, uint32_t bytes, double duration) {
  const struct Ring ring = openRing();
  struct Group groups[2] = {newGroup(spanOf(bytes)), newGroup(spanOf(bytes))};
  struct Queue queue = {.since = malloc(callers * sizeof(double)), .size = callers};
  char* record = malloc(bytes);
  if (!queue.since || !record) fail("malloc");
  memset(record, 7, bytes);
  uint64_t at = 0;
  const double cpu = cpuSeconds(), started = nowUs(), deadline = started + duration * 1e3;
  for (uint32_t i = 0; i < callers; i++) push(&queue, started);
  take(&queue, &groups[0], record, bytes);
  double now = started;
  for (int current = 0; groups[current].records > 0; current = 1 - current) {
    struct Group *g = &groups[current], *next = &groups[1 - current];
    const uint32_t length = lengthOf(g);
    if (at + length > kFileBytes) at = 0;
    submitCommit(&ring, fd, g->bytes, length, at);
    at += length;
    take(&queue, next, record, bytes);  // Those for whom this group had no room.
    waitFor(&ring, perCommit);
    now = nowUs();
    tallyGroup(t, g, now);
    const int goesOn = now < deadline && t->samples + callers < kMaxSamples;
    for (uint32_t i = 0; goesOn && i < g->records; i++) push(&queue, now);
    take(&queue, next, record, bytes);
    g->fill = kGroupHeader;
    g->records = 0;
  }
  t->seconds = (now - started) / 1e6;
  t->cpuSeconds = cpuSeconds() - cpu;
}

/** Until the next arrival of so many a second, in microseconds. */
static double gapUs(double rate, uint64_t* seed) {
  *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
  return -log(((double)(*seed >> 11) + 1) / 9007199254740993.0) / rate * 1e6;
}

/** The latency counts from when a record was due, however late the program comes to it. */
static void openLoop(struct Tally* t, int fd, double rate, uint32_t bytes, double duration,
                     uint64_t seed) {
  const struct Ring ring = openRing();
  struct Group groups[2] = {newGroup(spanOf(bytes)), newGroup(spanOf(bytes))};
  char* record = malloc(bytes);
  if (!record) fail("malloc");
  memset(record, 7, bytes);
  uint64_t at = 0;
  const double cpu = cpuSeconds(), started = nowUs(), deadline = started + duration * 1e3;
  double due = started + gapUs(rate, &seed), now = started;
  int current = 0, isBusy = 0;
  uint32_t completions = 0;
  while (due < deadline || isBusy || groups[current].records > 0) {
    now = nowUs();
    while (due < deadline && due <= now && put(&groups[current], record, bytes, due)) {
      due += gapUs(rate, &seed);
    }
    if (isBusy) {
      enter(&ring, 0, 0);
      completions += reap(&ring);
      if (completions < perCommit) continue;
      struct Group* done = &groups[1 - current];
      now = nowUs();
      tallyGroup(t, done, now);
      done->fill = kGroupHeader;
      done->records = 0;
      isBusy = 0;
    }
    struct Group* g = &groups[current];
    if (g->records == 0) continue;
    const uint32_t length = lengthOf(g);
    if (at + length > kFileBytes) at = 0;
    submitCommit(&ring, fd, g->bytes, length, at);
    at += length;
    isBusy = 1;
    completions = 0;
    current = 1 - current;
  }
  t->seconds = (now - started) / 1e6;
  t->cpuSeconds = cpuSeconds() - cpu;
}

static void ingest(struct Tally* t, int fd, double records, uint32_t bytes) {
  const struct Ring ring = openRing();
  struct Group groups[kWritesInFlight];
  for (int i = 0; i < kWritesInFlight; i++) groups[i] = newGroup(spanOf(bytes));
  char* record = malloc(bytes);
  if (!record) fail("malloc");
  memset(record, 7, bytes);
  uint64_t at = 0;
  uint32_t inFlight = 0;
  const double cpu = cpuSeconds(), started = nowUs();
  for (uint32_t current = 0; t->records < records; current = (current + 1) % kWritesInFlight) {
    while (busy & 1U << current) {
      enter(&ring, 0, 1);
      inFlight -= reap(&ring);
    }
    struct Group* g = &groups[current];
    g->fill = kGroupHeader;
    g->records = 0;
    while (t->records + g->records < records && put(g, record, bytes, 0)) {
    }
    prepareWrite(&ring, fd, g->bytes, lengthOf(g), at)->user_data |= (uint64_t)current << 32;
    busy |= 1U << current;
    enter(&ring, 1, 0);
    at += lengthOf(g);
    t->records += g->records;
    inFlight = inFlight + 1 - reap(&ring);
  }
  waitFor(&ring, inFlight);
  nextSqe(&ring, IORING_OP_FSYNC, fd)->fsync_flags = IORING_FSYNC_DATASYNC;
  enter(&ring, 1, 0);
  waitFor(&ring, 1);
  t->seconds = (nowUs() - started) / 1e6;
  t->cpuSeconds = cpuSeconds() - cpu;
  t->writtenBytes = (double)at;
}

int main(int argc, char** argv) {
  for (; argc > 1 && strncmp(argv[1], "--", 2) == 0; argv++, argc--) {
    if (strcmp(argv[1], "--dsync") == 0) {
      perCommit = 1;
    } else if (strcmp(argv[1], "--poll") == 0) {
      polls = 1;
    } else {
      return 2;
    }
  }
  if (argc < 5) return 2;
  const char* path = argv[2];
  const double count = atof(argv[3]);
  const uint32_t bytes = (uint32_t)atoi(argv[4]);
  struct Tally tally = {.latenciesUs = malloc(sizeof(float) * kMaxSamples)};
  if (!tally.latenciesUs) fail("malloc");
  if (strcmp(argv[1], "closed") == 0 && argc == 6) {
    closedLoop(&tally, openZeroed(path, kFileBytes), (uint32_t)count, bytes, atof(argv[5]));
  } else if (strcmp(argv[1], "open") == 0 && argc == 7) {
    const uint64_t seed = (uint64_t)atoll(argv[6]);
    openLoop(&tally, openZeroed(path, kFileBytes), count, bytes, atof(argv[5]), seed);
  } else if (strcmp(argv[1], "ingest") == 0 && argc == 5) {
    const uint64_t perGroup = (kMaxGroup - kGroupHeader) / spanOf(bytes);
    const uint64_t groups = (uint64_t)(count / (double)(perGroup == 0 ? 1 : perGroup)) + 2;
    ingest(&tally, openZeroed(path, groups * kMiB), count, bytes);
  } else {
    return 2;
  }
  print(&tally);
  unlink(path);
  return 0;
}

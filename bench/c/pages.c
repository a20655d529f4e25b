// Whether touching memory that was there all the time takes long now and then: under some hypervisors the host
// takes small pages of a guest away and brings them back at the next touch, which no counter of the guest shows.
//
//   pages MIB huge|small MILLISECONDS    prints a line of JSON
//
// Touches eight random places at a time, and counts each time that took longer than 20 us. What interrupts any
// process (timer ticks, the host) is in both kinds of pages; the difference is the pages'.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { kMiB = 1 << 20, kHugePage = 2 * kMiB, kTouches = 8 };
static const double kLongUs = 20;

static double nowUs(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const size_t bytes = (size_t)atoi(argv[1]) * kMiB;
  const int advice = strcmp(argv[2], "huge") == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
  const double us = atof(argv[3]) * 1000;
  void* mapped = mmap(NULL, bytes + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED || bytes == 0) return 1;
  const uintptr_t aligned = ((uintptr_t)mapped + kHugePage - 1) & ~(uintptr_t)(kHugePage - 1);
  volatile char* memory = (char*)aligned;
  madvise((void*)aligned, bytes, advice);
  memset((void*)aligned, 1, bytes);

  uint64_t state = 88172645463325252ULL;  // xorshift64
  uint64_t touches = 0, pauses = 0;
  double paused = 0;
  const double start = nowUs();
  double before = start;
  while (before - start < us) {
    for (int i = 0; i < kTouches; i++) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      memory[state % bytes]++;
    }
    touches += kTouches;
    const double after = nowUs();
    if (after - before > kLongUs) {
      pauses++;
      paused += after - before;
    }
    before = after;
  }
  printf("{\"touches\":%llu,\"pauses\":%llu,\"pausedUs\":%.0f,\"seconds\":%.3f}\n",
         (unsigned long long)touches, (unsigned long long)pauses, paused, (before - start) / 1e6);
  return 0;
}

// Runs a program under a seccomp filter, as a container runtime does:
//
//   seccomp ERRNO NUMBER... -- PROGRAM ARGUMENT...
//
// The system calls with these numbers are answered with that errno, and all others are allowed.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { kMostCalls = 16 };

int main(int argc, char** argv) {
  struct sock_filter filter[2 * kMostCalls + 2];
  unsigned short length = 0;
  int at = 2;
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (; at < argc && at < 2 + kMostCalls && strcmp(argv[at], "--") != 0; at++) {
    const unsigned number = (unsigned)atoi(argv[at]);
    const unsigned answer = SECCOMP_RET_ERRNO | (unsigned)atoi(argv[1]);
    filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer);
  }
  filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_fprog program = {length, filter};
  if (at + 1 >= argc || strcmp(argv[at], "--") != 0) return 2;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) {
    fprintf(stderr, "no filter: %s\n", strerror(errno));
    return 3;
  }
  execv(argv[at + 1], argv + at + 1);
  return 4;
}

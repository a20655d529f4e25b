// The load on an echo server: connections to 127.0.0.1 in a closed loop, each with one message in
// flight. One thread on epoll, so that the client needs less of the machine than any server in
// JavaScript. Every byte that comes back is compared with what was sent.
//
// Arguments: port, connections, bytes, warm-up seconds, seconds, the server's pid or 0. The server
// gets SIGUSR2 when the clock starts and when it stops, so that it can tell its CPU time between.
// Prints {"messages":N,"seconds":S,"p50us":..,"p99us":..,"cpuSeconds":..}; the CPU is the client's.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  kMaxEvents = 256,
  kSilenceMs = 10000,
  // Latencies are counted in steps of 0.1 us up to 0.2 s; what takes longer counts as that.
  kStepNs = 100,
  kSteps = 2000000,
};

struct Connection {
  int fd;
  int awaitsRoom;
  size_t sent, received;
  uint64_t sequence;
  int64_t started;
  char *out, *in;
};

static int64_t nowNs(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void refuse(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void watch(int epoll, struct Connection* c, int operation, int awaitsRoom) {
  struct epoll_event event = {.events = EPOLLIN | (awaitsRoom ? EPOLLOUT : 0U), .data.ptr = c};
  if (epoll_ctl(epoll, operation, c->fd, &event) != 0) fail("epoll_ctl");
  c->awaitsRoom = awaitsRoom;
}

static void sendRest(int epoll, struct Connection* c, size_t bytes) {
  while (c->sent < bytes) {
    const ssize_t n = send(c->fd, c->out + c->sent, bytes - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) fail("send");
    c->sent += (size_t)n;
  }
  const int awaitsRoom = c->sent < bytes;
  if (awaitsRoom != c->awaitsRoom) watch(epoll, c, EPOLL_CTL_MOD, awaitsRoom);
}

static void sendNext(int epoll, struct Connection* c, size_t bytes, int64_t now) {
  // Each message differs from the one before, so that an echo of an old one is found out.
  c->sequence++;
  memcpy(c->out, &c->sequence, bytes < sizeof c->sequence ? bytes : sizeof c->sequence);
  c->sent = c->received = 0;
  c->started = now;
  sendRest(epoll, c, bytes);
}

/** Returns whether the whole echo is here. */
static int receive(struct Connection* c, size_t bytes) {
  const ssize_t n = recv(c->fd, c->in + c->received, bytes - c->received, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n < 0) fail("recv");
  if (n == 0) refuse("the server closed a connection");
  c->received += (size_t)n;
  if (c->received > c->sent) refuse("the server sent more than it was sent");
  if (c->received < bytes) return 0;
  if (memcmp(c->in, c->out, bytes) != 0) refuse("the echo differs from the message");
  return 1;
}

static void openConnection(int epoll, struct Connection* c, uint16_t port, size_t bytes, int id) {
  const struct sockaddr_in to = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket");
  if (connect(c->fd, (const struct sockaddr*)&to, sizeof to) != 0) fail("connect");
  if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) fail("setsockopt");
  if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
  c->out = malloc(bytes);
  c->in = malloc(bytes);
  if (!c->out || !c->in) fail("malloc");
  for (size_t i = 0; i < bytes; i++) c->out[i] = (char)(i * 7 + (size_t)id);
  // Connections start far apart, so that no two send the same message (from eight bytes on).
  c->sequence = (uint64_t)id << 40;
  watch(epoll, c, EPOLL_CTL_ADD, 0);
}

static void tell(pid_t server) {
  if (server != 0 && kill(server, SIGUSR2) != 0) fail("kill");
}

static double percentileUs(const uint32_t* counts, long total, double part) {
  long seen = 0;
  const long wanted = (long)((double)total * part);
  for (int step = 0; step < kSteps; step++) {
    seen += counts[step];
    if (seen > wanted) return step * (double)kStepNs / 1e3;
  }
  return kSteps * (double)kStepNs / 1e3;
}

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const int port = atoi(argv[1]), connections = atoi(argv[2]), size = atoi(argv[3]);
  const double warmUp = atof(argv[4]), seconds = atof(argv[5]);
  const pid_t server = atoi(argv[6]);
  if (port < 1 || port > 65535 || connections < 1 || size < 1 || warmUp < 0 || seconds <= 0) {
    return 2;
  }
  const size_t bytes = (size_t)size;
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct Connection* all = calloc((size_t)connections, sizeof *all);
  uint32_t* counts = malloc(kSteps * sizeof *counts);
  if (epoll < 0 || !all || !counts) fail("start");
  memset(counts, 0, kSteps * sizeof *counts);
  for (int i = 0; i < connections; i++) openConnection(epoll, &all[i], (uint16_t)port, bytes, i);

  int64_t now = nowNs(CLOCK_MONOTONIC), started = now, cpuStarted = 0;
  int64_t until = now + (int64_t)(warmUp * 1e9);
  int measuring = 0;
  long messages = 0;
  for (int i = 0; i < connections; i++) sendNext(epoll, &all[i], bytes, nowNs(CLOCK_MONOTONIC));
  for (;;) {
    if (now >= until) {
      if (measuring) break;
      tell(server);
      measuring = 1;
      cpuStarted = nowNs(CLOCK_PROCESS_CPUTIME_ID);
      started = now = nowNs(CLOCK_MONOTONIC);
      until = started + (int64_t)(seconds * 1e9);
    }
    struct epoll_event events[kMaxEvents];
    const int n = epoll_wait(epoll, events, kMaxEvents, kSilenceMs);
    if (n < 0 && errno != EINTR) fail("epoll_wait");
    if (n == 0) refuse("the server has stopped answering");
    for (int i = 0; i < n; i++) {
      struct Connection* c = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) sendRest(epoll, c, bytes);
      if ((events[i].events & ~(uint32_t)EPOLLOUT) == 0 || !receive(c, bytes)) continue;
      now = nowNs(CLOCK_MONOTONIC);
      if (measuring) {
        const int64_t step = (now - c->started) / kStepNs;
        counts[step < kSteps ? step : kSteps - 1]++;
        messages++;
      }
      sendNext(epoll, c, bytes, now);
    }
  }
  tell(server);
  const double took = (double)(now - started) / 1e9;
  const double cpu = (double)(nowNs(CLOCK_PROCESS_CPUTIME_ID) - cpuStarted) / 1e9;
  printf("{\"messages\":%ld,\"seconds\":%.6f,\"p50us\":%.1f,\"p99us\":%.1f,\"cpuSeconds\":%.6f}\n",
         messages, took, percentileUs(counts, messages, 0.5), percentileUs(counts, messages, 0.99),
         cpu);
  return 0;
}

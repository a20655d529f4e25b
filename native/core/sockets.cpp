#include "sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

namespace riolog {

namespace {

struct OptionName {
  int level;
  int name;
};

bool findOption(int option, OptionName* found) noexcept {
  switch (static_cast<SocketCall::Option>(option)) {
    case SocketCall::kReuseAddress:
      *found = {SOL_SOCKET, SO_REUSEADDR};
      return true;
    case SocketCall::kReusePort:
      *found = {SOL_SOCKET, SO_REUSEPORT};
      return true;
    case SocketCall::kNoDelay:
      *found = {IPPROTO_TCP, TCP_NODELAY};
      return true;
    case SocketCall::kV6Only:
      *found = {IPPROTO_IPV6, IPV6_V6ONLY};
      return true;
    case SocketCall::kReceiveBuffer:
      *found = {SOL_SOCKET, SO_RCVBUF};
      return true;
    case SocketCall::kSendBuffer:
      *found = {SOL_SOCKET, SO_SNDBUF};
      return true;
    case SocketCall::kKeepAlive:
      *found = {SOL_SOCKET, SO_KEEPALIVE};
      return true;
  }
  return false;
}

int64_t setOption(const SocketCall& call) noexcept {
  OptionName option;
  if (!findOption(call.a, &option)) return -EINVAL;
  return setsockopt(call.fd, option.level, option.name, &call.b, sizeof call.b) == 0 ? 0 : -errno;
}

int64_t getOption(const SocketCall& call) noexcept {
  OptionName option;
  if (!findOption(call.a, &option)) return -EINVAL;
  int value = 0;
  socklen_t length = sizeof value;
  if (getsockopt(call.fd, option.level, option.name, &value, &length) != 0) return -errno;
  return value;
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

int64_t nameOf(const SocketCall& call, NameCall ask) noexcept {
  auto length = static_cast<socklen_t>(call.addressBytes);
  if (ask(call.fd, reinterpret_cast<sockaddr*>(call.address), &length) != 0) return -errno;
  return length;
}

}  // namespace

int64_t runSocketCall(const SocketCall& call) noexcept {
  switch (call.kind) {
    case SocketCall::kSocket: {
      const int fd = socket(call.fd, call.a | SOCK_CLOEXEC, call.b);
      return fd >= 0 ? fd : -errno;
    }
    case SocketCall::kBind: {
      const auto* address = reinterpret_cast<const sockaddr*>(call.address);
      const auto length = static_cast<socklen_t>(call.addressBytes);
      return bind(call.fd, address, length) == 0 ? 0 : -errno;
    }
    case SocketCall::kListen:
      return listen(call.fd, call.a) == 0 ? 0 : -errno;
    case SocketCall::kSetOption:
      return setOption(call);
    case SocketCall::kGetOption:
      return getOption(call);
    case SocketCall::kName:
      return nameOf(call, getsockname);
    case SocketCall::kPeerName:
      return nameOf(call, getpeername);
  }
  return -EINVAL;
}

int parseAddress(const char* text, uint8_t out[16]) noexcept {
  if (inet_pton(AF_INET, text, out) == 1) return AF_INET;
  if (inet_pton(AF_INET6, text, out) == 1) return AF_INET6;
  return 0;
}

bool formatAddress(const uint8_t* bytes, size_t length, char out[kMaxAddressText]) noexcept {
  if (length != 4 && length != 16) return false;
  return inet_ntop(length == 4 ? AF_INET : AF_INET6, bytes, out, kMaxAddressText) != nullptr;
}

}  // namespace riolog

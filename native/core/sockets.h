// The calls on sockets that do not wait, and so need no ring: what must be set before one is used,
// and what it is called. Kernels before 6.11 cannot bind and listen on a ring either.
#pragma once

#include <cstddef>
#include <cstdint>

namespace riolog {

struct SocketCall {
  enum Kind : uint32_t {
    kSocket = 0,     // (domain, type, protocol) -> fd, with SOCK_CLOEXEC
    kBind = 1,       // (fd, address)
    kListen = 2,     // (fd, backlog)
    kSetOption = 3,  // (fd, Option, value)
    kGetOption = 4,  // (fd, Option) -> value
    kName = 5,       // (fd, room for an address) -> its length
    kPeerName = 6,   // the same, of the other end
  };
  enum Option : int32_t {
    kReuseAddress = 0,
    kReusePort = 1,
    kNoDelay = 2,
    kV6Only = 3,
    kReceiveBuffer = 4,
    kSendBuffer = 5,
    kKeepAlive = 6,
  };
  Kind kind;
  int fd;
  int a;
  int b;
  uint8_t* address;
  size_t addressBytes;
};

// The result, or a negative errno.
int64_t runSocketCall(const SocketCall& call) noexcept;

constexpr size_t kMaxAddressText = 64;  // INET6_ADDRSTRLEN is 46

// inet_pton(3): 4 or 16 bytes into `out`; the family (AF_INET, AF_INET6), 0 when it is no address.
int parseAddress(const char* text, uint8_t out[16]) noexcept;
// inet_ntop(3) of `bytes`, 4 or 16 of them.
bool formatAddress(const uint8_t* bytes, size_t length, char out[kMaxAddressText]) noexcept;

}  // namespace riolog

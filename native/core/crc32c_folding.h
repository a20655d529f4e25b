// CRC32C by carry-less multiplication of 64 bytes at a time: for CPUs with AVX-512 and VPCLMULQDQ
// (Intel since Ice Lake, AMD since Zen 4). The inner part of one version of crc32c().
#pragma once

#include <cstddef>
#include <cstdint>

namespace riolog {

// Below this length it gains nothing over the instruction that the CPU has for CRC32C.
constexpr size_t kLeastFolded = 512;

// Whether this CPU, and its system, can do so.
bool canFold() noexcept;

// Takes what it can of `length` bytes into the CRC's state and leaves the rest, less than 64 bytes.
// Only where canFold(), for kLeastFolded bytes or more.
uint32_t fold(uint32_t state, const uint8_t*& data, size_t& length) noexcept;

}  // namespace riolog

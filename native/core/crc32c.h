// CRC32C (Castagnoli), the checksum of every structure that riolog writes.
// Polynomial 0x1EDC6F41, reflected; initial value and final xor 0xFFFFFFFF (RFC 3720, B.4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace riolog {

// Extends `crc` (0 for a fresh checksum) by `length` bytes, with the fastest version this CPU has.
uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t length) noexcept;

// What crc32cOfFour() sums.
struct Crc32cPiece {
  uint32_t crc;  // what it extends, and then what came of it
  const uint8_t* data;
  size_t length;
};

// The same of four pieces at once. Short ones take half the time so: no step has to wait for the
// one before it, since there are three others to do.
void crc32cOfFour(Crc32cPiece (&pieces)[4]) noexcept;

struct Crc32cVersion {
  uint32_t (*run)(uint32_t crc, const uint8_t* data, size_t length) noexcept;
  const char* name;  // "avx512", "sse4.2", "armv8-crc" or "portable"
};

// Those that run here, the fastest first: that one crc32c() runs.
std::span<const Crc32cVersion> crc32cVersions() noexcept;

// The last of them, which runs anywhere; the others are tested against it.
uint32_t crc32cPortable(uint32_t crc, const uint8_t* data, size_t length) noexcept;

}  // namespace riolog

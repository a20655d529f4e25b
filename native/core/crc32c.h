// CRC32C (Castagnoli), the checksum of every structure that riolog writes.
// Polynomial 0x1EDC6F41, reflected; initial value and final xor 0xFFFFFFFF (RFC 3720, B.4).
#pragma once

#include <cstddef>
#include <cstdint>

namespace riolog {

// Extends `crc` (0 for a fresh checksum) by `length` bytes, with the fastest version this CPU has.
uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t length) noexcept;

// "sse4.2", "armv8-crc" or "portable": which version crc32c() runs here.
const char* crc32cVersion() noexcept;

// The version that runs anywhere; the others are tested against it.
uint32_t crc32cPortable(uint32_t crc, const uint8_t* data, size_t length) noexcept;

}  // namespace riolog

#include "crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

namespace riolog {

static_assert(std::endian::native == std::endian::little,
              "the on-disk format is little-endian, and structures are read in place");

namespace {

constexpr uint32_t kReflectedPolynomial = 0x82F63B78;

// Slicing-by-8: table[k][b] is the checksum of byte b followed by k zero bytes
// (Kounavis and Berry, "A Systematic Approach to Building High Performance Software-Based CRC
// Generators", 2005).
constexpr std::array<std::array<uint32_t, 256>, 8> makeTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) ? kReflectedPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; k++) {
    for (size_t byte = 0; byte < 256; byte++) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr auto kTables = makeTables();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32cSse42(uint32_t crc, const uint8_t* data,
                                                       size_t length) noexcept {
  uint64_t state = static_cast<uint32_t>(~crc);
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    state = _mm_crc32_u64(state, word);
  }
  auto narrow = static_cast<uint32_t>(state);
  for (; length > 0; data++, length--) narrow = _mm_crc32_u8(narrow, *data);
  return ~narrow;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) uint32_t crc32cArm(uint32_t crc, const uint8_t* data,
                                                   size_t length) noexcept {
  uint32_t state = ~crc;
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    state = __crc32cd(state, word);
  }
  for (; length > 0; data++, length--) state = __crc32cb(state, *data);
  return ~state;
}
#endif

struct Version {
  uint32_t (*run)(uint32_t, const uint8_t*, size_t) noexcept;
  const char* name;
};

Version chooseVersion() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("sse4.2")) return {crc32cSse42, "sse4.2"};
#elif defined(__aarch64__) && defined(__linux__)
  if (getauxval(AT_HWCAP) & HWCAP_CRC32) return {crc32cArm, "armv8-crc"};
#elif defined(__aarch64__) && defined(__APPLE__)
  return {crc32cArm, "armv8-crc"};  // every Apple arm64 CPU has the extension
#endif
  return {crc32cPortable, "portable"};
}

const Version kVersion = chooseVersion();

}  // namespace

uint32_t crc32cPortable(uint32_t crc, const uint8_t* data, size_t length) noexcept {
  uint32_t state = ~crc;
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    word ^= state;
    state = kTables[7][word & 0xFF] ^ kTables[6][(word >> 8) & 0xFF] ^
            kTables[5][(word >> 16) & 0xFF] ^ kTables[4][(word >> 24) & 0xFF] ^
            kTables[3][(word >> 32) & 0xFF] ^ kTables[2][(word >> 40) & 0xFF] ^
            kTables[1][(word >> 48) & 0xFF] ^ kTables[0][word >> 56];
  }
  for (; length > 0; data++, length--) {
    state = (state >> 8) ^ kTables[0][(state ^ *data) & 0xFF];
  }
  return ~state;
}

uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t length) noexcept {
  return kVersion.run(crc, data, length);
}

const char* crc32cVersion() noexcept { return kVersion.name; }

}  // namespace riolog

#include "crc32c.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "crc32c_folding.h"
#include "crc32c_polynomial.h"

#if defined(__x86_64__)
#include <cpuid.h>
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

#if defined(__x86_64__)
#if defined(__clang__) && __clang_major__ >= 14
// Its own name for these instructions: with "no crc32" from the command line, sse4.2 does not
// bring them.
#define RIOLOG_CRC_TARGET __attribute__((target("sse4.2,crc32")))
#else
#define RIOLOG_CRC_TARGET __attribute__((target("sse4.2")))
#endif
// The state stays in a register of 64 bits from step to step: to clear its upper half in between,
// which is clear already, would make each step wait for a fourth cycle.
RIOLOG_CRC_TARGET inline uint64_t step8(uint64_t state, const uint8_t* data) noexcept {
  uint64_t word;
  std::memcpy(&word, data, 8);
  return _mm_crc32_u64(state, word);
}
RIOLOG_CRC_TARGET inline uint32_t step4(uint32_t state, const uint8_t* data) noexcept {
  uint32_t word;
  std::memcpy(&word, data, 4);
  return _mm_crc32_u32(state, word);
}
RIOLOG_CRC_TARGET inline uint32_t step1(uint32_t state, uint8_t byte) noexcept {
  return _mm_crc32_u8(state, byte);
}
#elif defined(__aarch64__)
#define RIOLOG_CRC_TARGET __attribute__((target("+crc")))
RIOLOG_CRC_TARGET inline uint64_t step8(uint64_t state, const uint8_t* data) noexcept {
  uint64_t word;
  std::memcpy(&word, data, 8);
  return __crc32cd(static_cast<uint32_t>(state), word);
}
RIOLOG_CRC_TARGET inline uint32_t step4(uint32_t state, const uint8_t* data) noexcept {
  uint32_t word;
  std::memcpy(&word, data, 4);
  return __crc32cw(state, word);
}
RIOLOG_CRC_TARGET inline uint32_t step1(uint32_t state, uint8_t byte) noexcept {
  return __crc32cb(state, byte);
}
#endif

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

#if defined(RIOLOG_CRC_TARGET)

// What `kBytes` zero bytes do to the state: a multiplication by x^(8 * kBytes), byte by byte of it.
template <size_t kBytes>
class Shift {
 public:
  static uint32_t apply(uint32_t state) noexcept {
    return kTables_[0][state & 0xFF] ^ kTables_[1][(state >> 8) & 0xFF] ^
           kTables_[2][(state >> 16) & 0xFF] ^ kTables_[3][state >> 24];
  }

 private:
  static constexpr std::array<std::array<uint32_t, 256>, 4> makeTables() {
    const uint32_t power = powerOfX(8 * kBytes);
    std::array<std::array<uint32_t, 256>, 4> tables{};
    for (uint32_t k = 0; k < 4; k++) {
      for (uint32_t byte = 0; byte < 256; byte++)
        tables[k][byte] = multiply(power, byte << (8 * k));
    }
    return tables;
  }

  static constexpr auto kTables_ = makeTables();
};

// The instruction takes a word each cycle, and three cycles for its result: three lanes at once
// keep it busy (Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction",
// 2011).
template <size_t kLane>
RIOLOG_CRC_TARGET inline void threeLanes(uint64_t& state, const uint8_t*& data,
                                         size_t& length) noexcept {
  static_assert(kLane % 8 == 0);
  for (; length >= 3 * kLane; data += 3 * kLane, length -= 3 * kLane) {
    uint64_t first = state, second = 0, third = 0;
    for (size_t at = 0; at < kLane; at += 8) {
      first = step8(first, data + at);
      second = step8(second, data + kLane + at);
      third = step8(third, data + 2 * kLane + at);
    }
    const auto together = Shift<kLane>::apply(static_cast<uint32_t>(first)) ^ second;
    state = Shift<kLane>::apply(static_cast<uint32_t>(together)) ^ third;
  }
}

// Short lanes for records of some hundred bytes, long ones for all else: putting lanes together
// takes as long as some twenty words.
constexpr size_t kShortLane = 128;
constexpr size_t kLongLane = 1024;

RIOLOG_CRC_TARGET uint32_t crc32cHardware(uint32_t crc, const uint8_t* data,
                                          size_t length) noexcept {
  uint64_t wide = ~crc;
  threeLanes<kLongLane>(wide, data, length);
  threeLanes<kShortLane>(wide, data, length);
  for (; length >= 8; data += 8, length -= 8) wide = step8(wide, data);
  auto state = static_cast<uint32_t>(wide);
  // A record's header has twelve bytes.
  if (length >= 4) {
    state = step4(state, data);
    data += 4;
    length -= 4;
  }
  for (; length > 0; data++, length--) state = step1(state, *data);
  return ~state;
}

RIOLOG_CRC_TARGET void fourInterleaved(Crc32cPiece (&pieces)[4]) noexcept {
  auto& [first, second, third, fourth] = pieces;
  const size_t common =
      std::min({first.length, second.length, third.length, fourth.length}) & ~size_t{7};
  uint64_t states[4] = {uint32_t{~first.crc}, uint32_t{~second.crc}, uint32_t{~third.crc},
                        uint32_t{~fourth.crc}};
  for (size_t at = 0; at < common; at += 8) {
    states[0] = step8(states[0], first.data + at);
    states[1] = step8(states[1], second.data + at);
    states[2] = step8(states[2], third.data + at);
    states[3] = step8(states[3], fourth.data + at);
  }
  for (size_t i = 0; i < 4; i++) {
    auto& [crc, data, length] = pieces[i];
    crc = ~static_cast<uint32_t>(states[i]);
    if (length > common) crc = crc32cHardware(crc, data + common, length - common);
  }
}
#endif

#if defined(__x86_64__)
uint32_t crc32cFolded(uint32_t crc, const uint8_t* data, size_t length) noexcept {
  if (length < kLeastFolded) return crc32cHardware(crc, data, length);
  const uint32_t state = fold(~crc, data, length);
  return crc32cHardware(~state, data, length);
}
#endif

class Versions {
 public:
  Versions() noexcept {
#if defined(__x86_64__)
    // Not __builtin_cpu_supports: not every compiler's runtime library has what that takes.
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (canFold()) add({crc32cFolded, "avx512"});
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_SSE4_2) != 0)
      add({crc32cHardware, "sse4.2"});
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_CRC32) add({crc32cHardware, "armv8-crc"});
#elif defined(__aarch64__) && defined(__APPLE__)
    add({crc32cHardware, "armv8-crc"});  // every Apple arm64 CPU has the extension
#endif
    add({crc32cPortable, "portable"});
  }

  std::span<const Crc32cVersion> all() const noexcept { return {versions_.data(), count_}; }

 private:
  void add(Crc32cVersion version) noexcept { versions_[count_++] = version; }

  std::array<Crc32cVersion, 3> versions_{};
  size_t count_ = 0;
};

const Versions kVersions;
const Crc32cVersion kFastest = kVersions.all().front();
// Above it each piece keeps the CPU busy by itself.
constexpr size_t kMostInterleaved = kLeastFolded;

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
  return kFastest.run(crc, data, length);
}

void crc32cOfFour(Crc32cPiece (&pieces)[4]) noexcept {
#if defined(RIOLOG_CRC_TARGET)
  const auto isShort = [](const Crc32cPiece& piece) { return piece.length < kMostInterleaved; };
  if (kFastest.run != crc32cPortable && std::all_of(pieces, pieces + 4, isShort)) {
    fourInterleaved(pieces);
    return;
  }
#endif
  for (auto& [crc, data, length] : pieces) crc = crc32c(crc, data, length);
}

std::span<const Crc32cVersion> crc32cVersions() noexcept { return kVersions.all(); }

}  // namespace riolog

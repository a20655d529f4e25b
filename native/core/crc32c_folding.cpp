#include "crc32c_folding.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include "crc32c_polynomial.h"

namespace riolog {
namespace {

#if defined(__clang__) && __clang_major__ >= 18 && __clang_major__ <= 20
// There registers of 512 bits have a name of their own, too, which a command line may take away.
#define RIOLOG_FOLDING __attribute__((target("avx512f,evex512,vpclmulqdq,pclmul,sse4.2,crc32")))
#elif defined(__clang__) && __clang_major__ >= 14
// As in crc32c.cpp: with "no crc32" from the command line (zig's, for instance), sse4.2 does not
// bring it.
#define RIOLOG_FOLDING __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2,crc32")))
#else
#define RIOLOG_FOLDING __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))
#endif

// XCR0's bits for the registers that AVX-512 uses: SSE, AVX, opmask and both parts of ZMM
// (Intel SDM, volume 1, 15.2 "Detection of AVX-512 foundation instructions").
constexpr uint32_t kSavedByTheSystem = 0xE6;

// A block of 16 bytes that stands `kBytes` in front of another is added to it when its halves are
// multiplied by x^(8 * kBytes), the first one by x^64 more. Bit 127 of a block is x^0, bit 63 of a
// half and bit 31 of a factor: their product has it at bit 94, and so is one by x^33 already (Gopal
// et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", 2009).
template <uint32_t kBytes>
struct Distance {
  static constexpr uint64_t kLow = powerOfX(8 * kBytes + 31);
  static constexpr uint64_t kHigh = powerOfX(8 * kBytes - 33);
};

struct alignas(64) Factors {
  uint64_t words[8];
};

// The same for all four blocks of 16 bytes.
template <uint32_t kBytes>
constexpr Factors kForward = {{Distance<kBytes>::kLow, Distance<kBytes>::kHigh,
                               Distance<kBytes>::kLow, Distance<kBytes>::kHigh,
                               Distance<kBytes>::kLow, Distance<kBytes>::kHigh,
                               Distance<kBytes>::kLow, Distance<kBytes>::kHigh}};

// The first three are added to the last.
constexpr Factors kTogether = {{Distance<48>::kLow, Distance<48>::kHigh, Distance<32>::kLow,
                                Distance<32>::kHigh, Distance<16>::kLow, Distance<16>::kHigh, 0,
                                0}};

RIOLOG_FOLDING inline __m512i load(const void* data) noexcept { return _mm512_loadu_si512(data); }

RIOLOG_FOLDING inline __m512i forward(__m512i blocks, __m512i factors, __m512i onto) noexcept {
  const __m512i low = _mm512_clmulepi64_epi128(blocks, factors, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(blocks, factors, 0x11);
  return _mm512_ternarylogic_epi64(low, high, onto, 0x96);  // the three of them, xor
}

RIOLOG_FOLDING uint32_t remainderOf(__m512i blocks) noexcept {
  const Factors& factors = kTogether;
  alignas(64) uint64_t folded[8];
  alignas(64) uint64_t last[8];
  _mm512_store_si512(folded, forward(blocks, load(&factors), _mm512_setzero_si512()));
  _mm512_store_si512(last, blocks);
  const uint64_t low = folded[0] ^ folded[2] ^ folded[4] ^ last[6];
  const uint64_t high = folded[1] ^ folded[3] ^ folded[5] ^ last[7];
  return static_cast<uint32_t>(_mm_crc32_u64(_mm_crc32_u64(0, low), high));
}

}  // namespace

bool canFold() noexcept {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr uint32_t kBasics = bit_SSE4_2 | bit_PCLMUL | bit_OSXSAVE;
  if ((ecx & kBasics) != kBasics) return false;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((ebx & bit_AVX512F) == 0 || (ecx & bit_VPCLMULQDQ) == 0) return false;
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kSavedByTheSystem) == kSavedByTheSystem;
}

RIOLOG_FOLDING uint32_t fold(uint32_t state, const uint8_t*& data, size_t& length) noexcept {
  constexpr size_t kStep = 256;
  const __m512i far = load(&kForward<kStep>);
  const __m512i near = load(&kForward<64>);
  const __m512i seed = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(state)));
  // Four at once: the multiplication takes a new one each cycle, and eight cycles for its result.
  __m512i first = _mm512_xor_si512(load(data), seed);
  __m512i second = load(data + 64);
  __m512i third = load(data + 128);
  __m512i fourth = load(data + 192);
  for (data += kStep, length -= kStep; length >= kStep; data += kStep, length -= kStep) {
    first = forward(first, far, load(data));
    second = forward(second, far, load(data + 64));
    third = forward(third, far, load(data + 128));
    fourth = forward(fourth, far, load(data + 192));
  }
  __m512i all = forward(forward(forward(first, near, second), near, third), near, fourth);
  for (; length >= 64; data += 64, length -= 64) all = forward(all, near, load(data));
  return remainderOf(all);
}

}  // namespace riolog

#else

namespace riolog {

bool canFold() noexcept { return false; }

uint32_t fold(uint32_t state, const uint8_t*&, size_t&) noexcept { return state; }

}  // namespace riolog

#endif

#include "core/crc32c.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/crc32c_folding.h"
#include "harness.h"

namespace riolog::test {
namespace {

TEST("crc32c: the vectors of RFC 3720 B.4, in every version that this CPU has") {
  std::vector<uint8_t> bytes(32);
  for (const auto& [run, name] : crc32cVersions()) {
    std::fill(bytes.begin(), bytes.end(), uint8_t{0x00});
    CHECK_EQUAL(run(0, bytes.data(), bytes.size()), 0x8A9136AAU);
    std::fill(bytes.begin(), bytes.end(), uint8_t{0xFF});
    CHECK_EQUAL(run(0, bytes.data(), bytes.size()), 0x62A8AB43U);
    for (size_t i = 0; i < 32; i++) bytes[i] = static_cast<uint8_t>(i);
    CHECK_EQUAL(run(0, bytes.data(), bytes.size()), 0x46DD794EU);
    for (size_t i = 0; i < 32; i++) bytes[i] = static_cast<uint8_t>(31 - i);
    CHECK_EQUAL(run(0, bytes.data(), bytes.size()), 0x113FDB5CU);
    CHECK_EQUAL(run(0, reinterpret_cast<const uint8_t*>("123456789"), 9), 0xE3069283U);
    CHECK_EQUAL(run(0, nullptr, 0), 0U);
    CHECK_EQUAL(run(0xDEADBEEF, nullptr, 0), 0xDEADBEEFU);
  }
}

TEST("crc32c: the fastest version is the one that runs, the portable one comes last") {
  const auto versions = crc32cVersions();
  CHECK(std::string(versions.back().name) == "portable");
  CHECK((std::string(versions.front().name) == "avx512") == canFold());
  const std::vector<uint8_t> bytes(1000, 7);
  CHECK_EQUAL(crc32c(1, bytes.data(), bytes.size()),
              versions.front().run(1, bytes.data(), bytes.size()));
}

// Compares each version with the portable one.
void compare(const std::vector<uint8_t>& bytes, size_t offset, size_t length, uint32_t seed) {
  const uint32_t expected = crc32cPortable(seed, bytes.data() + offset, length);
  for (const auto& [run, name] : crc32cVersions())
    CHECK_EQUAL(run(seed, bytes.data() + offset, length), expected);
}

TEST("crc32c: every version equals the portable one, lengths 0 to 300, alignments 0 to 7") {
  Random random(1);
  std::vector<uint8_t> bytes(320);
  random.fill(bytes.data(), bytes.size());
  for (size_t offset = 0; offset < 8; offset++) {
    for (size_t length = 0; length <= 300; length++)
      compare(bytes, offset, length, static_cast<uint32_t>(random.next()));
  }
}

TEST("crc32c: the same of all lengths up to 2,000, anywhere in a cache line") {
  Random random(4);
  std::vector<uint8_t> bytes(2064);
  random.fill(bytes.data(), bytes.size());
  for (size_t length = 300; length <= 2000; length++)
    compare(bytes, length % 64, length, static_cast<uint32_t>(random.next()));
}

TEST("crc32c: the same around the lengths where lanes begin, end and are put together") {
  Random random(3);
  std::vector<uint8_t> bytes(16384);
  random.fill(bytes.data(), bytes.size());
  for (const size_t lane : {128, 1024}) {
    for (size_t lanes = 0; lanes <= 12; lanes += 3) {
      for (size_t around = 0; around <= 24; around++) {
        const size_t length = lanes * lane + around;
        if (length < 12 || length > bytes.size() + 12) continue;
        const size_t offset = around % 8;
        const size_t used = std::min(length - 12, bytes.size() - offset);
        compare(bytes, offset, used, static_cast<uint32_t>(random.next()));
      }
    }
  }
}

TEST("crc32c: in two parts it equals the whole, for every cut") {
  Random random(2);
  std::vector<uint8_t> bytes(1300);
  random.fill(bytes.data(), bytes.size());
  for (const auto& [run, name] : crc32cVersions()) {
    const uint32_t whole = run(0, bytes.data(), bytes.size());
    for (size_t cut = 0; cut <= bytes.size(); cut++) {
      const uint32_t first = run(0, bytes.data(), cut);
      CHECK_EQUAL(run(first, bytes.data() + cut, bytes.size() - cut), whole);
    }
  }
}

TEST("crc32c: of four pieces at once it is that of each, short and long ones together") {
  Random random(6);
  std::vector<uint8_t> bytes(4096);
  random.fill(bytes.data(), bytes.size());
  for (int round = 0; round < 20000; round++) {
    // Some of one length, some around where pieces are summed one by one, some of any.
    const uint32_t kind = random.below(4);
    const uint32_t same = random.below(700);
    Crc32cPiece pieces[4];
    uint32_t expected[4];
    for (size_t i = 0; i < 4; i++) {
      const size_t length = kind == 0   ? same
                            : kind == 1 ? kLeastFolded - 8 + random.below(16)
                            : kind == 2 ? random.below(40)
                                        : random.below(1000);
      pieces[i] = {static_cast<uint32_t>(random.next()), bytes.data() + random.below(3000), length};
      expected[i] = crc32cPortable(pieces[i].crc, pieces[i].data, length);
    }
    crc32cOfFour(pieces);
    for (size_t i = 0; i < 4; i++) CHECK_EQUAL(pieces[i].crc, expected[i]);
  }
}

TEST("crc32c: a bit that is not the same is told, wherever it stands") {
  Random random(5);
  std::vector<uint8_t> bytes(1100);
  random.fill(bytes.data(), bytes.size());
  for (const auto& [run, name] : crc32cVersions()) {
    const uint32_t whole = run(0, bytes.data(), bytes.size());
    for (size_t bit = 0; bit < 8 * bytes.size(); bit++) {
      const auto mask = static_cast<uint8_t>(1U << (bit % 8));
      bytes[bit / 8] ^= mask;
      CHECK(run(0, bytes.data(), bytes.size()) != whole);
      bytes[bit / 8] ^= mask;
    }
  }
}

}  // namespace
}  // namespace riolog::test

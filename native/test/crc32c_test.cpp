#include "core/crc32c.h"

#include <cstring>
#include <vector>

#include "harness.h"

namespace riolog::test {
namespace {

uint32_t ofWhole(const std::vector<uint8_t>& bytes) {
  return crc32c(0, bytes.data(), bytes.size());
}

TEST("crc32c: the vectors of RFC 3720 B.4") {
  std::vector<uint8_t> bytes(32, 0x00);
  CHECK_EQUAL(ofWhole(bytes), 0x8A9136AAU);
  bytes.assign(32, 0xFF);
  CHECK_EQUAL(ofWhole(bytes), 0x62A8AB43U);
  for (size_t i = 0; i < 32; i++) bytes[i] = static_cast<uint8_t>(i);
  CHECK_EQUAL(ofWhole(bytes), 0x46DD794EU);
  for (size_t i = 0; i < 32; i++) bytes[i] = static_cast<uint8_t>(31 - i);
  CHECK_EQUAL(ofWhole(bytes), 0x113FDB5CU);
}

TEST("crc32c: the check value of \"123456789\", in both versions") {
  const auto* digits = reinterpret_cast<const uint8_t*>("123456789");
  CHECK_EQUAL(crc32c(0, digits, 9), 0xE3069283U);
  CHECK_EQUAL(crc32cPortable(0, digits, 9), 0xE3069283U);
}

TEST("crc32c: nothing added changes nothing") {
  CHECK_EQUAL(crc32c(0, nullptr, 0), 0U);
  CHECK_EQUAL(crc32c(0xDEADBEEF, nullptr, 0), 0xDEADBEEFU);
  CHECK_EQUAL(crc32cPortable(0xDEADBEEF, nullptr, 0), 0xDEADBEEFU);
}

TEST("crc32c: this CPU's version equals the portable one, lengths 0 to 300, alignments 0 to 7") {
  Random random(1);
  std::vector<uint8_t> bytes(320);
  random.fill(bytes.data(), bytes.size());
  for (size_t offset = 0; offset < 8; offset++) {
    for (size_t length = 0; length <= 300; length++) {
      const auto seed = static_cast<uint32_t>(random.next());
      CHECK_EQUAL(crc32c(seed, bytes.data() + offset, length),
                  crc32cPortable(seed, bytes.data() + offset, length));
    }
  }
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
        const size_t used =
            length - 12 + offset > bytes.size() ? bytes.size() - offset : length - 12;
        const auto seed = static_cast<uint32_t>(random.next());
        CHECK_EQUAL(crc32c(seed, bytes.data() + offset, used),
                    crc32cPortable(seed, bytes.data() + offset, used));
      }
    }
  }
}

TEST("crc32c: in two parts it equals the whole, for every cut") {
  Random random(2);
  std::vector<uint8_t> bytes(300);
  random.fill(bytes.data(), bytes.size());
  const uint32_t whole = ofWhole(bytes);
  for (size_t cut = 0; cut <= bytes.size(); cut++) {
    const uint32_t first = crc32c(0, bytes.data(), cut);
    CHECK_EQUAL(crc32c(first, bytes.data() + cut, bytes.size() - cut), whole);
    const uint32_t portable = crc32cPortable(0, bytes.data(), cut);
    CHECK_EQUAL(crc32cPortable(portable, bytes.data() + cut, bytes.size() - cut), whole);
  }
}

}  // namespace
}  // namespace riolog::test

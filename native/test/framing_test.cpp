#include "core/framing.h"

#include <cstring>
#include <vector>

#include "core/crc32c.h"
#include "guarded.h"
#include "harness.h"

namespace riolog::test {
namespace {

constexpr size_t kMaxGroup = 1 << 20;
constexpr Place kPlace{0x0123456789ABCDEF, 3 * 4096};

struct Sealed {
  std::vector<uint8_t> bytes;  // padding up to the alignment included
  GroupHeader fields{};
  size_t end = 0;  // of the records
  bool sealed = false;
  std::vector<size_t> recordOffsets;
};

// What lies in a buffer before it is sealed is not zero: sealing has to clear all padding itself.
Sealed seal(const std::vector<uint32_t>& lengths, Place place = kPlace, uint64_t seed = 7) {
  Sealed group;
  size_t end = kGroupHeaderBytes;
  for (const uint32_t length : lengths) {
    group.recordOffsets.push_back(end);
    end += alignUp(kRecordHeaderBytes + size_t{length}, kRecordAlignment);
  }
  group.end = end;
  group.bytes.resize(alignUp(end, kMinAlignment));
  Random random(seed);
  random.fill(group.bytes.data(), group.bytes.size());
  for (size_t i = 0; i < lengths.size(); i++) {
    const RecordHeader header{0, lengths[i], i % 2 == 1 ? uint32_t{kRecordGoesOn} : 0};
    std::memcpy(group.bytes.data() + group.recordOffsets[i], &header, sizeof header);
  }
  group.fields.salt = place.salt;
  group.fields.lsn = place.lsn;
  group.fields.previousEnd = place.lsn - 4096;
  group.fields.durableLsn = place.lsn - 8192;
  group.fields.payloadLength = static_cast<uint32_t>(end - kGroupHeaderBytes);
  group.fields.recordCount = static_cast<uint32_t>(lengths.size());
  group.fields.batch = kBatchMiddle;
  group.sealed = sealGroup(group.bytes.data(), group.bytes.size(), group.fields);
  return group;
}

GroupStatus verify(const uint8_t* bytes, size_t available, Place place = kPlace) {
  GroupHeader header;
  return verifyGroup(bytes, available, place, kMaxGroup, &header);
}

GroupStatus verify(const std::vector<uint8_t>& bytes, Place place = kPlace) {
  return verify(bytes.data(), bytes.size(), place);
}

// Changes a header as somebody would who can compute its checksum.
template <typename Change>
void forgeHeader(uint8_t* bytes, Change change) {
  GroupHeader header;
  std::memcpy(&header, bytes, sizeof header);
  change(header);
  std::memcpy(bytes, &header, sizeof header);
  header.headerCrc = crc32c(0, bytes + 4, kGroupHeaderBytes - 4);
  std::memcpy(bytes, &header, sizeof header);
}

std::vector<uint32_t> randomLengths(Random& random) {
  std::vector<uint32_t> lengths(random.below(12));
  for (uint32_t& length : lengths) {
    const uint32_t kind = random.below(4);
    length = kind == 0 ? 0 : kind == 1 ? random.below(16) : random.below(3000);
  }
  return lengths;
}

TEST("framing: what was sealed verifies, field by field, 500 random groups") {
  Random random(3);
  for (int round = 0; round < 500; round++) {
    const Place place{random.next(), (random.next() >> 12) / 4096 * 4096};
    const std::vector<uint32_t> lengths = randomLengths(random);
    const Sealed group = seal(lengths, place, random.next());
    CHECK(group.sealed);
    GroupHeader header{};
    CHECK_EQUAL(verifyGroup(group.bytes.data(), group.bytes.size(), place, kMaxGroup, &header),
                GroupStatus::kWhole);
    CHECK_EQUAL(header.lsn, place.lsn);
    CHECK_EQUAL(header.previousEnd, group.fields.previousEnd);
    CHECK_EQUAL(header.durableLsn, group.fields.durableLsn);
    CHECK_EQUAL(header.payloadLength, group.fields.payloadLength);
    CHECK_EQUAL(header.recordCount, lengths.size());
    CHECK_EQUAL(header.batch, uint32_t{kBatchMiddle});
    for (size_t i = 0; i < lengths.size(); i++) {
      const size_t offset = group.recordOffsets[i];
      RecordHeader record{};
      const Place at{place.salt, place.lsn + offset};
      CHECK_EQUAL(verifyRecord(group.bytes.data() + offset, group.end - offset, at, &record),
                  RecordStatus::kGood);
      CHECK_EQUAL(record.length, lengths[i]);
    }
  }
}

TEST("framing: a group without records, and records of no bytes") {
  const Sealed empty = seal({});
  CHECK(empty.sealed);
  CHECK_EQUAL(verify(empty.bytes), GroupStatus::kWhole);
  CHECK_EQUAL(verify(empty.bytes.data(), kGroupHeaderBytes), GroupStatus::kWhole);
  const Sealed hollow = seal({0, 0, 0});
  CHECK(hollow.sealed);
  CHECK_EQUAL(verify(hollow.bytes), GroupStatus::kWhole);
}

TEST("framing: sealing zeroes the padding of records and of the group") {
  const std::vector<uint32_t> lengths = {1, 3, 4, 5};
  const Sealed group = seal(lengths);
  size_t nonZero = 0;
  for (size_t i = 0; i < lengths.size(); i++) {
    const size_t from = group.recordOffsets[i] + kRecordHeaderBytes + lengths[i];
    const size_t to = i + 1 < lengths.size() ? group.recordOffsets[i + 1] : group.bytes.size();
    for (size_t at = from; at < to; at++) nonZero += group.bytes[at] != 0;
  }
  CHECK_EQUAL(nonZero, 0U);
}

// Which bytes no checksum covers: the padding behind each record.
std::vector<bool> paddingOf(const Sealed& group, const std::vector<uint32_t>& lengths) {
  std::vector<bool> padding(group.end, false);
  for (size_t i = 0; i < lengths.size(); i++) {
    const size_t used = group.recordOffsets[i] + kRecordHeaderBytes + lengths[i];
    const size_t next = i + 1 < lengths.size() ? group.recordOffsets[i + 1] : group.end;
    for (size_t at = used; at < next; at++) padding[at] = true;
  }
  return padding;
}

TEST("framing: every flipped bit outside padding is found") {
  const std::vector<uint32_t> lengths = {5, 0, 16, 100};
  const Sealed group = seal(lengths);
  const std::vector<bool> padding = paddingOf(group, lengths);
  std::vector<uint8_t> bytes = group.bytes;
  for (size_t bit = 0; bit < group.end * 8; bit++) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    const bool inHeader = bit / 8 < kGroupHeaderBytes;
    const GroupStatus wanted = padding[bit / 8] ? GroupStatus::kWhole
                               : inHeader       ? GroupStatus::kBadHeader
                                                : GroupStatus::kTorn;
    CHECK_EQUAL(verify(bytes), wanted);
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
  }
  CHECK(bytes == group.bytes);
}

TEST("framing: every flipped bit of a record is found by verifying the record alone") {
  const Sealed group = seal({37});
  const size_t offset = group.recordOffsets[0];
  const Place at{kPlace.salt, kPlace.lsn + offset};
  std::vector<uint8_t> bytes = group.bytes;
  for (size_t bit = 0; bit < (kRecordHeaderBytes + 37) * 8; bit++) {
    bytes[offset + bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    RecordHeader header;
    CHECK_EQUAL(verifyRecord(bytes.data() + offset, group.end - offset, at, &header),
                RecordStatus::kBad);
    bytes[offset + bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
  }
}

// As somebody writes a record who knows a flag that we do not: with checksums that fit.
void setFlags(Sealed& group, size_t record, uint32_t flags) {
  uint8_t* at = group.bytes.data() + group.recordOffsets[record];
  RecordHeader header;
  std::memcpy(&header, at, sizeof header);
  header.flags = flags;
  std::memcpy(at, &header, sizeof header);
  const Place place{kPlace.salt, kPlace.lsn + group.recordOffsets[record]};
  header.crc = crc32c(crc32c(0, reinterpret_cast<const uint8_t*>(&place), sizeof place), at + 4,
                      8 + size_t{header.length});
  std::memcpy(at, &header, sizeof header);
  uint32_t heads = 0;
  for (const size_t offset : group.recordOffsets) {
    heads = crc32c(heads, group.bytes.data() + offset, kRecordHeaderBytes);
  }
  forgeHeader(group.bytes.data(), [&](GroupHeader& fields) { fields.payloadCrc = heads; });
}

// Records are summed four at a time: each place of a four, and of what is left behind the last of
// them.
TEST(
    "framing: one damaged record of a few is found at each place, also where its own checksum is "
    "right") {
  for (size_t count = 1; count <= 10; count++) {
    const Sealed group = seal(std::vector<uint32_t>(count, 100));
    CHECK_EQUAL(verify(group.bytes), GroupStatus::kWhole);
    for (const size_t offset : group.recordOffsets) {
      std::vector<uint8_t> damaged = group.bytes;
      damaged[offset + kRecordHeaderBytes + 50] ^= 1;
      CHECK_EQUAL(verify(damaged), GroupStatus::kTorn);
      // The checksum of the record alone is right: that of the group tells.
      RecordHeader record;
      std::memcpy(&record, group.bytes.data() + offset, sizeof record);
      uint8_t place[16];
      const uint64_t lsn = kPlace.lsn + offset;
      std::memcpy(place, &kPlace.salt, 8);
      std::memcpy(place + 8, &lsn, 8);
      record.crc = crc32c(crc32c(0, place, sizeof place), damaged.data() + offset + 4,
                          kRecordHeaderBytes - 4 + size_t{record.length});
      std::memcpy(damaged.data() + offset, &record, sizeof record);
      RecordHeader found;
      CHECK_EQUAL(verifyRecord(damaged.data() + offset, damaged.size() - offset, {kPlace.salt, lsn},
                               &found),
                  RecordStatus::kGood);
      CHECK_EQUAL(verify(damaged), GroupStatus::kTorn);
    }
  }
}

TEST("framing: an unknown flag of a record that verifies is of the future, never torn") {
  for (int bit = 0; bit < 32; bit++) {
    const uint32_t flags = uint32_t{1} << bit;
    const bool known = (flags & kKnownRecordFlags) != 0;
    Sealed group = seal({40, 24, 8});
    setFlags(group, 1, flags);
    CHECK_EQUAL(verify(group.bytes), known ? GroupStatus::kWhole : GroupStatus::kFuture);
    const size_t offset = group.recordOffsets[1];
    const Place at{kPlace.salt, kPlace.lsn + offset};
    RecordHeader header;
    CHECK_EQUAL(verifyRecord(group.bytes.data() + offset, group.end - offset, at, &header),
                known ? RecordStatus::kGood : RecordStatus::kFuture);
    group.bytes[group.recordOffsets[2] + kRecordHeaderBytes] ^= 1;
    CHECK_EQUAL(verify(group.bytes), GroupStatus::kTorn);
  }
}

TEST("framing: another salt or LSN never verifies, neither group nor record") {
  const Sealed group = seal({10, 20});
  const size_t offset = group.recordOffsets[0];
  for (int bit = 0; bit < 64; bit++) {
    const uint64_t flip = uint64_t{1} << bit;
    CHECK_EQUAL(verify(group.bytes, {kPlace.salt ^ flip, kPlace.lsn}), GroupStatus::kBadHeader);
    CHECK_EQUAL(verify(group.bytes, {kPlace.salt, kPlace.lsn ^ flip}), GroupStatus::kBadHeader);
    const Place at{kPlace.salt, kPlace.lsn + offset};
    RecordHeader header;
    const auto check = [&](Place place) {
      return verifyRecord(group.bytes.data() + offset, group.end - offset, place, &header);
    };
    CHECK_EQUAL(check({at.salt ^ flip, at.lsn}), RecordStatus::kBad);
    CHECK_EQUAL(check({at.salt, at.lsn ^ flip}), RecordStatus::kBad);
  }
}

TEST("framing: a record moved within its group does not verify") {
  Sealed group = seal({8, 8});
  uint8_t* first = group.bytes.data() + group.recordOffsets[0];
  uint8_t* second = group.bytes.data() + group.recordOffsets[1];
  std::vector<uint8_t> kept(first, second);
  std::memmove(first, second, kept.size());
  std::memcpy(second, kept.data(), kept.size());
  CHECK_EQUAL(verify(group.bytes), GroupStatus::kTorn);
}

TEST("framing: zeros and noise are no group") {
  std::vector<uint8_t> bytes(8192, 0);
  CHECK_EQUAL(verify(bytes), GroupStatus::kBadHeader);
  CHECK_EQUAL(verify(bytes, {0, 0}), GroupStatus::kBadHeader);
  Random random(4);
  for (int round = 0; round < 200; round++) {
    random.fill(bytes.data(), bytes.size());
    CHECK_EQUAL(verify(bytes), GroupStatus::kBadHeader);
  }
}

TEST("framing: cut short at every byte, right before a page that faults") {
  const Sealed group = seal({5, 0, 100});
  for (size_t available = 0; available <= group.end; available++) {
    Guarded guarded(available);
    std::memcpy(guarded.data(), group.bytes.data(), available);
    const GroupStatus wanted = available < kGroupHeaderBytes ? GroupStatus::kBadHeader
                               : available < group.end       ? GroupStatus::kTorn
                                                             : GroupStatus::kWhole;
    CHECK_EQUAL(verify(guarded.data(), available), wanted);
  }
}

TEST("framing: a record cut short at every byte, right before a page that faults") {
  const Sealed group = seal({37});
  const size_t offset = group.recordOffsets[0];
  const Place at{kPlace.salt, kPlace.lsn + offset};
  for (size_t available = 0; available <= kRecordHeaderBytes + 37; available++) {
    Guarded guarded(available);
    std::memcpy(guarded.data(), group.bytes.data() + offset, available);
    RecordHeader header;
    const bool whole = available == kRecordHeaderBytes + 37;
    CHECK_EQUAL(verifyRecord(guarded.data(), available, at, &header),
                whole ? RecordStatus::kGood : RecordStatus::kBad);
  }
}

// Lengths around each power of two, where a sum overflows or a bound is off by one.
std::vector<uint32_t> hostileLengths() {
  std::vector<uint32_t> lengths;
  for (int bit = 0; bit < 32; bit++) {
    const uint32_t power = uint32_t{1} << bit;
    for (const uint32_t length : {power - 1, power, power + 1, 0U - power})
      lengths.push_back(length);
  }
  return lengths;
}

TEST("framing: hostile record lengths read nothing beyond the bytes that are there") {
  const Sealed group = seal({40, 40});
  Guarded guarded(group.end);
  for (const uint32_t length : hostileLengths()) {
    if (length == 40) continue;
    for (const size_t offset : group.recordOffsets) {
      std::memcpy(guarded.data(), group.bytes.data(), group.end);
      std::memcpy(guarded.data() + offset + 4, &length, sizeof length);
      CHECK_EQUAL(verify(guarded.data(), group.end), GroupStatus::kTorn);
    }
  }
}

TEST("framing: hostile payload lengths under a good header checksum") {
  const Sealed group = seal({40, 40});
  Guarded guarded(group.end);
  for (const uint32_t length : hostileLengths()) {
    if (length == group.fields.payloadLength) continue;
    std::memcpy(guarded.data(), group.bytes.data(), group.end);
    forgeHeader(guarded.data(), [&](GroupHeader& header) { header.payloadLength = length; });
    for (const size_t maxGroup : {kMaxGroup, size_t{UINT32_MAX}, SIZE_MAX}) {
      GroupHeader header;
      const GroupStatus status = verifyGroup(guarded.data(), group.end, kPlace, maxGroup, &header);
      const bool tooLong = length > maxGroup - kGroupHeaderBytes;
      CHECK_EQUAL(status, tooLong ? GroupStatus::kBadHeader : GroupStatus::kTorn);
    }
  }
}

TEST("framing: a bound below the header's own size lets no header through") {
  const Sealed group = seal({40});
  for (size_t maxGroup = 0; maxGroup < kGroupHeaderBytes + 56; maxGroup++) {
    GroupHeader header;
    CHECK(!readGroupHeader(group.bytes.data(), kPlace, maxGroup, &header));
  }
  GroupHeader header;
  CHECK(readGroupHeader(group.bytes.data(), kPlace, kGroupHeaderBytes + 56, &header));
}

TEST("framing: a header that contradicts its records is torn, an unknown batch part no header") {
  const auto forged = [](auto change) {
    Sealed group = seal({40, 40});
    forgeHeader(group.bytes.data(), change);
    return verify(group.bytes);
  };
  CHECK_EQUAL(forged([](GroupHeader&) {}), GroupStatus::kWhole);
  CHECK_EQUAL(forged([](GroupHeader& header) { header.recordCount++; }), GroupStatus::kTorn);
  CHECK_EQUAL(forged([](GroupHeader& header) { header.recordCount = 0; }), GroupStatus::kTorn);
  CHECK_EQUAL(forged([](GroupHeader& header) { header.payloadCrc ^= 1; }), GroupStatus::kTorn);
  CHECK_EQUAL(forged([](GroupHeader& header) { header.payloadLength -= 8; }), GroupStatus::kTorn);
  CHECK_EQUAL(forged([](GroupHeader& header) { header.payloadLength = 0; }), GroupStatus::kTorn);
  CHECK_EQUAL(forged([](GroupHeader& header) { header.batch = 4; }), GroupStatus::kBadHeader);
}

bool sealsWith(void (*change)(uint8_t* bytes, GroupHeader& fields, size_t& paddedLength)) {
  const Sealed group = seal({40, 40});
  Guarded guarded(group.bytes.size());
  std::memcpy(guarded.data(), group.bytes.data(), guarded.size());
  GroupHeader fields = group.fields;
  size_t paddedLength = guarded.size();
  change(guarded.data(), fields, paddedLength);
  // The shorter of the two buffers ends where memory does, too.
  Guarded exact(paddedLength);
  std::memcpy(exact.data(), guarded.data(), paddedLength);
  return sealGroup(exact.data(), paddedLength, fields);
}

TEST("framing: sealing refuses what would not verify, and writes nothing out of bounds") {
  using Header = GroupHeader;
  CHECK(sealsWith([](uint8_t*, Header&, size_t&) {}));
  CHECK(sealsWith([](uint8_t*, Header&, size_t& padded) { padded = 64 + 112; }));
  CHECK(!sealsWith([](uint8_t*, Header&, size_t& padded) { padded = 64 + 111; }));
  CHECK(!sealsWith([](uint8_t*, Header&, size_t& padded) { padded = 63; }));
  CHECK(!sealsWith([](uint8_t*, Header&, size_t& padded) { padded = 0; }));
  CHECK(!sealsWith([](uint8_t*, Header& fields, size_t&) { fields.recordCount = 1; }));
  CHECK(!sealsWith([](uint8_t*, Header& fields, size_t&) { fields.payloadLength -= 8; }));
  CHECK(!sealsWith([](uint8_t*, Header& fields, size_t&) { fields.payloadLength += 4; }));
  CHECK(!sealsWith([](uint8_t*, Header& fields, size_t&) { fields.payloadLength = UINT32_MAX; }));
  CHECK(!sealsWith([](uint8_t*, Header& fields, size_t&) { fields.batch = 4; }));
  CHECK(!sealsWith([](uint8_t* bytes, Header&, size_t&) { bytes[64 + 8 + 3] |= 0x80; }));
}

TEST("framing: in two parts sealing comes to the same bytes, whatever is durable by then") {
  Sealed group = seal({0, 1, 40, 300, 5000});
  std::vector<uint8_t> bytes = group.bytes;
  GroupHeader fields = group.fields;
  uint32_t crc = 0;
  CHECK(sealRecords(bytes.data(), kPlace, fields.payloadLength, fields.recordCount, &crc));
  fields.payloadCrc = crc;
  CHECK(sealHeader(bytes.data(), bytes.size(), fields));
  CHECK(bytes == group.bytes);
  fields.durableLsn += 4096;
  CHECK(sealHeader(bytes.data(), bytes.size(), fields));
  CHECK_EQUAL(verify(bytes), GroupStatus::kWhole);
  CHECK(!sealRecords(bytes.data(), kPlace, fields.payloadLength, fields.recordCount + 1, &crc));
  CHECK(!sealHeader(bytes.data(), group.end - 1, fields));
}

TEST("framing: sealing bounds every record length") {
  const Sealed group = seal({40, 40});
  Guarded guarded(group.end);
  for (const uint32_t length : hostileLengths()) {
    std::memcpy(guarded.data(), group.bytes.data(), group.end);
    std::memcpy(guarded.data() + group.recordOffsets[1] + 4, &length, sizeof length);
    // 37 to 44 bytes take the same room as 40.
    const bool fits = alignUp(kRecordHeaderBytes + size_t{length}, kRecordAlignment) == 56;
    CHECK_EQUAL(sealGroup(guarded.data(), group.end, group.fields), fits);
  }
}

TEST("framing: slices of memory become records, 500 random ones, and nothing else is touched") {
  Random random(41);
  for (int round = 0; round < 500; round++) {
    Guarded source(random.below(3000));
    random.fill(source.data(), source.size());
    const size_t count = random.below(12);
    std::vector<uint32_t> bounds;
    size_t end = kGroupHeaderBytes;
    for (size_t i = 0; i < count; i++) {
      // They may overlap, be empty, and come in any order.
      const auto from = random.below(static_cast<uint32_t>(source.size()) + 1);
      const auto to = from + random.below(static_cast<uint32_t>(source.size()) - from + 1);
      bounds.push_back(from);
      bounds.push_back(to);
      end += alignUp(kRecordHeaderBytes + size_t{to - from}, kRecordAlignment);
    }
    Guarded group(end);
    random.fill(group.data(), group.size());
    std::vector<uint8_t> header(group.data(), group.data() + kGroupHeaderBytes);
    std::vector<double> lsns(count);
    CHECK_EQUAL(copySlices(group.data(), end, kGroupHeaderBytes, kPlace.lsn, source.data(),
                           source.size(), bounds.data(), count, lsns.data()),
                end);
    CHECK(std::memcmp(group.data(), header.data(), header.size()) == 0);
    // One byte less has no room for the last one.
    if (count > 0) {
      CHECK_EQUAL(copySlices(group.data(), end - 1, kGroupHeaderBytes, kPlace.lsn, source.data(),
                             source.size(), bounds.data(), count, lsns.data()),
                  size_t{0});
    }
    uint32_t crc = 0;
    const auto payload = static_cast<uint32_t>(end - kGroupHeaderBytes);
    CHECK(sealRecords(group.data(), kPlace, payload, static_cast<uint32_t>(count), &crc));
    for (size_t i = 0; i < count; i++) {
      const auto lsn = static_cast<uint64_t>(lsns[i]);
      const uint8_t* record = group.data() + (lsn - kPlace.lsn);
      RecordHeader found{};
      CHECK_EQUAL(verifyRecord(record, end - (lsn - kPlace.lsn), {kPlace.salt, lsn}, &found),
                  RecordStatus::kGood);
      CHECK_EQUAL(found.length, bounds[2 * i + 1] - bounds[2 * i]);
      CHECK_EQUAL(found.flags, 0U);
      CHECK(std::memcmp(record + kRecordHeaderBytes, source.data() + bounds[2 * i], found.length) ==
            0);
    }
  }
}

TEST("framing: slices that leave their memory, their group, or end before they begin") {
  Guarded source(100);
  Guarded group(256);
  const auto copy = [&](std::vector<uint32_t> bounds, size_t limit = 256, size_t offset = 64) {
    std::vector<double> lsns(bounds.size() / 2);
    return copySlices(group.data(), limit, offset, 4096, source.data(), source.size(),
                      bounds.data(), lsns.size(), lsns.data());
  };
  CHECK_EQUAL(copy({}), size_t{64});
  CHECK_EQUAL(copy({100, 100}), size_t{64 + 16});
  CHECK_EQUAL(copy({0, 100, 40, 100}), size_t{64 + 112 + 72});
  for (const std::vector<uint32_t>& bounds : {std::vector<uint32_t>{0, 101},
                                              {101, 101},
                                              {1, 0},
                                              {0, UINT32_MAX},
                                              {UINT32_MAX, 0},
                                              {UINT32_MAX, UINT32_MAX},
                                              {0, 10, 99, 101},
                                              {0, 100, 0, 100}}) {
    CHECK_EQUAL(copy(bounds), size_t{0});
  }
  CHECK_EQUAL(copy({0, 100}, 175), size_t{0});
  CHECK_EQUAL(copy({0, 100}, 176), size_t{176});
  CHECK_EQUAL(copy({}, 256, 257), size_t{0});
  CHECK_EQUAL(copy({0, 0}, 256, 256), size_t{0});
  CHECK_EQUAL(copy({0, 0}, 256, 257), size_t{0});
  CHECK_EQUAL(copySlices(group.data(), 256, 64, 0, nullptr, 0, nullptr, 0, nullptr), size_t{64});
}

}  // namespace
}  // namespace riolog::test

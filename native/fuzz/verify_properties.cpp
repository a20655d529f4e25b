#include "core/crc32c.h"
#include "core/framing.h"
#include "input.h"
#include "properties.h"

namespace riolog::fuzz {

namespace {

constexpr size_t kMaxGroup = (1 << 20) + 2 * kMinAlignment;
constexpr size_t kMaxInput = 1 << 16;

// What the first byte of an input chooses. Checksums that fit are what a fuzzer does not find by
// itself, and behind them is most of what there is to read.
enum Choice : uint8_t {
  kOwnPlace = 1,      // the place is the one that the header names
  kFitHeader = 2,     // the header's checksum is made to fit
  kFitRecords = 4,    // and those of the records, and the payload's
  kSmallMaximum = 8,  // groups are short in this log
};

bool same(const GroupHeader& a, const GroupHeader& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void fitRecords(const Exact& bytes, GroupHeader* header, Place place) {
  const size_t end =
      std::min(bytes.size(), kGroupHeaderBytes + static_cast<size_t>(header->payloadLength));
  header->payloadCrc = 0;
  for (size_t at = kGroupHeaderBytes; at + kRecordHeaderBytes <= end;) {
    RecordHeader record;
    std::memcpy(&record, bytes.data() + at, sizeof record);
    if (record.length > end - at - kRecordHeaderBytes) return;
    const uint64_t identity[2] = {place.salt, place.lsn + at};
    const uint32_t seeded = crc32c(0, reinterpret_cast<const uint8_t*>(identity), sizeof identity);
    record.crc = crc32c(seeded, bytes.data() + at + 4, kRecordHeaderBytes - 4 + record.length);
    std::memcpy(bytes.data() + at, &record, sizeof record);
    header->payloadCrc = crc32c(header->payloadCrc, bytes.data() + at, kRecordHeaderBytes);
    at += alignUp(kRecordHeaderBytes + static_cast<size_t>(record.length), kRecordAlignment);
  }
}

Place placeFor(const Exact& bytes, uint8_t choice, Place given) {
  if (bytes.size() < kGroupHeaderBytes) return given;
  GroupHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const Place place = (choice & kOwnPlace) != 0 ? Place{header.salt, header.lsn} : given;
  if ((choice & kFitRecords) != 0) fitRecords(bytes, &header, place);
  if ((choice & (kFitHeader | kFitRecords)) != 0) {
    std::memcpy(bytes.data(), &header, sizeof header);
    header.headerCrc = crc32c(0, bytes.data() + 4, kGroupHeaderBytes - 4);
    std::memcpy(bytes.data(), &header, sizeof header);
  }
  return place;
}

// A group that verifies is what its header says, record by record.
const char* recordsHold(const Exact& bytes, Place place, const GroupHeader& header, bool future) {
  const size_t end = kGroupHeaderBytes + static_cast<size_t>(header.payloadLength);
  size_t at = kGroupHeaderBytes;
  uint32_t count = 0;
  bool sawFuture = false;
  while (at < end) {
    RecordHeader record{};
    const Place there{place.salt, place.lsn + at};
    const RecordStatus status = verifyRecord(bytes.data() + at, end - at, there, &record);
    HOLDS(status != RecordStatus::kBad);
    HOLDS(record.length <= end - at - kRecordHeaderBytes);
    HOLDS((status == RecordStatus::kFuture) == ((record.flags & ~kKnownRecordFlags) != 0));
    RecordHeader elsewhere{};
    const Place next{place.salt, there.lsn + kRecordAlignment};
    HOLDS(verifyRecord(bytes.data() + at, end - at, next, &elsewhere) == RecordStatus::kBad);
    sawFuture |= status == RecordStatus::kFuture;
    at += alignUp(kRecordHeaderBytes + static_cast<size_t>(record.length), kRecordAlignment);
    count++;
  }
  HOLDS(at == end);
  HOLDS(count == header.recordCount);
  HOLDS(sawFuture == future);
  return nullptr;
}

// Sealing what verifies gives the same group, unless sealing refuses what it may not write.
const char* resealHolds(const Exact& bytes, size_t end, const GroupHeader& header, bool future) {
  const Exact again(bytes.data(), end);
  const bool sealed = sealGroup(again.data(), end, header);
  HOLDS(sealed == !future);
  if (!sealed) return nullptr;
  GroupHeader resealed;
  std::memcpy(&resealed, again.data(), sizeof resealed);
  HOLDS(resealed.payloadCrc == header.payloadCrc);
  constexpr uint32_t kNone[3] = {};
  const bool isCanonical = std::memcmp(header.reserved, kNone, sizeof kNone) == 0;
  HOLDS(!isCanonical || same(resealed, header));
  GroupHeader verified{};
  const Place place{header.salt, header.lsn};
  HOLDS(verifyGroup(again.data(), end, place, kMaxGroup, &verified) == GroupStatus::kWhole);
  return nullptr;
}

const char* wholeHolds(const Exact& bytes, Place place, size_t maxGroup, const GroupHeader& header,
                       bool future) {
  const size_t end = kGroupHeaderBytes + static_cast<size_t>(header.payloadLength);
  HOLDS(end <= bytes.size());
  const GroupStatus status = future ? GroupStatus::kFuture : GroupStatus::kWhole;
  // No byte behind its end has a say, and without its last one it is torn.
  const Exact exact(bytes.data(), end);
  GroupHeader found{};
  HOLDS(verifyGroup(exact.data(), end, place, maxGroup, &found) == status);
  HOLDS(same(found, header));
  if (header.payloadLength > 0) {
    HOLDS(verifyGroup(exact.data(), end - 1, place, maxGroup, &found) == GroupStatus::kTorn);
    HOLDS(verifyGroup(exact.data(), end, place, end - 1, &found) == GroupStatus::kBadHeader);
  }
  if (const char* wrong = recordsHold(exact, place, header, future)) return wrong;
  return resealHolds(exact, end, header, future);
}

}  // namespace

const char* verifyProperties(const uint8_t* input, size_t size) {
  Input from(input, std::min(size, kMaxInput));
  const uint8_t choice = from.take<uint8_t>();
  const Place given{from.take<uint64_t>(), from.take<uint64_t>()};
  const size_t maxGroup = (choice & kSmallMaximum) != 0 ? from.take<uint16_t>() : kMaxGroup;
  const Exact bytes(from.left());
  from.takeInto(bytes.data(), bytes.size());
  const Place place = placeFor(bytes, choice, given);
  const Exact before(bytes.data(), bytes.size());

  GroupHeader header{};
  const GroupStatus status = verifyGroup(bytes.data(), bytes.size(), place, maxGroup, &header);
  HOLDS(std::memcmp(before.data(), bytes.data(), bytes.size()) == 0);
  GroupHeader again{};
  HOLDS(verifyGroup(bytes.data(), bytes.size(), place, maxGroup, &again) == status);
  HOLDS(same(header, again));
  GroupHeader alone{};
  const bool hasHeader =
      bytes.size() >= kGroupHeaderBytes && readGroupHeader(bytes.data(), place, maxGroup, &alone);
  HOLDS(hasHeader == (status != GroupStatus::kBadHeader));
  HOLDS(same(alone, header));
  if (!hasHeader) return nullptr;
  HOLDS(header.salt == place.salt && header.lsn == place.lsn);
  HOLDS(kGroupHeaderBytes + static_cast<size_t>(header.payloadLength) <= maxGroup);
  HOLDS(header.batch <= kBatchLast);
  if (status == GroupStatus::kTorn) return nullptr;
  return wholeHolds(bytes, place, maxGroup, header, status == GroupStatus::kFuture);
}

}  // namespace riolog::fuzz

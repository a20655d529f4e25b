#include "framing.h"

#include <cstddef>
#include <cstring>

#include "crc32c.h"

namespace riolog {

namespace {

// Where the checked part of each header starts: behind its own checksum.
constexpr size_t kGroupCheckedFrom = offsetof(GroupHeader, payloadCrc);
constexpr size_t kRecordCheckedFrom = offsetof(RecordHeader, length);
static_assert(kGroupCheckedFrom == 4 && kRecordCheckedFrom == 4);

uint32_t groupHeaderCrc(const GroupHeader& header) noexcept {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  return crc32c(0, bytes + kGroupCheckedFrom, kGroupHeaderBytes - kGroupCheckedFrom);
}

// Salt and LSN go in first: a record copied to another place, or left over in a recycled file,
// never verifies there.
uint32_t saltCrc(uint64_t salt) noexcept {
  uint8_t bytes[8];
  std::memcpy(bytes, &salt, sizeof bytes);
  return crc32c(0, bytes, sizeof bytes);
}

uint32_t recordCrc(const uint8_t* record, uint32_t payloadLength, Place place) noexcept {
  uint8_t lsn[8];
  std::memcpy(lsn, &place.lsn, sizeof lsn);
  const uint32_t seeded = crc32c(saltCrc(place.salt), lsn, sizeof lsn);
  return crc32c(seeded, record + kRecordCheckedFrom,
                kRecordHeaderBytes - kRecordCheckedFrom + size_t{payloadLength});
}

RecordHeader loadRecordHeader(const uint8_t* bytes) noexcept {
  RecordHeader header;
  std::memcpy(&header, bytes, sizeof header);
  return header;
}

// Up to four records of a group that stand one behind the other: their checksums are made together,
// which takes half as long where they are short.
class FewRecords {
 public:
  static constexpr size_t kMost = 4;

  explicit FewRecords(Place group) noexcept : group_(group), salted_(saltCrc(group.salt)) {}

  void clear() noexcept {
    count_ = 0;
    for (Crc32cPiece& record : records_) record = {};
  }
  bool isFull() const noexcept { return count_ == kMost; }
  size_t count() const noexcept { return count_; }

  // The record at `*offset` of the group that stands at `bytes`, behind which `*offset` is then.
  // False when it ends beyond `end`.
  bool take(const uint8_t* bytes, size_t end, size_t* offset, RecordHeader* header) noexcept {
    if (end - *offset < kRecordHeaderBytes) return false;
    *header = loadRecordHeader(bytes + *offset);
    if (header->length > end - *offset - kRecordHeaderBytes) return false;
    const uint64_t lsn = group_.lsn + *offset;
    std::memcpy(lsns_[count_], &lsn, sizeof lsn);
    records_[count_] = {0, bytes + *offset + kRecordCheckedFrom,
                        kRecordHeaderBytes - kRecordCheckedFrom + size_t{header->length}};
    offsets_[count_++] = *offset;
    *offset += alignUp(kRecordHeaderBytes + size_t{header->length}, kRecordAlignment);
    return true;
  }

  // Where there are fewer than four, the others have no bytes.
  void sum() noexcept {
    Crc32cPiece lsns[kMost];
    for (size_t i = 0; i < kMost; i++) lsns[i] = {salted_, lsns_[i], sizeof lsns_[i]};
    crc32cOfFour(lsns);
    for (size_t i = 0; i < kMost; i++) records_[i].crc = lsns[i].crc;
    crc32cOfFour(records_);
  }

  // After sum().
  uint32_t crcOf(size_t i) const noexcept { return records_[i].crc; }
  size_t offsetOf(size_t i) const noexcept { return offsets_[i]; }

  // Extends a group's checksum, which is that of its records' headers, one behind the other.
  uint32_t extend(uint32_t payloadCrc, const uint8_t* bytes) const noexcept {
    uint8_t headers[kMost * kRecordHeaderBytes];
    for (size_t i = 0; i < count_; i++) {
      std::memcpy(headers + i * kRecordHeaderBytes, bytes + offsets_[i], kRecordHeaderBytes);
    }
    return crc32c(payloadCrc, headers, count_ * kRecordHeaderBytes);
  }

 private:
  Place group_;
  uint32_t salted_;
  size_t count_ = 0;
  size_t offsets_[kMost] = {};
  uint8_t lsns_[kMost][8] = {};
  Crc32cPiece records_[kMost] = {};
};

}  // namespace

bool readGroupHeader(const uint8_t* bytes, Place place, size_t maxGroupBytes,
                     GroupHeader* header) noexcept {
  if (maxGroupBytes < kGroupHeaderBytes) return false;
  GroupHeader found;
  std::memcpy(&found, bytes, sizeof found);
  // The cheap comparisons come first: recovery asks this of every aligned block.
  if (found.salt != place.salt || found.lsn != place.lsn) return false;
  if (groupHeaderCrc(found) != found.headerCrc) return false;
  if (found.payloadLength > maxGroupBytes - kGroupHeaderBytes) return false;
  if (found.batch > kBatchLast) return false;
  *header = found;
  return true;
}

RecordStatus verifyRecord(const uint8_t* bytes, size_t available, Place place,
                          RecordHeader* header) noexcept {
  if (available < kRecordHeaderBytes) return RecordStatus::kBad;
  const RecordHeader found = loadRecordHeader(bytes);
  if (found.length > available - kRecordHeaderBytes) return RecordStatus::kBad;
  if (recordCrc(bytes, found.length, place) != found.crc) return RecordStatus::kBad;
  *header = found;
  // Behind the checksum: bytes that do not verify say nothing of the future.
  return (found.flags & ~kKnownRecordFlags) != 0 ? RecordStatus::kFuture : RecordStatus::kGood;
}

GroupStatus verifyGroup(const uint8_t* bytes, size_t available, Place place, size_t maxGroupBytes,
                        GroupHeader* header) noexcept {
  if (available < kGroupHeaderBytes) return GroupStatus::kBadHeader;
  if (!readGroupHeader(bytes, place, maxGroupBytes, header)) return GroupStatus::kBadHeader;
  const size_t end = kGroupHeaderBytes + size_t{header->payloadLength};
  if (end > available) return GroupStatus::kTorn;

  uint32_t payloadCrc = 0;
  uint32_t recordCount = 0;
  bool future = false;
  size_t offset = kGroupHeaderBytes;
  FewRecords few(place);
  while (offset < end) {
    for (few.clear(); offset < end && !few.isFull(); recordCount++) {
      RecordHeader record;
      if (!few.take(bytes, end, &offset, &record)) return GroupStatus::kTorn;
      future |= (record.flags & ~kKnownRecordFlags) != 0;
    }
    few.sum();
    for (size_t i = 0; i < few.count(); i++) {
      if (few.crcOf(i) != loadRecordHeader(bytes + few.offsetOf(i)).crc) return GroupStatus::kTorn;
    }
    payloadCrc = few.extend(payloadCrc, bytes);
  }
  const bool whole =
      offset == end && recordCount == header->recordCount && payloadCrc == header->payloadCrc;
  if (!whole) return GroupStatus::kTorn;
  return future ? GroupStatus::kFuture : GroupStatus::kWhole;
}

size_t copySlices(uint8_t* group, size_t limit, size_t offset, uint64_t groupLsn,
                  const uint8_t* source, size_t sourceLength, const uint32_t* bounds, size_t count,
                  double* lsns) noexcept {
  if (offset > limit) return 0;
  for (size_t i = 0; i < count; i++) {
    const uint32_t from = __atomic_load_n(bounds + 2 * i, __ATOMIC_RELAXED);
    const uint32_t to = __atomic_load_n(bounds + 2 * i + 1, __ATOMIC_RELAXED);
    if (from > to || to > sourceLength) return 0;
    const RecordHeader header{0, to - from, 0};
    const size_t span = alignUp(kRecordHeaderBytes + size_t{header.length}, kRecordAlignment);
    if (span > limit - offset) return 0;
    std::memcpy(group + offset, &header, sizeof header);
    // An empty array may have no memory at all.
    if (from < to) std::memcpy(group + offset + kRecordHeaderBytes, source + from, to - from);
    lsns[i] = static_cast<double>(groupLsn + offset);
    offset += span;
  }
  return offset;
}

bool sealRecords(uint8_t* bytes, Place place, uint32_t payloadLength, uint32_t expectedRecords,
                 uint32_t* payloadCrc) noexcept {
  const size_t end = kGroupHeaderBytes + size_t{payloadLength};
  uint32_t crc = 0;
  uint32_t recordCount = 0;
  size_t offset = kGroupHeaderBytes;
  FewRecords few(place);
  while (offset < end) {
    for (few.clear(); offset < end && !few.isFull(); recordCount++) {
      RecordHeader record;
      const size_t from = offset;
      if (!few.take(bytes, end, &offset, &record) || offset > end) return false;
      if ((record.flags & ~kKnownRecordFlags) != 0) return false;
      const size_t used = from + kRecordHeaderBytes + record.length;
      std::memset(bytes + used, 0, offset - used);
    }
    few.sum();
    for (size_t i = 0; i < few.count(); i++) {
      const uint32_t sum = few.crcOf(i);
      std::memcpy(bytes + few.offsetOf(i), &sum, sizeof sum);
    }
    crc = few.extend(crc, bytes);
  }
  *payloadCrc = crc;
  return recordCount == expectedRecords;
}

bool sealHeader(uint8_t* bytes, size_t paddedLength, const GroupHeader& fields) noexcept {
  const size_t end = kGroupHeaderBytes + size_t{fields.payloadLength};
  if (end > paddedLength || fields.batch > kBatchLast) return false;
  std::memset(bytes + end, 0, paddedLength - end);

  GroupHeader header = fields;
  std::memset(header.reserved, 0, sizeof header.reserved);
  header.headerCrc = groupHeaderCrc(header);
  std::memcpy(bytes, &header, sizeof header);
  return true;
}

bool sealGroup(uint8_t* bytes, size_t paddedLength, const GroupHeader& fields) noexcept {
  if (kGroupHeaderBytes + size_t{fields.payloadLength} > paddedLength) return false;
  GroupHeader header = fields;
  const Place place{fields.salt, fields.lsn};
  return sealRecords(bytes, place, fields.payloadLength, fields.recordCount, &header.payloadCrc) &&
         sealHeader(bytes, paddedLength, header);
}

}  // namespace riolog

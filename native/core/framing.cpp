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
uint32_t recordCrc(const uint8_t* record, uint32_t payloadLength, Place place) noexcept {
  uint8_t identity[16];
  std::memcpy(identity, &place.salt, 8);
  std::memcpy(identity + 8, &place.lsn, 8);
  const uint32_t seeded = crc32c(0, identity, sizeof identity);
  return crc32c(seeded, record + kRecordCheckedFrom,
                kRecordHeaderBytes - kRecordCheckedFrom + size_t{payloadLength});
}

RecordHeader loadRecordHeader(const uint8_t* bytes) noexcept {
  RecordHeader header;
  std::memcpy(&header, bytes, sizeof header);
  return header;
}

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
  while (offset < end) {
    RecordHeader record;
    const Place recordPlace{place.salt, place.lsn + offset};
    const RecordStatus status = verifyRecord(bytes + offset, end - offset, recordPlace, &record);
    if (status == RecordStatus::kBad) return GroupStatus::kTorn;
    future |= status == RecordStatus::kFuture;
    payloadCrc = crc32c(payloadCrc, bytes + offset, kRecordHeaderBytes);
    offset += alignUp(kRecordHeaderBytes + size_t{record.length}, kRecordAlignment);
    recordCount++;
  }
  const bool whole =
      offset == end && recordCount == header->recordCount && payloadCrc == header->payloadCrc;
  if (!whole) return GroupStatus::kTorn;
  return future ? GroupStatus::kFuture : GroupStatus::kWhole;
}

bool sealRecords(uint8_t* bytes, Place place, uint32_t payloadLength, uint32_t expectedRecords,
                 uint32_t* payloadCrc) noexcept {
  const size_t end = kGroupHeaderBytes + size_t{payloadLength};
  uint32_t crc = 0;
  uint32_t recordCount = 0;
  size_t offset = kGroupHeaderBytes;
  while (offset < end) {
    if (end - offset < kRecordHeaderBytes) return false;
    RecordHeader record = loadRecordHeader(bytes + offset);
    if (record.length > end - offset - kRecordHeaderBytes) return false;
    if ((record.flags & ~kKnownRecordFlags) != 0) return false;
    record.crc = recordCrc(bytes + offset, record.length, {place.salt, place.lsn + offset});
    std::memcpy(bytes + offset, &record.crc, sizeof record.crc);
    crc = crc32c(crc, bytes + offset, kRecordHeaderBytes);

    const size_t used = offset + kRecordHeaderBytes + record.length;
    offset += alignUp(kRecordHeaderBytes + size_t{record.length}, kRecordAlignment);
    if (offset > end) return false;
    std::memset(bytes + used, 0, offset - used);
    recordCount++;
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

#include <cstring>
#include <vector>

#include "core/crc32c.h"
#include "core/framing.h"
#include "input.h"
#include "properties.h"

namespace riolog::fuzz {

namespace {

constexpr size_t kMaxGroup = (1 << 20) + 2 * kMinAlignment;
constexpr size_t kMaxRecords = 12;
constexpr uint32_t kMaxPayload = 300;

struct Written {
  GroupHeader fields{};
  std::vector<size_t> recordsAt;
  std::vector<size_t> paddingFrom;  // of each record, up to the next one
  std::vector<bool> isPadding;      // of each byte
  size_t end = kGroupHeaderBytes;
};

GroupHeader takeFields(Input* from) {
  GroupHeader fields{};
  fields.salt = from->take<uint64_t>();
  fields.lsn = from->take<uint64_t>();
  fields.previousEnd = from->take<uint64_t>();
  fields.durableLsn = from->take<uint64_t>();
  fields.batch = from->take<uint8_t>() % (kBatchLast + 1);
  return fields;
}

// Records with flags that are known, as a writer lays them out; their bytes are the input's.
Written layOut(Input* from, std::vector<uint8_t>* bytes) {
  Written written;
  written.fields = takeFields(from);
  const size_t count = from->take<uint8_t>() % (kMaxRecords + 1);
  bytes->assign(kGroupHeaderBytes, 0xAA);
  for (size_t i = 0; i < count; i++) {
    const uint32_t length = from->take<uint16_t>() % (kMaxPayload + 1);
    const RecordHeader record{0, length, from->take<uint8_t>() & kKnownRecordFlags};
    written.recordsAt.push_back(written.end);
    const size_t payloadAt = written.end + kRecordHeaderBytes;
    written.paddingFrom.push_back(payloadAt + length);
    written.end += alignUp(kRecordHeaderBytes + size_t{length}, kRecordAlignment);
    // What lies in the padding before is not zero: sealing clears it.
    bytes->resize(written.end, 0xAA);
    std::memcpy(bytes->data() + payloadAt - kRecordHeaderBytes, &record, sizeof record);
    from->takeInto(bytes->data() + payloadAt, length);
  }
  written.fields.payloadLength = static_cast<uint32_t>(written.end - kGroupHeaderBytes);
  written.fields.recordCount = static_cast<uint32_t>(count);
  bytes->resize(alignUp(written.end, kMinAlignment), 0xAA);
  written.isPadding.resize(bytes->size(), true);
  std::fill_n(written.isPadding.begin(), kGroupHeaderBytes, false);
  for (size_t i = 0; i < count; i++) {
    const size_t at = written.recordsAt[i];
    std::fill_n(written.isPadding.begin() + static_cast<ptrdiff_t>(at), written.paddingFrom[i] - at,
                false);
  }
  return written;
}

GroupStatus verify(const std::vector<uint8_t>& bytes, Place place) {
  const Exact exact(bytes.data(), bytes.size());
  GroupHeader header{};
  return verifyGroup(exact.data(), exact.size(), place, kMaxGroup, &header);
}

const char* recordsHold(const std::vector<uint8_t>& bytes, const Written& written) {
  for (size_t i = 0; i < written.recordsAt.size(); i++) {
    const size_t at = written.recordsAt[i];
    RecordHeader record{};
    const Place place{written.fields.salt, written.fields.lsn + at};
    HOLDS(verifyRecord(bytes.data() + at, written.end - at, place, &record) == RecordStatus::kGood);
    HOLDS(at + kRecordHeaderBytes + record.length == written.paddingFrom[i]);
  }
  for (size_t at = kGroupHeaderBytes; at < bytes.size(); at++) {
    HOLDS(!written.isPadding[at] || bytes[at] == 0);
  }
  return nullptr;
}

// What was sealed does not verify with one bit changed, at another place, or without its last byte.
const char* damageShows(std::vector<uint8_t> bytes, const Written& written, Input* from) {
  const Place place{written.fields.salt, written.fields.lsn};
  const size_t bit = from->take<uint32_t>() % (written.end * 8);
  bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  const bool verifies = verify(bytes, place) == GroupStatus::kWhole;
  HOLDS(verifies == written.isPadding[bit / 8]);
  bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  HOLDS(verify(bytes, place) == GroupStatus::kWhole);
  const uint64_t change = from->take<uint64_t>() | 1;
  HOLDS(verify(bytes, {place.salt ^ change, place.lsn}) == GroupStatus::kBadHeader);
  HOLDS(verify(bytes, {place.salt, place.lsn ^ change}) == GroupStatus::kBadHeader);
  bytes.resize(written.end - 1);
  HOLDS(verify(bytes, place) != GroupStatus::kWhole);
  return nullptr;
}

// Whatever a writer has got wrong, sealing refuses it, or what it sealed verifies.
const char* anythingHolds(Input* from) {
  GroupHeader fields = takeFields(from);
  fields.payloadLength = from->take<uint32_t>() % (2 * kMaxPayload);
  fields.recordCount = from->take<uint8_t>();
  std::vector<uint8_t> bytes(from->take<uint16_t>() % (3 * kMaxPayload) + kGroupHeaderBytes);
  from->takeInto(bytes.data() + kGroupHeaderBytes, bytes.size() - kGroupHeaderBytes);
  const Exact exact(bytes.data(), bytes.size());
  if (!sealGroup(exact.data(), exact.size(), fields)) return nullptr;
  GroupHeader header{};
  const Place place{fields.salt, fields.lsn};
  HOLDS(verifyGroup(exact.data(), exact.size(), place, kMaxGroup, &header) == GroupStatus::kWhole);
  HOLDS(header.recordCount == fields.recordCount);
  HOLDS(header.payloadLength == fields.payloadLength);
  return nullptr;
}

}  // namespace

const char* sealProperties(const uint8_t* input, size_t size) {
  Input from(input, size);
  if (from.take<uint8_t>() % 4 == 0) return anythingHolds(&from);
  std::vector<uint8_t> bytes;
  const Written written = layOut(&from, &bytes);
  const Exact sealed(bytes.data(), bytes.size());
  HOLDS(sealGroup(sealed.data(), sealed.size(), written.fields));
  const Exact inParts(bytes.data(), bytes.size());
  GroupHeader fields = written.fields;
  HOLDS(sealRecords(inParts.data(), {fields.salt, fields.lsn}, fields.payloadLength,
                    fields.recordCount, &fields.payloadCrc));
  HOLDS(sealHeader(inParts.data(), inParts.size(), fields));
  HOLDS(std::memcmp(inParts.data(), sealed.data(), sealed.size()) == 0);
  bytes.assign(sealed.data(), sealed.data() + sealed.size());
  HOLDS(verify(bytes, {written.fields.salt, written.fields.lsn}) == GroupStatus::kWhole);
  if (const char* wrong = recordsHold(bytes, written)) return wrong;
  return damageShows(bytes, written, &from);
}

const char* checksumProperties(const uint8_t* input, size_t size) {
  Input from(input, size);
  const uint32_t before = from.take<uint32_t>();
  const uint16_t cut = from.take<uint16_t>();
  const Exact bytes(from.left());
  from.takeInto(bytes.data(), bytes.size());
  const size_t at = bytes.size() == 0 ? 0 : cut % bytes.size();
  const uint32_t whole = crc32c(before, bytes.data(), bytes.size());
  for (const auto& version : crc32cVersions())
    HOLDS(whole == version.run(before, bytes.data(), bytes.size()));
  const uint32_t first = crc32c(before, bytes.data(), at);
  HOLDS(whole == crc32c(first, bytes.data() + at, bytes.size() - at));
  if (bytes.size() == 0) return nullptr;
  bytes.data()[at] ^= static_cast<uint8_t>(1U << (cut % 8));
  HOLDS(crc32c(before, bytes.data(), bytes.size()) != whole);
  return nullptr;
}

}  // namespace riolog::fuzz

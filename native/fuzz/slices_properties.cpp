#include <cstring>
#include <vector>

#include "core/framing.h"
#include "input.h"
#include "properties.h"

namespace riolog::fuzz {

namespace {

constexpr size_t kMaxSlices = 12;
constexpr size_t kMaxSource = 512;
constexpr size_t kMaxGroup = 2048;
constexpr uint8_t kUntouched = 0xAA;

// Each record stands where it was said to, as it was in the source, and nothing else was touched.
const char* recordsHold(const Exact& group, size_t offset, size_t end, uint64_t lsn,
                        const Exact& source, const std::vector<uint32_t>& bounds,
                        const std::vector<double>& lsns) {
  size_t at = offset;
  for (size_t i = 0; i < lsns.size(); i++) {
    HOLDS(lsns[i] == static_cast<double>(lsn + at));
    RecordHeader record{};
    std::memcpy(&record, group.data() + at, sizeof record);
    HOLDS(record.length == bounds[2 * i + 1] - bounds[2 * i]);
    HOLDS(record.flags == 0);
    const uint8_t* payload = group.data() + at + kRecordHeaderBytes;
    HOLDS(record.length == 0 ||
          std::memcmp(payload, source.data() + bounds[2 * i], record.length) == 0);
    at += alignUp(kRecordHeaderBytes + size_t{record.length}, kRecordAlignment);
  }
  HOLDS(at == end);
  for (size_t i = 0; i < group.size(); i++)
    HOLDS((i >= offset && i < end) || group.data()[i] == kUntouched);
  return nullptr;
}

// Whether they may be copied at all, said in another way.
bool mayBeCopied(size_t room, const Exact& source, const std::vector<uint32_t>& bounds) {
  size_t bytes = 0;
  for (size_t i = 0; i < bounds.size(); i += 2) {
    if (bounds[i] > bounds[i + 1] || bounds[i + 1] > source.size()) return false;
    bytes += (kRecordHeaderBytes + size_t{bounds[i + 1]} - bounds[i] + 7) / 8 * 8;
  }
  return bytes <= room;
}

}  // namespace

const char* slicesProperties(const uint8_t* input, size_t size) {
  Input from(input, size);
  const size_t limit = from.take<uint16_t>() % kMaxGroup;
  const size_t offset = from.take<uint16_t>() % (kMaxGroup / kRecordAlignment) * kRecordAlignment;
  const uint64_t lsn = from.take<uint32_t>() * uint64_t{kMinAlignment};
  const Exact source(from.take<uint16_t>() % kMaxSource);
  const size_t count = from.take<uint8_t>() % kMaxSlices;
  std::vector<uint32_t> bounds(2 * count);
  // Now and then far from what is there.
  for (uint32_t& bound : bounds) {
    const bool isWild = from.take<uint8_t>() == 0;
    bound = isWild ? from.take<uint32_t>() : from.take<uint16_t>() % (kMaxSource + 2);
  }
  from.takeInto(source.data(), source.size());
  const Exact group(limit);
  if (limit > 0) std::memset(group.data(), kUntouched, limit);
  std::vector<double> lsns(count);
  const size_t end = copySlices(group.data(), limit, offset, lsn, source.data(), source.size(),
                                bounds.data(), count, lsns.data());
  HOLDS((end != 0 || (offset == 0 && count == 0)) ==
        (offset <= limit && mayBeCopied(limit - offset, source, bounds)));
  // What was refused half way may have written behind the offset, and nowhere else.
  if (end == 0) {
    for (size_t i = 0; i < std::min(offset, limit); i++) HOLDS(group.data()[i] == kUntouched);
    return nullptr;
  }
  return recordsHold(group, offset, end, lsn, source, bounds, lsns);
}

}  // namespace riolog::fuzz

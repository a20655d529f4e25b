// Groups and records: how bytes are framed, sealed and verified. docs/FORMAT.md is the
// specification. Nothing here does I/O or allocates; every length that comes from a disk is bounded
// before use.
#pragma once

#include <cstddef>
#include <cstdint>

namespace riolog {

// A group: this header, its records, zero padding up to the alignment A. Little-endian.
struct GroupHeader {
  uint32_t headerCrc;      // CRC32C of the 60 bytes that follow
  uint32_t payloadCrc;     // CRC32C of all record headers of the group, one after the other
  uint64_t salt;           // of the segment: old bytes of a recycled file carry another
  uint64_t lsn;            // this group's own place
  uint64_t previousEnd;    // the end of the log before this group
  uint64_t durableLsn;     // D: what was durable when this group was sealed
  uint32_t payloadLength;  // bytes of records, headers and record padding included
  uint32_t recordCount;
  uint32_t batch;        // BatchPart
  uint32_t reserved[3];  // zero
};

// A record: this header, the payload, zero padding to a multiple of 8.
struct RecordHeader {
  uint32_t crc;     // CRC32C over salt, LSN, length, flags and payload
  uint32_t length;  // bytes of payload
  uint32_t flags;   // RecordFlag
};

// Where a group stands in a batch that is longer than one group.
enum BatchPart : uint32_t { kBatchNone = 0, kBatchFirst = 1, kBatchMiddle = 2, kBatchLast = 3 };

// A record that is longer than a group is cut into fragments, each framed like a record.
enum RecordFlag : uint32_t {
  kRecordGoesOn = 1,        // in the record after it
  kRecordContinuation = 2,  // of the record before it: no record begins here
  kRecordCompressed = 4,
  kRecordEncrypted = 8,
};
constexpr uint32_t kKnownRecordFlags =
    kRecordGoesOn | kRecordContinuation | kRecordCompressed | kRecordEncrypted;

constexpr uint32_t kGroupHeaderBytes = 64;
constexpr uint32_t kRecordHeaderBytes = 12;
constexpr uint32_t kRecordAlignment = 8;
constexpr uint32_t kSectorBytes = 512;
constexpr uint32_t kMinAlignment = 4096;
constexpr uint32_t kMaxAlignment = 64 * 1024;

static_assert(sizeof(GroupHeader) == kGroupHeaderBytes);
static_assert(kGroupHeaderBytes <= kSectorBytes, "a device writes a sector whole or not at all");
static_assert(sizeof(RecordHeader) == kRecordHeaderBytes);
static_assert(kGroupHeaderBytes % kRecordAlignment == 0, "the first record starts aligned");
static_assert(kMinAlignment % kSectorBytes == 0 && kMaxAlignment % kMinAlignment == 0);

constexpr size_t alignUp(size_t value, size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// What the caller knows of a place, against which the bytes there are held.
struct Place {
  uint64_t salt;
  uint64_t lsn;
};

enum class GroupStatus : int32_t {
  kWhole = 0,      // header, payload checksum and every record verify
  kTorn = 1,       // the header verifies, what follows does not
  kBadHeader = 2,  // no group starts here
  kFuture = 3,     // all of it verifies, but a record has a flag that is not known here
};

// True when the 64 bytes at `bytes` are a header that belongs to `place`, with a payload of at most
// `maxGroupBytes` less the header. Only then may a field of it be believed.
bool readGroupHeader(const uint8_t* bytes, Place place, size_t maxGroupBytes,
                     GroupHeader* header) noexcept;

// Verifies the group at `bytes`, of which `available` bytes may be read. A group that would be
// longer than `available` counts as torn. `header` is filled unless the status is kBadHeader.
GroupStatus verifyGroup(const uint8_t* bytes, size_t available, Place place, size_t maxGroupBytes,
                        GroupHeader* header) noexcept;

enum class RecordStatus : int32_t {
  kGood = 0,
  kBad = -1,
  kFuture = -2,  // it verifies, but has a flag that is not known here
};

// Verifies the record at `bytes`, of which `available` bytes may be read. `header` is filled unless
// the status is kBad.
RecordStatus verifyRecord(const uint8_t* bytes, size_t available, Place place,
                          RecordHeader* header) noexcept;

// Copies records into a group, one behind the other from its byte `offset` on: slices of `source`,
// whose `bounds` say where each one begins and ends, by turns. Sets their lengths and clears their
// flags; what else they need is done by sealing. `lsns` is told where each stands, in doubles, as
// JavaScript has them. Gives the offset behind the last one. 0 when a slice leaves the source, or
// they leave the `limit` bytes of the group: then those from `offset` on may have been written to.
// The bounds may change meanwhile, at another thread's hand: each is looked at once.
size_t copySlices(uint8_t* group, size_t limit, size_t offset, uint64_t groupLsn,
                  const uint8_t* source, size_t sourceLength, const uint32_t* bounds, size_t count,
                  double* lsns) noexcept;

// Completes a group in place: `bytes` holds room for the header, then records whose length and
// flags are set and whose payloads are copied. Writes the records' checksums, zeroes all padding up
// to `paddedLength` and writes the header. False when the records do not fill `payloadLength`
// exactly, their number is another, or a flag is one that verifying refuses: a fault of the caller,
// upon which nothing may be written to a disk.
bool sealGroup(uint8_t* bytes, size_t paddedLength, const GroupHeader& fields) noexcept;

// The same in two parts, for a group that has to wait for the disk: what costs time is done before
// its turn comes. First the records, which gives the header its `payloadCrc`; then, when it is
// known what is durable, the header and the padding behind the records.
bool sealRecords(uint8_t* bytes, Place place, uint32_t payloadLength, uint32_t expectedRecords,
                 uint32_t* payloadCrc) noexcept;
bool sealHeader(uint8_t* bytes, size_t paddedLength, const GroupHeader& fields) noexcept;

}  // namespace riolog

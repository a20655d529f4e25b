#include <cstring>

#include "addon.h"
#include "core/crc32c.h"
#include "core/framing.h"

namespace riolog::binding {

namespace {

// The bytes of a Uint8Array from an offset on; `available` is 0 when the offset lies outside.
struct Bytes {
  uint8_t* data;
  size_t available;
};

Bytes bytesFrom(const Napi::Value& array, const Napi::Value& offsetValue) {
  auto bytes = array.As<Napi::Uint8Array>();
  const auto offset = static_cast<size_t>(offsetValue.As<Napi::Number>().Int64Value());
  if (offset >= bytes.ByteLength()) return {nullptr, 0};
  return {bytes.Data() + offset, bytes.ByteLength() - offset};
}

// Group fields as JavaScript reads them: doubles, since an LSN is a safe integer and passes 2^32.
constexpr size_t kGroupFields = 6;

void writeFields(const Napi::Value& out, const GroupHeader& header) {
  auto fields = out.As<Napi::Float64Array>();
  if (fields.ElementLength() < kGroupFields) return;
  fields[0] = static_cast<double>(header.lsn);
  fields[1] = static_cast<double>(header.previousEnd);
  fields[2] = static_cast<double>(header.durableLsn);
  fields[3] = header.payloadLength;
  fields[4] = header.recordCount;
  fields[5] = header.batch;
}

// (bytes, offset, saltLow, saltHigh, lsn, maxGroupBytes, outFields) -> GroupStatus
Napi::Value verifyGroupAt(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytesFrom(info[0], info[1]);
  GroupHeader header;
  const GroupStatus status =
      verifyGroup(bytes.data, bytes.available, {toUint64(info[2], info[3]), toLsn(info[4])},
                  info[5].As<Napi::Number>().Uint32Value(), &header);
  if (status != GroupStatus::kBadHeader) writeFields(info[6], header);
  return Napi::Number::New(info.Env(), static_cast<int32_t>(status));
}

// (bytes, offset, saltLow, saltHigh, lsn, maxGroupBytes, outFields) -> boolean
Napi::Value readGroupHeaderAt(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytesFrom(info[0], info[1]);
  GroupHeader header;
  const bool good = bytes.available >= kGroupHeaderBytes &&
                    readGroupHeader(bytes.data, {toUint64(info[2], info[3]), toLsn(info[4])},
                                    info[5].As<Napi::Number>().Uint32Value(), &header);
  if (good) writeFields(info[6], header);
  return Napi::Boolean::New(info.Env(), good);
}

// (bytes, offset, saltLow, saltHigh, lsn) -> payload length, or a RecordStatus below 0
Napi::Value verifyRecordAt(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytesFrom(info[0], info[1]);
  RecordHeader header;
  const RecordStatus status = verifyRecord(bytes.data, bytes.available,
                                           {toUint64(info[2], info[3]), toLsn(info[4])}, &header);
  if (status != RecordStatus::kGood) {
    return Napi::Number::New(info.Env(), static_cast<int32_t>(status));
  }
  return Napi::Number::New(info.Env(), header.length);
}

// (bytes, limit, offset, lsn, source, bounds, count, outLsns) -> offset behind the last record; 0
// when they do not fit
Napi::Value copySlicesInto(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Uint8Array>();
  const size_t limit = info[1].As<Napi::Number>().Uint32Value();
  const size_t offset = info[2].As<Napi::Number>().Uint32Value();
  auto source = info[4].As<Napi::Uint8Array>();
  auto bounds = info[5].As<Napi::Uint32Array>();
  const size_t count = info[6].As<Napi::Number>().Uint32Value();
  auto lsns = info[7].As<Napi::Float64Array>();
  const bool leaves = limit > bytes.ByteLength() || count > lsns.ElementLength() ||
                      count > bounds.ElementLength() / 2;
  const size_t end = leaves ? 0
                            : copySlices(bytes.Data(), limit, offset, toLsn(info[3]), source.Data(),
                                         source.ByteLength(), bounds.Data(), count, lsns.Data());
  return Napi::Number::New(info.Env(), static_cast<double>(end));
}

// (bytes, paddedLength, saltLow, saltHigh, lsn, previousEnd, durableLsn, payloadLength,
// recordCount, batch, payloadCrc) -> boolean. Without a `payloadCrc` the records are sealed, too.
Napi::Value sealGroupIn(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Uint8Array>();
  const size_t paddedLength = info[1].As<Napi::Number>().Uint32Value();
  GroupHeader fields{};
  fields.salt = toUint64(info[2], info[3]);
  fields.lsn = toLsn(info[4]);
  fields.previousEnd = toLsn(info[5]);
  fields.durableLsn = toLsn(info[6]);
  fields.payloadLength = info[7].As<Napi::Number>().Uint32Value();
  fields.recordCount = info[8].As<Napi::Number>().Uint32Value();
  fields.batch = info[9].As<Napi::Number>().Uint32Value();
  if (paddedLength > bytes.ByteLength()) return Napi::Boolean::New(info.Env(), false);
  if (!info[10].IsNumber()) {
    return Napi::Boolean::New(info.Env(), sealGroup(bytes.Data(), paddedLength, fields));
  }
  fields.payloadCrc = info[10].As<Napi::Number>().Uint32Value();
  return Napi::Boolean::New(info.Env(), sealHeader(bytes.Data(), paddedLength, fields));
}

// (bytes, saltLow, saltHigh, lsn, payloadLength, recordCount) -> payloadCrc, or -1
Napi::Value sealRecordsIn(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Uint8Array>();
  const Place place{toUint64(info[1], info[2]), toLsn(info[3])};
  const uint32_t payloadLength = info[4].As<Napi::Number>().Uint32Value();
  const uint32_t recordCount = info[5].As<Napi::Number>().Uint32Value();
  uint32_t payloadCrc = 0;
  const bool sealed = kGroupHeaderBytes + size_t{payloadLength} <= bytes.ByteLength() &&
                      sealRecords(bytes.Data(), place, payloadLength, recordCount, &payloadCrc);
  return Napi::Number::New(info.Env(), sealed ? static_cast<double>(payloadCrc) : -1);
}

// (crc, bytes, from, to) -> CRC32C
Napi::Value checksum(const Napi::CallbackInfo& info) {
  auto bytes = info[1].As<Napi::Uint8Array>();
  const size_t from = info[2].As<Napi::Number>().Uint32Value();
  const size_t to = info[3].As<Napi::Number>().Uint32Value();
  if (from > to || to > bytes.ByteLength()) {
    Napi::RangeError::New(info.Env(), "checksum range leaves the array")
        .ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  const uint32_t seed = info[0].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), crc32c(seed, bytes.Data() + from, to - from));
}

}  // namespace

void exportFraming(Napi::Env env, Napi::Object exports) {
  exports.Set("verifyGroup", Napi::Function::New(env, verifyGroupAt));
  exports.Set("readGroupHeader", Napi::Function::New(env, readGroupHeaderAt));
  exports.Set("verifyRecord", Napi::Function::New(env, verifyRecordAt));
  exports.Set("copySlices", Napi::Function::New(env, copySlicesInto));
  exports.Set("sealGroup", Napi::Function::New(env, sealGroupIn));
  exports.Set("sealRecords", Napi::Function::New(env, sealRecordsIn));
  exports.Set("crc32c", Napi::Function::New(env, checksum));
  exports.Set("crc32cVersion", crc32cVersions().front().name);
  exports.Set("groupHeaderBytes", kGroupHeaderBytes);
  exports.Set("recordHeaderBytes", kRecordHeaderBytes);
}

}  // namespace riolog::binding

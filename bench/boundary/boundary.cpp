// Two ways of handing requests from JavaScript to a ring, for bench/boundary/boundary.ts to compare:
// one native call for each request, or requests as plain numbers in shared memory and one call for all.
#include <napi.h>

#include "core/ring.h"

namespace {

riolog::Ring* ring = nullptr;
riolog::MemoryTable memories;
riolog::Request* area = nullptr;

// (entries) -> the shared area; the ring lives as long as the process.
Napi::Value open(const Napi::CallbackInfo& info) {
  riolog::RingConfig config;
  config.entries = info[0].As<Napi::Number>().Uint32Value();
  config.cqEntries = config.entries * 2;
  riolog::RingFailure failure{};
  ring = riolog::Ring::open(config, &failure);
  if (ring == nullptr) return info.Env().Undefined();
  auto buffer = Napi::ArrayBuffer::New(info.Env(), ring->entries() * sizeof(riolog::Request));
  area = static_cast<riolog::Request*>(buffer.Data());
  return buffer;
}

// (opcode, fd, slot, length, fileOffset, opFlags): one request.
void stageOne(const Napi::CallbackInfo& info) {
  riolog::Request request{};
  request.opcode = static_cast<uint8_t>(info[0].As<Napi::Number>().Uint32Value());
  request.fd = info[1].As<Napi::Number>().Int32Value();
  request.slot = info[2].As<Napi::Number>().Uint32Value();
  request.length = info[3].As<Napi::Number>().Uint32Value();
  request.fileOffset = info[4].As<Napi::Number>().DoubleValue();
  request.opFlags = info[5].As<Napi::Number>().Uint32Value();
  request.memory = riolog::kNoMemory;
  request.quietResult = riolog::kNeverQuiet;
  ring->stage(&request, 1, memories);
}

// (count): as many requests as JavaScript wrote into the area.
void stageArea(const Napi::CallbackInfo& info) {
  ring->stage(area, info[0].As<Napi::Number>().Uint32Value(), memories);
}

// () -> how many completed: all, since a NOP completes within io_uring_enter.
Napi::Value finish(const Napi::CallbackInfo& info) {
  ring->flush();
  riolog::Completion completions[256];
  bool wake = false;
  const size_t count = ring->reap(completions, 256, &wake);
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, open));
  exports.Set("stageOne", Napi::Function::New(env, stageOne));
  exports.Set("stageArea", Napi::Function::New(env, stageArea));
  exports.Set("finish", Napi::Function::New(env, finish));
  return exports;
}

NODE_API_MODULE(boundary, initialize)

}  // namespace

// The one bridge between native/core and Node-API: what each binding file exports, and the state
// that one JavaScript thread (environment) has.
#pragma once

#include <napi.h>

#include <memory>
#include <unordered_map>

#include "core/files.h"
#include "core/memory.h"

namespace riolog::binding {

struct PendingCommit;

// By the numbers that JavaScript has for them.
struct CommitTable {
  std::unordered_map<uint32_t, std::shared_ptr<PendingCommit>> entries;
  uint32_t last = 0;
};

struct AddonData {
  // Shared with each view of memory: at the end of an environment the views may go last.
  std::shared_ptr<MemoryTable> memories = std::make_shared<MemoryTable>();
  // Shared with calls on libuv's thread pool.
  std::shared_ptr<OpenFiles> files = std::make_shared<OpenFiles>();
  // Shared with commits on that pool: those whose callbacks have not been called.
  std::shared_ptr<CommitTable> commits = std::make_shared<CommitTable>();
};

inline AddonData& dataOf(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }

inline uint64_t toUint64(const Napi::Value& low, const Napi::Value& high) {
  return (uint64_t{high.As<Napi::Number>().Uint32Value()} << 32) |
         low.As<Napi::Number>().Uint32Value();
}

// JavaScript sends LSNs as numbers; all are safe integers.
inline uint64_t toLsn(const Napi::Value& value) {
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

// An ArrayBuffer over the memory, which gets it as an owner. undefined where V8 refuses memory that
// it did not allocate (its sandbox, as in Electron).
Napi::Value makeView(Napi::Env env, Memory* memory);

void exportMemory(Napi::Env env, Napi::Object exports);
void exportFraming(Napi::Env env, Napi::Object exports);
void exportFiles(Napi::Env env, Napi::Object exports);
void exportBusyPoll(Napi::Env env, Napi::Object exports);
void exportSockets(Napi::Env env, Napi::Object exports);
void exportRing(Napi::Env env, Napi::Object exports);

}  // namespace riolog::binding

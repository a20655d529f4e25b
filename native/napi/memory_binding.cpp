#include "addon.h"

namespace riolog::binding {

namespace {

// JavaScript owns memory through a handle, which also keeps its id in the table. Each ArrayBuffer over
// the memory is an owner of its own, so a view stays valid whatever is collected first, and can be
// detached and made anew while the handle lives.
struct Handle {
  Memory* memory;
  int32_t id;
  std::shared_ptr<MemoryTable> table;
};

void onHandleCollected(Napi::Env env, Handle* handle) {
  handle->table->remove(handle->id);
  const auto bytes = static_cast<int64_t>(handle->memory->size());
  handle->memory->release();
  Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
  delete handle;
}

void onViewCollected(Napi::Env, void*, Memory* memory) { memory->release(); }

// undefined where V8 refuses memory that it did not allocate (its sandbox, as in Electron).
Napi::Value makeView(Napi::Env env, Memory* memory) {
  memory->retain();
  Napi::ArrayBuffer buffer =
      Napi::ArrayBuffer::New(env, memory->data(), memory->size(), onViewCollected, memory);
  if (!env.IsExceptionPending()) return buffer;
  env.GetAndClearPendingException();
  memory->release();
  return env.Undefined();
}

// (bytes) -> { id, handle, buffer }, undefined when the system has no memory.
Napi::Value allocate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int64_t bytes = info[0].As<Napi::Number>().Int64Value();
  Memory* memory = bytes > 0 ? Memory::allocate(static_cast<size_t>(bytes)) : nullptr;
  if (memory == nullptr) return env.Undefined();
  const auto& table = dataOf(env).memories;
  auto* handle = new Handle{memory, table->add(memory), table};
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", handle->id);
  result.Set("handle", Napi::External<Handle>::New(env, handle, onHandleCollected));
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  Napi::Value buffer = makeView(env, memory);
  if (buffer.IsUndefined()) return buffer;
  result.Set("buffer", buffer);
  return result;
}

// (handle) -> a fresh ArrayBuffer over the same memory
Napi::Value viewOf(const Napi::CallbackInfo& info) {
  return makeView(info.Env(), info[0].As<Napi::External<Handle>>().Data()->memory);
}

// (buffer): every view of it has length 0 from now on.
Napi::Value detach(const Napi::CallbackInfo& info) {
  info[0].As<Napi::ArrayBuffer>().Detach();
  return info.Env().Undefined();
}

Napi::Value liveCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Memory::liveCount()));
}

}  // namespace

void exportMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("allocate", Napi::Function::New(env, allocate));
  exports.Set("viewOf", Napi::Function::New(env, viewOf));
  exports.Set("detach", Napi::Function::New(env, detach));
  exports.Set("liveMemoryCount", Napi::Function::New(env, liveCount));
}

}  // namespace riolog::binding

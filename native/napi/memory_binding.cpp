#include "addon.h"

namespace riolog::binding {

namespace {

// JavaScript owns memory through a handle, which also keeps its id in the table. Each ArrayBuffer
// over the memory is an owner of its own, so a view stays valid whatever is collected first, and
// can be detached and made anew while the handle lives.
struct Handle {
  Memory* memory;
  int32_t id;
  std::shared_ptr<MemoryTable> table;
};

void destroy(Handle* handle) {
  handle->table->remove(handle->id);
  handle->memory->release();
  delete handle;
}

void onHandleCollected(node_api_basic_env env, void* data, void*) {
  auto* handle = static_cast<Handle*>(data);
  const auto bytes = static_cast<int64_t>(handle->memory->size());
  destroy(handle);
  Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
}

// nullptr in a worker that is being terminated, where nothing can be made any more. (After such a
// failure Napi::External would lose the handle.)
napi_value makeExternal(Napi::Env env, Handle* handle) {
  napi_value external = nullptr;
  if (napi_create_external(env, handle, onHandleCollected, nullptr, &external) == napi_ok) {
    return external;
  }
  destroy(handle);
  return nullptr;
}

void onViewCollected(node_api_basic_env, void*, void* memory) {
  static_cast<Memory*>(memory)->release();
}

}  // namespace

// Not Napi::ArrayBuffer::New: when Node refuses a view after it has taken the finalizer, it runs
// the finalizer too, whose data node-addon-api has freed by then.
Napi::Value makeView(Napi::Env env, Memory* memory) {
  memory->retain();
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(env, memory->data(), memory->size(),
                                                              onViewCollected, memory, &buffer);
  if (status == napi_ok) return Napi::Value(env, buffer);
  if (env.IsExceptionPending()) env.GetAndClearPendingException();
  // These two come before Node has taken the finalizer. After any other failure nobody can tell
  // whether it will run, and a leak is better than an owner counted off twice.
  if (status == napi_no_external_buffers_allowed || status == napi_pending_exception) {
    memory->release();
  }
  return env.Undefined();
}

namespace {

// A request's length has 32 bits, and Node 20 makes no view of more than 4 GiB.
constexpr int64_t kMaxBytes = UINT32_MAX;

// (bytes) -> { id, handle, buffer }, undefined when the system has no memory.
Napi::Value allocate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int64_t bytes = info[0].As<Napi::Number>().Int64Value();
  const bool possible = bytes > 0 && bytes <= kMaxBytes;
  Memory* memory = possible ? Memory::allocate(static_cast<size_t>(bytes)) : nullptr;
  if (memory == nullptr) return env.Undefined();
  const auto& table = dataOf(env).memories;
  auto* handle = new Handle{memory, table->add(memory), table};
  const int32_t id = handle->id;
  const napi_value external = makeExternal(env, handle);
  if (external == nullptr) return env.Undefined();
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", id);
  result.Set("handle", external);
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

// The few parts of libuv that are needed, declared here: node-api-headers has no uv.h, and a
// build from source must not depend on where a machine keeps Node's own headers. The node binary
// exports these functions, and libuv keeps their ABI within a major version (docs.libuv.org,
// "Versioning"); handles are allocated by uv_handle_size, never by a struct's size.
#pragma once

#include <napi.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;
struct uv_poll_s;
struct uv_idle_s;

using uv_close_cb = void (*)(uv_handle_s*);
using uv_poll_cb = void (*)(uv_poll_s*, int status, int events);
using uv_idle_cb = void (*)(uv_idle_s*);

size_t uv_handle_size(int type);
void* uv_handle_get_data(const uv_handle_s* handle);
void uv_handle_set_data(uv_handle_s* handle, void* data);
void uv_close(uv_handle_s* handle, uv_close_cb callback);
void uv_ref(uv_handle_s* handle);
void uv_unref(uv_handle_s* handle);
int uv_poll_init(uv_loop_s* loop, uv_poll_s* handle, int fd);
int uv_poll_start(uv_poll_s* handle, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_s* handle);
int uv_idle_init(uv_loop_s* loop, uv_idle_s* handle);
int uv_idle_start(uv_idle_s* handle, uv_idle_cb callback);
int uv_idle_stop(uv_idle_s* handle);
uint64_t uv_hrtime(void);
}

namespace riolog::binding {

// uv_handle_type (uv.h, UV_HANDLE_TYPE_MAP)
constexpr int kUvIdleType = 6;
constexpr int kUvPollType = 8;
constexpr int kUvReadable = 1;  // UV_READABLE in uv_poll_event

// A libuv handle, and what it and the environment know of its owner, which is a JavaScript object
// and may be collected: libuv closes a handle one turn after uv_close, and the cleanup hook can run
// until then. Does not keep the loop alive unless asked to.
template <typename Owner, typename Handle>
class LoopHandle {
 public:
  // `init(loop, handle)` is libuv's. nullptr on failure, with its errno in `error`. When the
  // environment ends, owner->onEnvironmentEnd() is called, and has to close this.
  template <typename Init>
  static LoopHandle* open(Napi::Env env, int type, Owner* owner, Init init, int* error) {
    uv_loop_s* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) {
      *error = EINVAL;
      return nullptr;
    }
    auto* handle = static_cast<Handle*>(std::calloc(1, uv_handle_size(type)));
    if (handle == nullptr) {
      *error = ENOMEM;
      return nullptr;
    }
    if (const int status = init(loop, handle); status != 0) {
      std::free(handle);
      *error = -status;
      return nullptr;
    }
    auto* self = new LoopHandle(handle, owner);
    uv_handle_set_data(self->base(), self);
    uv_unref(self->base());
    napi_add_async_cleanup_hook(env, onEnvironmentEnd, self, &self->cleanup_);
    return self;
  }

  // nullptr once it is being closed.
  static Owner* ownerOf(Handle* handle) {
    return static_cast<LoopHandle*>(uv_handle_get_data(asBase(handle)))->owner_;
  }

  Handle* get() const { return handle_; }
  void ref() { uv_ref(base()); }
  void unref() { uv_unref(base()); }

  // The owner forgets it: it frees itself.
  void close() {
    owner_ = nullptr;
    uv_close(base(), onClosed);
  }

 private:
  LoopHandle(Handle* handle, Owner* owner) : handle_(handle), owner_(owner) {}

  static uv_handle_s* asBase(Handle* handle) { return reinterpret_cast<uv_handle_s*>(handle); }
  uv_handle_s* base() const { return asBase(handle_); }

  static void onEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
    Owner* owner = static_cast<LoopHandle*>(data)->owner_;
    if (owner != nullptr) owner->onEnvironmentEnd();  // else onClosed is on its way
  }

  // Frees all, and lets the environment end.
  static void onClosed(uv_handle_s* handle) {
    auto* self = static_cast<LoopHandle*>(uv_handle_get_data(handle));
    napi_remove_async_cleanup_hook(self->cleanup_);
    delete self;
    std::free(handle);
  }

  Handle* handle_;
  Owner* owner_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

}  // namespace riolog::binding

// The few parts of libuv that the ring needs, declared here: node-api-headers has no uv.h, and a
// build from source must not depend on where a machine keeps Node's own headers. The node binary
// exports these functions, and libuv keeps their ABI within a major version (docs.libuv.org,
// "Versioning"); handles are allocated by uv_handle_size, never by a struct's size.
#pragma once

#include <cstddef>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;
struct uv_poll_s;

using uv_close_cb = void (*)(uv_handle_s*);
using uv_poll_cb = void (*)(uv_poll_s*, int status, int events);

size_t uv_handle_size(int type);
void* uv_handle_get_data(const uv_handle_s* handle);
void uv_handle_set_data(uv_handle_s* handle, void* data);
void uv_close(uv_handle_s* handle, uv_close_cb callback);
void uv_ref(uv_handle_s* handle);
void uv_unref(uv_handle_s* handle);
int uv_poll_init(uv_loop_s* loop, uv_poll_s* handle, int fd);
int uv_poll_start(uv_poll_s* handle, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_s* handle);
}

namespace riolog::binding {

constexpr int kUvPollType = 8;  // UV_POLL in uv_handle_type (uv.h, UV_HANDLE_TYPE_MAP)
constexpr int kUvReadable = 1;  // UV_READABLE in uv_poll_event

inline uv_handle_s* asHandle(uv_poll_s* poll) { return reinterpret_cast<uv_handle_s*>(poll); }

}  // namespace riolog::binding

#include "core/sockets.h"

#include <string>

#include "addon.h"

namespace riolog::binding {

namespace {

// (kind, fd, a, b, addressBytes | undefined) -> result, or a negative errno
Napi::Value socketCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  SocketCall call{};
  call.kind = static_cast<SocketCall::Kind>(info[0].As<Napi::Number>().Uint32Value());
  call.fd = info[1].As<Napi::Number>().Int32Value();
  call.a = info[2].As<Napi::Number>().Int32Value();
  call.b = info[3].As<Napi::Number>().Int32Value();
  if (info[4].IsTypedArray()) {
    auto address = info[4].As<Napi::Uint8Array>();
    call.address = address.Data();
    call.addressBytes = address.ByteLength();
  }
  const int64_t result = runSocketCall(call);
  if (call.kind == SocketCall::kSocket && result >= 0) {
    dataOf(env).files->add(static_cast<int>(result));
  }
  return Napi::Number::New(env, static_cast<double>(result));
}

// (text, 16 bytes of room) -> family, 0 when it is no address
Napi::Value parse(const Napi::CallbackInfo& info) {
  const std::string text = info[0].As<Napi::String>().Utf8Value();
  auto out = info[1].As<Napi::Uint8Array>();
  const int family = out.ByteLength() >= 16 ? parseAddress(text.c_str(), out.Data()) : 0;
  return Napi::Number::New(info.Env(), family);
}

// (4 or 16 bytes) -> text
Napi::Value format(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Uint8Array>();
  char text[kMaxAddressText] = {};
  formatAddress(bytes.Data(), bytes.ByteLength(), text);
  return Napi::String::New(info.Env(), text);
}

}  // namespace

void exportSockets(Napi::Env env, Napi::Object exports) {
  exports.Set("socketCall", Napi::Function::New(env, socketCall));
  exports.Set("parseAddress", Napi::Function::New(env, parse));
  exports.Set("formatAddress", Napi::Function::New(env, format));
}

}  // namespace riolog::binding

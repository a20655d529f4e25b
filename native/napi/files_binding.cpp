#include <string>

#include "addon.h"
#include "core/files.h"

namespace riolog::binding {

namespace {

// Runs one call on libuv's thread pool: unlinking a large file, or creating one while the file
// system commits its journal, can take milliseconds.
class FileCallWorker : public Napi::AsyncWorker {
 public:
  FileCallWorker(const Napi::Function& callback, FileCall call, std::string name, std::string other)
      : Napi::AsyncWorker(callback, "riolog:file"),
        files_(dataOf(callback.Env()).files),
        call_(call),
        name_(std::move(name)),
        otherName_(std::move(other)) {}

  void Execute() override {
    call_.name = name_.c_str();
    call_.otherName = otherName_.c_str();
    result_ = runFileCall(call_, files_.get());
  }

  std::vector<napi_value> GetResult(Napi::Env env) override {
    return {Napi::Number::New(env, static_cast<double>(result_))};
  }

 private:
  std::shared_ptr<OpenFiles> files_;
  FileCall call_;
  std::string name_;
  std::string otherName_;
  int64_t result_ = 0;
};

// (kind, fd, name, otherName, flags, mode [, callback(result)]) -> result, undefined with a
// callback
Napi::Value fileCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  FileCall call{};
  call.kind = static_cast<FileCall::Kind>(info[0].As<Napi::Number>().Uint32Value());
  call.fd = info[1].As<Napi::Number>().Int32Value();
  std::string name = info[2].As<Napi::String>().Utf8Value();
  std::string otherName = info[3].As<Napi::String>().Utf8Value();
  call.flags = info[4].As<Napi::Number>().Int32Value();
  call.mode = info[5].As<Napi::Number>().Uint32Value();
  if (info.Length() > 6 && info[6].IsFunction()) {
    (new FileCallWorker(info[6].As<Napi::Function>(), call, std::move(name), std::move(otherName)))
        ->Queue();
    return env.Undefined();
  }
  call.name = name.c_str();
  call.otherName = otherName.c_str();
  return Napi::Number::New(env, static_cast<double>(runFileCall(call, dataOf(env).files.get())));
}

// (fd) -> 0, or a negative errno
Napi::Value closeFile(const Napi::CallbackInfo& info) {
  const int result = dataOf(info.Env()).files->close(info[0].As<Napi::Number>().Int32Value());
  return Napi::Number::New(info.Env(), result);
}

}  // namespace

void exportFiles(Napi::Env env, Napi::Object exports) {
  exports.Set("fileCall", Napi::Function::New(env, fileCall));
  exports.Set("closeFile", Napi::Function::New(env, closeFile));
}

}  // namespace riolog::binding

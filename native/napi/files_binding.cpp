#include <condition_variable>
#include <mutex>
#include <string>

#include "addon.h"
#include "core/files.h"

namespace riolog::binding {

// Where a thread of the pool leaves what became of a commit, and JavaScript's thread may wait for
// it.
struct PendingCommit {
  void finish(CommitResult result) {
    const std::lock_guard<std::mutex> lock(mutex);
    found = result;
    isDone = true;
    done.notify_all();
  }

  CommitResult await() {
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [this] { return isDone; });
    return found;
  }

  std::mutex mutex;
  std::condition_variable done;
  bool isDone = false;
  CommitResult found;
};

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

// Owns the memory and the set of descriptors until the disk has the bytes: JavaScript may have
// forgotten both by then, and a descriptor closed under the write would be somebody else's.
class CommitWorker : public Napi::AsyncWorker {
 public:
  CommitWorker(const Napi::Function& callback, int fd, Memory* memory, uint64_t offset,
               uint64_t length, uint64_t position, bool dsync)
      : Napi::AsyncWorker(callback, "riolog:commit"),
        files_(dataOf(callback.Env()).files),
        commits_(dataOf(callback.Env()).commits),
        id_(++commits_->last),
        fd_(fd),
        memory_(memory),
        offset_(offset),
        length_(length),
        position_(position),
        dsync_(dsync) {
    memory_->retain();
    commits_->entries.emplace(id_, pending_);
  }
  ~CommitWorker() override { memory_->release(); }
  CommitWorker(const CommitWorker&) = delete;
  CommitWorker& operator=(const CommitWorker&) = delete;

  uint32_t id() const noexcept { return id_; }

  void Execute() override {
    pending_->finish(commitBlocking(fd_, memory_->data() + offset_, length_, position_, dsync_));
  }

  std::vector<napi_value> GetResult(Napi::Env env) override {
    commits_->entries.erase(id_);
    const CommitResult found = pending_->await();
    return {Napi::Number::New(env, static_cast<double>(found.result)),
            Napi::Boolean::New(env, found.inSync)};
  }

 private:
  std::shared_ptr<PendingCommit> pending_ = std::make_shared<PendingCommit>();
  std::shared_ptr<OpenFiles> files_;
  std::shared_ptr<CommitTable> commits_;
  uint32_t id_;
  int fd_;
  Memory* memory_;
  uint64_t offset_;
  uint64_t length_;
  uint64_t position_;
  bool dsync_;
};

// (fd, memory, memoryOffset, length, position, dsync, callback(result, inSync)) -> a number for it
Napi::Value commit(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Memory* memory = dataOf(env).memories->find(info[1].As<Napi::Number>().Int32Value());
  const auto offset = toLsn(info[2]);
  const auto length = toLsn(info[3]);
  if (memory == nullptr || offset > memory->size() || length > memory->size() - offset) {
    Napi::RangeError::New(env, "no such memory").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  auto* worker =
      new CommitWorker(info[6].As<Napi::Function>(), info[0].As<Napi::Number>().Int32Value(),
                       memory, offset, length, toLsn(info[4]), info[5].As<Napi::Boolean>().Value());
  const uint32_t id = worker->id();
  worker->Queue();
  return Napi::Number::New(env, id);
}

// (commit) -> { result, inSync }, when the disk has answered; the callback comes all the same
Napi::Value awaitCommit(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto& commits = dataOf(env).commits->entries;
  const auto at = commits.find(info[0].As<Napi::Number>().Uint32Value());
  if (at == commits.end()) {
    Napi::RangeError::New(env, "no such commit").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const CommitResult found = at->second->await();
  Napi::Object answer = Napi::Object::New(env);
  answer.Set("result", Napi::Number::New(env, static_cast<double>(found.result)));
  answer.Set("inSync", Napi::Boolean::New(env, found.inSync));
  return answer;
}

// (fd) -> 0, or a negative errno
Napi::Value closeFile(const Napi::CallbackInfo& info) {
  const int result = dataOf(info.Env()).files->close(info[0].As<Napi::Number>().Int32Value());
  return Napi::Number::New(info.Env(), result);
}

}  // namespace

void exportFiles(Napi::Env env, Napi::Object exports) {
  exports.Set("fileCall", Napi::Function::New(env, fileCall));
  exports.Set("commit", Napi::Function::New(env, commit));
  exports.Set("awaitCommit", Napi::Function::New(env, awaitCommit));
  exports.Set("closeFile", Napi::Function::New(env, closeFile));
}

}  // namespace riolog::binding

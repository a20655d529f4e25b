// A Ring for one JavaScript thread: requests and completions pass through ArrayBuffers that both
// sides see, and the ring's fd is polled by the thread's own event loop.
#include <cerrno>
#include <memory>

#include "addon.h"
#include "core/ring.h"
#include "uv_handle.h"

namespace riolog::binding {

namespace {

// How long the end of an environment waits for the kernel to finish. Afterwards memory that the
// kernel may still write to is leaked, never freed.
constexpr int kTeardownDrainMs = 10'000;

// How often one turn of the event loop tells JavaScript of completions. Operations that complete at
// once (a read from the page cache) can be followed by others for ever; timers and sockets must get
// their turn. The ring's fd stays readable, so the loop comes back for the rest.
constexpr int kRoundsPerTurn = 16;

// So many reads of files JavaScript is told of at once; then their callers go on, and what they ask
// for next goes to the device. A virtual disk often completes all that it was given together: told
// all at once, the callers' work and the device's would not overlap. What is there right behind its
// submission was in the page cache, and no device waits (docs/DECISIONS.md).
constexpr size_t kReadsPerRound = 2;
constexpr size_t kCachedReadsPerRound = 4;

class RingBinding : public Napi::ObjectWrap<RingBinding> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit RingBinding(const Napi::CallbackInfo& info);
  ~RingBinding() override;
  void onEnvironmentEnd();

 private:
  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value flush(const Napi::CallbackInfo& info);
  Napi::Value reap(const Napi::CallbackInfo& info);
  void runTaskWork(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value supports(const Napi::CallbackInfo& info);
  Napi::Value setTracing(const Napi::CallbackInfo& info);
  Napi::Value takeTrace(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value wait(const Napi::CallbackInfo& info);
  Napi::Value recycleBuffers(const Napi::CallbackInfo& info);
  Napi::Value holdOpen(const Napi::CallbackInfo& info);
  Napi::Value makeBufferTable(const Napi::CallbackInfo& info);
  Napi::Value registerBuffer(const Napi::CallbackInfo& info);
  Napi::Value unregisterBuffer(const Napi::CallbackInfo& info);
  Napi::Value makeFileTable(const Napi::CallbackInfo& info);
  Napi::Value setFile(const Napi::CallbackInfo& info);
  Napi::Value addBufferGroup(const Napi::CallbackInfo& info);
  Napi::Value removeBufferGroup(const Napi::CallbackInfo& info);
  Napi::Value viewOfBufferGroup(const Napi::CallbackInfo& info);

  using Poll = LoopHandle<RingBinding, uv_poll_s>;
  static void onReadable(uv_poll_s* poll, int status, int events);

  bool startPolling(Napi::Env env, int* error);
  size_t gather(bool* wake, size_t mostReads = SIZE_MAX);
  size_t takeGathered();
  bool callBack(Napi::Env env, size_t count);
  void deliver();
  void holdLoop();
  void shutDown();

  std::shared_ptr<OpenFiles> files_;  // outlives the ring
  std::unique_ptr<Ring> ring_;
  std::shared_ptr<MemoryTable> memories_;
  Poll* poll_ = nullptr;
  bool held_ = false;      // operations are in flight: the loop and this object are kept alive
  bool heldOpen_ = false;  // JavaScript waits for messages of other rings
  int roundsInThisTurn_ = 0;

  // The areas belong to JavaScript; the references keep them where they are.
  Napi::Reference<Napi::ArrayBuffer> requestArea_;
  Napi::Reference<Napi::ArrayBuffer> completionArea_;
  const Request* requests_ = nullptr;
  size_t requestCapacity_ = 0;
  Completion* completions_ = nullptr;
  size_t completionCapacity_ = 0;
  size_t gathered_ = 0;  // completions that JavaScript has not been told of
  // Weak, since the function refers to this object: JavaScript's object holds it as a property, so
  // that a ring that was dropped can be collected with it.
  Napi::FunctionReference onCompletions_;
  std::unique_ptr<Napi::AsyncContext> asyncContext_;
};

void throwSystemError(Napi::Env env, const char* syscall, int error) {
  Napi::Error thrown = Napi::Error::New(env, syscall);
  thrown.Set("errno", Napi::Number::New(env, -error));
  thrown.Set("syscall", Napi::String::New(env, syscall));
  thrown.ThrowAsJavaScriptException();
}

RingConfig toConfig(const Napi::CallbackInfo& info) {
  const auto number = [&info](size_t i) { return info[i].As<Napi::Number>(); };
  RingConfig config;
  config.entries = number(0).Uint32Value();
  config.cqEntries = number(1).Uint32Value();
  if (info[2].IsNumber()) config.flags = number(2).Uint32Value();
  config.sqPoll = info[3].As<Napi::Boolean>().Value();
  config.ioPoll = info[4].As<Napi::Boolean>().Value();
  config.sqThreadIdleMs = number(5).Uint32Value();
  config.sqThreadCpu = number(6).Int32Value();
  return config;
}

// (entries, cqEntries, setupFlags | undefined, sqPoll, ioPoll, sqThreadIdleMs, sqThreadCpu,
// onCompletions(count)): the object gets `requests` and `completions`, the areas that both sides
// share, and what the kernel made of the configuration.
RingBinding::RingBinding(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<RingBinding>(info),
      files_(dataOf(info.Env()).files),
      memories_(dataOf(info.Env()).memories) {
  Napi::Env env = info.Env();
  RingFailure failure{};
  ring_.reset(Ring::open(toConfig(info), files_.get(), &failure));
  if (ring_ == nullptr) {
    throwSystemError(env, failure.syscall, failure.error);
    return;
  }
  auto requests = Napi::ArrayBuffer::New(env, ring_->entries() * sizeof(Request));
  auto completions = Napi::ArrayBuffer::New(env, ring_->cqEntries() * sizeof(Completion));
  // A worker that is being terminated gets none, and anything asked of an empty value would abort
  // the process: node-addon-api finds no environment in it to throw in.
  if (requests.IsEmpty() || completions.IsEmpty()) {
    ring_.reset();
    return;
  }
  requestArea_ = Napi::Persistent(requests);
  completionArea_ = Napi::Persistent(completions);
  requests_ = static_cast<const Request*>(requests.Data());
  requestCapacity_ = ring_->entries();
  completions_ = static_cast<Completion*>(completions.Data());
  completionCapacity_ = ring_->cqEntries();
  onCompletions_ = Napi::Weak(info[7].As<Napi::Function>());
  asyncContext_ = std::make_unique<Napi::AsyncContext>(env, "riolog:ring");

  auto self = info.This().As<Napi::Object>();
  self.Set("onCompletions", info[7]);
  self.Set("requests", requests);
  self.Set("completions", completions);
  self.Set("sqEntries", ring_->entries());
  self.Set("cqEntries", ring_->cqEntries());
  self.Set("slotCount", ring_->slotCount());
  self.Set("setupFlags", ring_->setupFlags());
  self.Set("features", ring_->features());
  self.Set("fd", ring_->fd());

  int error = 0;
  if (!startPolling(env, &error)) {
    ring_.reset();
    throwSystemError(env, "uv_poll_init", error);
  }
}

bool RingBinding::startPolling(Napi::Env env, int* error) {
  const auto init = [this](uv_loop_s* loop, uv_poll_s* handle) {
    return uv_poll_init(loop, handle, ring_->fd());
  };
  poll_ = Poll::open(env, kUvPollType, this, init, error);
  if (poll_ == nullptr) return false;
  uv_poll_start(poll_->get(), kUvReadable, onReadable);
  return true;
}

// The poll is stopped before the fd is closed, as libuv demands.
void RingBinding::shutDown() {
  if (poll_ != nullptr) {
    uv_poll_stop(poll_->get());
    poll_->close();
    poll_ = nullptr;
  }
  ring_.reset();
  gathered_ = 0;
  if (held_) {
    held_ = false;
    Unref();
  }
}

void RingBinding::onEnvironmentEnd() {
  if (ring_ != nullptr) ring_->drain(kTeardownDrainMs);
  shutDown();
}

RingBinding::~RingBinding() { shutDown(); }

// While operations are in flight the event loop stays alive, and so does this object: their
// completions must find it.
void RingBinding::holdLoop() {
  const bool wanted = ring_ != nullptr && (ring_->inFlight() > 0 || gathered_ > 0 || heldOpen_);
  if (wanted == held_ || poll_ == nullptr) return;
  held_ = wanted;
  if (wanted) {
    poll_->ref();
    Ref();
  } else {
    poll_->unref();
    Unref();
  }
}

size_t RingBinding::gather(bool* wake, size_t mostReads) {
  const size_t room = completionCapacity_ - gathered_;
  const size_t count = ring_->reap(completions_ + gathered_, room, wake, mostReads);
  gathered_ += count;
  return count;
}

size_t RingBinding::takeGathered() {
  const size_t count = gathered_;
  gathered_ = 0;
  return count;
}

// False when JavaScript cannot be called any more, since the environment ends. An exception of the
// callback becomes an 'uncaughtException', as that of any other callback.
bool RingBinding::callBack(Napi::Env env, size_t count) {
  const napi_value argument = Napi::Number::New(env, static_cast<double>(count));
  const napi_status status = napi_make_callback(env, *asyncContext_, Value(),
                                                onCompletions_.Value(), 1, &argument, nullptr);
  if (status == napi_ok) return true;
  if (!env.IsExceptionPending()) return false;
  napi_fatal_exception(env, env.GetAndClearPendingException().Value());
  return true;
}

void RingBinding::deliver() {
  Napi::Env env = Env();
  Napi::HandleScope scope(env);
  roundsInThisTurn_ = 0;
  while (roundsInThisTurn_ < kRoundsPerTurn && ring_ != nullptr) {
    roundsInThisTurn_++;
    bool wake = false;
    gather(&wake, kReadsPerRound);
    if (!wake) break;
    if (!callBack(env, takeGathered())) break;
  }
  // What the kernel could not take before may fit now (EBUSY, EAGAIN).
  if (ring_ != nullptr && ring_->hasUnflushed()) ring_->flush();
  if (ring_ != nullptr &&
      ring_->hasFailed()) {  // what it will never take has no completion to read
    bool wake = false;
    gather(&wake);
    callBack(env, takeGathered());
  }
  holdLoop();
}

void RingBinding::onReadable(uv_poll_s* poll, int, int) {
  RingBinding* self = Poll::ownerOf(poll);
  if (self != nullptr) self->deliver();
}

// (count, look) -> a negative errno of io_uring_enter: EAGAIN and EBUSY mean that the requests are
// staged and flush() has to be called again, after any other they complete with that errno. Else
// the number of completions that are in the area already; `look` asks for that, and it is often
// enough so (a read from the page cache), but not without end in one turn of the event loop. Throws
// when a request is malformed: none is taken then.
Napi::Value RingBinding::submit(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const size_t count = info[0].As<Napi::Number>().Uint32Value();
  if (ring_ == nullptr || count > requestCapacity_) {
    throwSystemError(env, "riolog_submit", EBADF);
    return env.Undefined();
  }
  const StageStatus status = ring_->stage(requests_, count, *memories_);
  if (status != StageStatus::kTaken) {
    Napi::Error thrown = Napi::Error::New(env, "request refused before the kernel saw it");
    thrown.Set("stageStatus", Napi::Number::New(env, static_cast<int32_t>(status)));
    thrown.ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const int error = ring_->flush();
  size_t told = 0;
  const bool look = info[1].As<Napi::Boolean>().Value();
  if (error == 0 && look && roundsInThisTurn_ < kRoundsPerTurn && ring_->hasCompletions()) {
    roundsInThisTurn_++;
    bool wake = false;
    gather(&wake, kCachedReadsPerRound);
    if (wake) told = takeGathered();
  }
  holdLoop();
  return Napi::Number::New(env, error != 0 ? -error : static_cast<double>(told));
}

Napi::Value RingBinding::flush(const Napi::CallbackInfo& info) {
  const int error = ring_ != nullptr ? ring_->flush() : 0;
  holdLoop();
  return Napi::Number::New(info.Env(), -error);
}

// () -> completions now in the completion area, told to nobody else.
Napi::Value RingBinding::reap(const Napi::CallbackInfo& info) {
  if (ring_ == nullptr) return Napi::Number::New(info.Env(), 0);
  bool wake = false;
  gather(&wake);
  const size_t count = takeGathered();
  holdLoop();
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

// (): completions are told of later, as ever.
void RingBinding::runTaskWork(const Napi::CallbackInfo&) {
  if (ring_ != nullptr) ring_->runTaskWork();
}

// (milliseconds, < 0 for no limit) -> completions in the area, after a wait for one; 0 when the
// time is over. Holds up the thread.
Napi::Value RingBinding::wait(const Napi::CallbackInfo& info) {
  if (ring_ != nullptr && gathered_ == 0) ring_->wait(info[0].As<Napi::Number>().Int32Value());
  return reap(info);
}

// (slot)
Napi::Value RingBinding::cancel(const Napi::CallbackInfo& info) {
  if (ring_ != nullptr) ring_->cancel(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

// (): what completions named of the provided buffers has been copied.
Napi::Value RingBinding::recycleBuffers(const Napi::CallbackInfo& info) {
  if (ring_ != nullptr) ring_->recycleBuffers();
  return info.Env().Undefined();
}

// (wanted): whether the loop is kept alive though nothing is in flight.
Napi::Value RingBinding::holdOpen(const Napi::CallbackInfo& info) {
  heldOpen_ = info[0].As<Napi::Boolean>().Value();
  holdLoop();
  return info.Env().Undefined();
}

// ---- registration: each gives a negative errno when it fails ----

// (count) -> 0
Napi::Value RingBinding::makeBufferTable(const Napi::CallbackInfo& info) {
  const uint32_t count = info[0].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), ring_ != nullptr ? ring_->makeBufferTable(count) : -EBADF);
}

// (memory id) -> index
Napi::Value RingBinding::registerBuffer(const Napi::CallbackInfo& info) {
  Memory* memory = memories_->find(info[0].As<Napi::Number>().Int32Value());
  const bool possible = ring_ != nullptr && memory != nullptr;
  return Napi::Number::New(info.Env(), possible ? ring_->registerBuffer(memory) : -EBADF);
}

// (index) -> 0
Napi::Value RingBinding::unregisterBuffer(const Napi::CallbackInfo& info) {
  const int index = info[0].As<Napi::Number>().Int32Value();
  return Napi::Number::New(info.Env(), ring_ != nullptr ? ring_->unregisterBuffer(index) : -EBADF);
}

// (count) -> 0
Napi::Value RingBinding::makeFileTable(const Napi::CallbackInfo& info) {
  const uint32_t count = info[0].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), ring_ != nullptr ? ring_->makeFileTable(count) : -EBADF);
}

// (index, fd | -1) -> 0
Napi::Value RingBinding::setFile(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const int fd = info[1].As<Napi::Number>().Int32Value();
  return Napi::Number::New(info.Env(), ring_ != nullptr ? ring_->setFile(index, fd) : -EBADF);
}

// (count, bytes each) -> group
Napi::Value RingBinding::addBufferGroup(const Napi::CallbackInfo& info) {
  const uint32_t count = info[0].As<Napi::Number>().Uint32Value();
  const uint32_t bytes = info[1].As<Napi::Number>().Uint32Value();
  const int result = ring_ != nullptr ? ring_->addBufferGroup(count, bytes) : -EBADF;
  return Napi::Number::New(info.Env(), result);
}

// (group) -> 0; EBUSY while an operation uses it
Napi::Value RingBinding::removeBufferGroup(const Napi::CallbackInfo& info) {
  const auto group = static_cast<uint16_t>(info[0].As<Napi::Number>().Uint32Value());
  const int result = ring_ != nullptr ? ring_->removeBufferGroup(group) : -EBADF;
  return Napi::Number::New(info.Env(), result);
}

// (group) -> an ArrayBuffer over all its buffers, undefined when there is no such group
Napi::Value RingBinding::viewOfBufferGroup(const Napi::CallbackInfo& info) {
  const auto number = static_cast<uint16_t>(info[0].As<Napi::Number>().Uint32Value());
  const BufferGroup* group = ring_ != nullptr ? ring_->bufferGroup(number) : nullptr;
  return group != nullptr ? makeView(info.Env(), group->data()) : info.Env().Undefined();
}

Napi::Value RingBinding::close(const Napi::CallbackInfo& info) {
  const bool idle = ring_ == nullptr || (ring_->inFlight() == 0 && gathered_ == 0);
  if (idle) shutDown();
  return Napi::Boolean::New(info.Env(), idle);
}

Napi::Value RingBinding::supports(const Napi::CallbackInfo& info) {
  const auto opcode = static_cast<uint8_t>(info[0].As<Napi::Number>().Uint32Value());
  return Napi::Boolean::New(info.Env(), ring_ != nullptr && ring_->supports(opcode));
}

Napi::Value RingBinding::setTracing(const Napi::CallbackInfo& info) {
  if (ring_ != nullptr) ring_->setTracing(info[0].As<Napi::Boolean>().Value());
  return info.Env().Undefined();
}

// () -> the SQEs handed to the kernel since tracing was turned on or last taken, as it saw them.
Napi::Value RingBinding::takeTrace(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (ring_ == nullptr) return out;
  uint32_t index = 0;
  for (const Ring::Traced& traced : ring_->trace()) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("enterCall", static_cast<double>(traced.enterCall));
    entry.Set("opcode", traced.opcode);
    entry.Set("flags", traced.flags);
    entry.Set("fd", traced.fd);
    entry.Set("offset", static_cast<double>(traced.offset));
    entry.Set("address", static_cast<double>(traced.address));
    entry.Set("length", traced.length);
    entry.Set("opFlags", traced.opFlags);
    entry.Set("ioprio", traced.ioprio);
    out.Set(index++, entry);
  }
  ring_->clearTrace();
  return out;
}

Napi::Value RingBinding::stats(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object out = Napi::Object::New(env);
  out.Set("inFlight", ring_ != nullptr ? static_cast<double>(ring_->inFlight()) : 0);
  out.Set("kernelOverflow", ring_ != nullptr ? ring_->kernelOverflowCount() : 0);
  return out;
}

Napi::Function RingBinding::define(Napi::Env env) {
  return DefineClass(env, "RingBinding",
                     {
                         InstanceMethod<&RingBinding::submit>("submit"),
                         InstanceMethod<&RingBinding::flush>("flush"),
                         InstanceMethod<&RingBinding::reap>("reap"),
                         InstanceMethod<&RingBinding::runTaskWork>("runTaskWork"),
                         InstanceMethod<&RingBinding::close>("close"),
                         InstanceMethod<&RingBinding::supports>("supports"),
                         InstanceMethod<&RingBinding::setTracing>("setTracing"),
                         InstanceMethod<&RingBinding::takeTrace>("takeTrace"),
                         InstanceMethod<&RingBinding::stats>("stats"),
                         InstanceMethod<&RingBinding::cancel>("cancel"),
                         InstanceMethod<&RingBinding::wait>("wait"),
                         InstanceMethod<&RingBinding::recycleBuffers>("recycleBuffers"),
                         InstanceMethod<&RingBinding::holdOpen>("holdOpen"),
                         InstanceMethod<&RingBinding::makeBufferTable>("makeBufferTable"),
                         InstanceMethod<&RingBinding::registerBuffer>("registerBuffer"),
                         InstanceMethod<&RingBinding::unregisterBuffer>("unregisterBuffer"),
                         InstanceMethod<&RingBinding::makeFileTable>("makeFileTable"),
                         InstanceMethod<&RingBinding::setFile>("setFile"),
                         InstanceMethod<&RingBinding::addBufferGroup>("addBufferGroup"),
                         InstanceMethod<&RingBinding::removeBufferGroup>("removeBufferGroup"),
                         InstanceMethod<&RingBinding::viewOfBufferGroup>("viewOfBufferGroup"),
                     });
}

}  // namespace

void exportRing(Napi::Env env, Napi::Object exports) {
  exports.Set("RingBinding", RingBinding::define(env));
}

}  // namespace riolog::binding

// Keeps a thread's event loop from sleeping while something is awaited that comes soon.
#include <sched.h>

#include "addon.h"
#include "uv_handle.h"

namespace riolog::binding {

namespace {

// As long as an idle handle is active, libuv asks the kernel for events and does not wait for them
// (docs.libuv.org, "The I/O loop"): sockets, timers and the ring are served as ever. Between two
// rounds the CPU is given to whoever wants it (sched_yield(2)). Without that the kernel worker on
// which a write by RWF_DSYNC depends waits for the scheduler's next tick: 4 ms a commit on Linux
// 6.18 at 250 Hz.
class BusyPoll : public Napi::ObjectWrap<BusyPoll> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit BusyPoll(const Napi::CallbackInfo& info);
  ~BusyPoll() override;
  void onEnvironmentEnd();

 private:
  using Idle = LoopHandle<BusyPoll, uv_idle_s>;
  void start(const Napi::CallbackInfo& info);
  static void onIdle(uv_idle_s* idle);
  void shutDown();
  void stop();
  bool isWanted();

  Idle* idle_ = nullptr;
  // Words that JavaScript shares: BUSY_POLL in src/native.ts.
  Napi::Reference<Napi::ArrayBuffer> area_;
  uint32_t* wanted_ = nullptr;   // changes with each wish; 0: none
  uint32_t* running_ = nullptr;  // set by JavaScript, which then calls start; cleared here
  uint32_t seen_ = 0;
  uint64_t limitNs_ = 0;
  uint64_t until_ = 0;
};

constexpr size_t kWords = 2;

// (area of two 32-bit words, most microseconds for a wish)
BusyPoll::BusyPoll(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BusyPoll>(info) {
  auto area = info[0].As<Napi::ArrayBuffer>();
  int error = EINVAL;
  if (area.ByteLength() >= kWords * sizeof(uint32_t)) {
    idle_ = Idle::open(info.Env(), kUvIdleType, this, uv_idle_init, &error);
  }
  if (idle_ == nullptr) {
    Napi::Error::New(info.Env(), "uv_idle_init").ThrowAsJavaScriptException();
    return;
  }
  area_ = Napi::Persistent(area);
  wanted_ = static_cast<uint32_t*>(area.Data());
  running_ = wanted_ + 1;
  limitNs_ = uint64_t{info[1].As<Napi::Number>().Uint32Value()} * 1000;
}

// (): until nothing is wanted any more.
void BusyPoll::start(const Napi::CallbackInfo&) {
  if (idle_ != nullptr) uv_idle_start(idle_->get(), onIdle);
}

bool BusyPoll::isWanted() {
  if (*wanted_ == 0) return false;
  if (*wanted_ != seen_) {
    seen_ = *wanted_;
    until_ = uv_hrtime() + limitNs_;
    return true;
  }
  return uv_hrtime() < until_;
}

void BusyPoll::onIdle(uv_idle_s* idle) {
  BusyPoll* self = Idle::ownerOf(idle);
  if (self == nullptr) return;
  if (self->isWanted()) {
    sched_yield();
  } else {
    self->stop();
  }
}

void BusyPoll::stop() {
  uv_idle_stop(idle_->get());
  *running_ = 0;
}

void BusyPoll::shutDown() {
  if (idle_ == nullptr) return;
  uv_idle_stop(idle_->get());
  idle_->close();
  idle_ = nullptr;
}

void BusyPoll::onEnvironmentEnd() { shutDown(); }

BusyPoll::~BusyPoll() { shutDown(); }

Napi::Function BusyPoll::define(Napi::Env env) {
  return DefineClass(env, "BusyPoll", {InstanceMethod<&BusyPoll::start>("start")});
}

}  // namespace

void exportBusyPoll(Napi::Env env, Napi::Object exports) {
  exports.Set("BusyPoll", BusyPoll::define(env));
}

}  // namespace riolog::binding

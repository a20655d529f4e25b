#include "addon.h"

namespace riolog::binding {

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonData());
  exportMemory(env, exports);
  exportFraming(env, exports);
  exportFiles(env, exports);
  exportBusyPoll(env, exports);
#if defined(__linux__)
  exportSockets(env, exports);
  exportRing(env, exports);
#endif
  return exports;
}

}  // namespace

NODE_API_MODULE(riolog, initialize)

}  // namespace riolog::binding

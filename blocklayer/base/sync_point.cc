// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/sync_point.h"

#ifndef NDEBUG

#include <atomic>
#include <map>

#include "blocklayer/base/sync.h"

namespace chainfs {
namespace {

struct SyncPointHooks {
  std::atomic<int> count = 0;  // of all; without any a point costs one load
  Mutex mu;
  std::map<std::string, std::function<void()>, std::less<>> by_point GUARDED_BY(mu);
};

SyncPointHooks& AllSyncPointHooks() {
  static SyncPointHooks hooks;
  return hooks;
}

}  // namespace

SyncPointHook::SyncPointHook(std::string_view point, std::function<void()> action) : point_(point) {
  SyncPointHooks& hooks = AllSyncPointHooks();
  const MutexLock lock(hooks.mu);
  hooks.by_point[point_] = std::move(action);
  ++hooks.count;
}

SyncPointHook::~SyncPointHook() {
  SyncPointHooks& hooks = AllSyncPointHooks();
  const MutexLock lock(hooks.mu);
  hooks.by_point.erase(point_);
  --hooks.count;
}

void SyncPointHook::Pass(std::string_view point) {
  SyncPointHooks& hooks = AllSyncPointHooks();
  if (hooks.count.load(std::memory_order_acquire) == 0) return;
  std::function<void()> action;
  {
    const MutexLock lock(hooks.mu);
    const auto found = hooks.by_point.find(point);
    if (found == hooks.by_point.end()) return;
    action = found->second;
  }
  action();
}

}  // namespace chainfs

#endif

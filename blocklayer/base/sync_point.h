// SPDX-License-Identifier: Apache-2.0
//
// Sync points: named places in the code at which a test can halt a thread, in order to force a race
// that would otherwise be met once in a million runs. They exist in builds of type Debug (presets
// dev, clang, asan, tsan, debug); where NDEBUG is defined CHAINFS_SYNC_POINT is nothing.
//
// Threads: a hook is called on the thread that passes the point, with whatever locks that one holds
// there, by several threads at once if several pass. What it calls must not need those locks.
#pragma once

#ifndef NDEBUG

#include <functional>
#include <string>
#include <string_view>

// Names are "class.method.what-was-just-done".
#define CHAINFS_SYNC_POINT(name) ::chainfs::SyncPointHook::Pass(name)

namespace chainfs {

// Calls `action` whenever a thread passes the point, as long as the object lives. One hook per
// point at a time. It outlives every thread that may be in its action.
class SyncPointHook {
 public:
  SyncPointHook(std::string_view point, std::function<void()> action);
  ~SyncPointHook();
  SyncPointHook(const SyncPointHook&) = delete;
  SyncPointHook& operator=(const SyncPointHook&) = delete;

  static void Pass(std::string_view point);

 private:
  const std::string point_;
};

}  // namespace chainfs

#else

#define CHAINFS_SYNC_POINT(name) static_cast<void>(0)

#endif

// SPDX-License-Identifier: Apache-2.0
//
// Keeper: what has to happen beside the serving of requests. It says when the mount serves (by
// using it once), and every few seconds flushes disks that were changed (written, zeroed,
// discarded, resized), until nothing waits: FUSE tells a daemon nothing of sync(2), so this is what
// bounds the loss of a guest that never calls fsync, and gives the space of what it discarded back.
//
// Threads: Start and Stop belong to the main thread; the rest is a thread of its own.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "blocklayer/base/sync.h"
#include "fusefs/mount_state.h"

namespace chainfs::fusefs {

class Keeper {
 public:
  // `ready` runs once, on the keeper's thread.
  Keeper(MountState& state, std::function<void()> ready);
  ~Keeper();

  void Start();
  void Stop() EXCLUDES(mu_);

 private:
  void Loop();
  // False when it is time to stop.
  bool Pause() EXCLUDES(mu_);
  void FlushChanged();

  MountState& state_;
  const std::function<void()> ready_;
  std::map<uint64_t, std::chrono::steady_clock::time_point> failed_;  // by inode: when, lately

  Mutex mu_;
  CondVar stopped_;
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace chainfs::fusefs

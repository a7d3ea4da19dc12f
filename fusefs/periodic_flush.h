// SPDX-License-Identifier: Apache-2.0
//
// PeriodicFlush: every few seconds flushes disks that were changed (written, zeroed, discarded,
// resized), until nothing waits. FUSE tells a daemon nothing of sync(2), so this is what bounds the
// loss of a guest that never calls fsync, and gives the space of what it discarded back.
//
// Threads: Start and Stop belong to the main thread; the rest is a thread of its own.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <thread>

#include "blocklayer/base/sync.h"
#include "ctl/control/served_disks.h"

namespace chainfs::fusefs {

class PeriodicFlush {
 public:
  // After how long a changed disk is flushed, and one whose flush has failed.
  struct Intervals {
    std::chrono::milliseconds flush{5000};
    // A flush that fails (no space) reports that each time, so it is not tried as often.
    std::chrono::milliseconds retry{30000};
  };

  // `disks` must outlive this.
  PeriodicFlush(const control::ServedDisks& disks, Intervals intervals)
      : disks_(disks), intervals_(intervals) {}
  ~PeriodicFlush();

  void Start();
  void Stop() EXCLUDES(mu_);

 private:
  using Time = std::chrono::steady_clock::time_point;

  void Loop();
  // False when it is time to stop.
  bool Pause() EXCLUDES(mu_);
  void FlushChanged();

  const control::ServedDisks& disks_;
  const Intervals intervals_;
  // When a flush of it failed lately. Of those that are gone, nothing is kept alive.
  std::map<std::weak_ptr<control::ServedDisk>, Time, std::owner_less<>> failed_;

  Mutex mu_;
  CondVar stopped_;
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace chainfs::fusefs

// SPDX-License-Identifier: Apache-2.0
//
// Convergence: whether a copy catches up with those who write what it copies: the least that was
// left to copy within some seconds must be less than within those before.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "blocklayer/base/sync.h"

namespace chainfs::jobs {

class Convergence {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kWindow{10};

  // `left` bytes are to be copied at `now`. True when it has just turned out that it does not catch
  // up.
  bool Look(Time now, uint64_t left) EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    least_ = std::min(least_, left);
    if (begin_ == Time()) begin_ = now;
    if (now - begin_ < kWindow) return false;
    const bool lags = least_ > 0 && least_ >= before_;
    before_ = least_;
    least_ = left;
    begin_ = now;
    return lags_.exchange(lags, std::memory_order_relaxed) != lags && lags;
  }
  bool lags() const { return lags_.load(std::memory_order_relaxed); }

 private:
  Mutex mu_;  // a leaf
  Time begin_ GUARDED_BY(mu_);
  uint64_t least_ GUARDED_BY(mu_) = UINT64_MAX;   // within this window
  uint64_t before_ GUARDED_BY(mu_) = UINT64_MAX;  // within the one before
  std::atomic<bool> lags_ = false;
};

}  // namespace chainfs::jobs

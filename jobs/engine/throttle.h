// SPDX-License-Identifier: Apache-2.0
//
// Throttle: a limit in bytes per second. A chunk is charged in full before it starts, and what it
// did not copy is given back after it, so that several lanes together never run ahead of the limit
// by more than one chunk. Credit is kept for one slice (100 ms) at most: a pause earns no burst.
//
// Threads: none; the owner locks.
#pragma once

#include <chrono>
#include <cstdint>

namespace chainfs::jobs {

class Throttle {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kSlice{100};

  uint64_t speed() const { return speed_; }  // 0: no limit
  void SetSpeed(uint64_t bytes_per_second, Time now);
  bool MayStart(Time now) const { return speed_ == 0 || next_ <= now; }
  // When MayStart becomes true.
  Time ready_at() const { return next_; }
  void Charge(uint64_t bytes, Time now);
  void Refund(uint64_t bytes);

 private:
  std::chrono::steady_clock::duration Cost(uint64_t bytes) const;

  uint64_t speed_ = 0;
  Time next_;
};

}  // namespace chainfs::jobs

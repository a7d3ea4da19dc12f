// SPDX-License-Identifier: Apache-2.0
//
// Throttle: a limit in bytes a second. A chunk is charged in full before it starts, and what it did
// not copy is given back after it, so that several lanes together never run ahead of the limit by
// more than one chunk. Credit is kept for one slice (100 ms) at most: a pause earns no burst.
//
// RateMeter: how fast a job has gone in the last few seconds, and when it will be done.
//
// Threads: none; the owner locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

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

class RateMeter {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Forgets what was before: after a pause old samples say nothing.
  void Restart(uint64_t progress, uint64_t copied, Time now);
  // Both count from the start of the job.
  void Add(uint64_t progress, uint64_t copied, Time now);
  // Copied bytes a second; 0 until that can be told.
  uint64_t Rate() const;
  // Seconds until `left` more bytes of progress; nothing until that can be told.
  std::optional<uint64_t> Eta(uint64_t left) const;

 private:
  struct Sample {
    Time time;
    uint64_t progress;
    uint64_t copied;
  };
  std::optional<double> PerSecond(uint64_t Sample::* what) const;

  std::deque<Sample> samples_;
};

}  // namespace chainfs::jobs

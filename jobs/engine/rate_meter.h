// SPDX-License-Identifier: Apache-2.0
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

class RateMeter {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Forgets what was before: after a pause old samples say nothing.
  void Restart(uint64_t progress, uint64_t copied, Time now);
  // Both count from the start of the job.
  void Add(uint64_t progress, uint64_t copied, Time now);
  // Copied bytes per second; 0 until that can be told.
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

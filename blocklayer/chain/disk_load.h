// SPDX-License-Identifier: Apache-2.0
//
// DiskLoad: what the users of one disk did to it since it was opened, and whether they had to wait
// lately: background work then keeps out of the way. Counters only; relaxed atomics, so a reader
// sees each number right but not all of one instant.
//
// Threads: any.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>

namespace chainfs {

// Latencies in buckets of powers of two: bucket i counts what took less than 2^i microseconds, the
// last one everything longer.
class LatencyCounts {
 public:
  static constexpr size_t kBuckets = 25;  // up to 8.4 s, then the rest

  void Add(std::chrono::nanoseconds duration, uint64_t bytes) {
    const auto ns = static_cast<uint64_t>(duration.count());
    const auto bucket = static_cast<size_t>(std::bit_width(ns / 1000));
    counts_[bucket < kBuckets ? bucket : kBuckets - 1].fetch_add(1, std::memory_order_relaxed);
    total_ns_.fetch_add(ns, std::memory_order_relaxed);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }

  uint64_t count(size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }
  uint64_t total_ns() const { return total_ns_.load(std::memory_order_relaxed); }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t operations() const {
    uint64_t sum = 0;
    for (const std::atomic<uint64_t>& count : counts_) sum += count.load(std::memory_order_relaxed);
    return sum;
  }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> counts_ = {};
  std::atomic<uint64_t> total_ns_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
};

struct DiskLoad {
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  // A read or write that takes longer than this makes a guest wait noticeably.
  static constexpr std::chrono::milliseconds kSlow{10};
  // How long one of them counts.
  static constexpr std::chrono::milliseconds kLately{250};

  // Whether a user of the disk had to wait lately.
  bool UsersWait(Time now) const {
    return now.time_since_epoch().count() < slow_until.load(std::memory_order_relaxed);
  }
  void NoteLatency(Time began, Time ended) {
    if (ended - began < kSlow) return;
    slow_until.store((ended + kLately).time_since_epoch().count(), std::memory_order_relaxed);
  }

  alignas(64) LatencyCounts reads;
  alignas(64) LatencyCounts writes;
  alignas(64) LatencyCounts flushes;
  std::atomic<uint64_t> errors = 0;  // requests that failed, counted by who answers them
  std::atomic<Time::rep> slow_until = Time::min().time_since_epoch().count();
};

// Adds the time of its own life to one of the counts of `load`.
class LatencyTimer {
 public:
  LatencyTimer(DiskLoad& load, LatencyCounts DiskLoad::* counts, uint64_t bytes)
      : load_(load), counts_(counts), bytes_(bytes) {}
  ~LatencyTimer() {
    const DiskLoad::Time end = DiskLoad::Clock::now();
    (load_.*counts_).Add(end - start_, bytes_);
    // A flush is slow by nature.
    if (counts_ != &DiskLoad::flushes) load_.NoteLatency(start_, end);
  }
  LatencyTimer(const LatencyTimer&) = delete;
  LatencyTimer& operator=(const LatencyTimer&) = delete;

 private:
  DiskLoad& load_;
  LatencyCounts DiskLoad::* const counts_;
  const uint64_t bytes_;
  const DiskLoad::Time start_ = DiskLoad::Clock::now();
};

}  // namespace chainfs

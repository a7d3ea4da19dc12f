// SPDX-License-Identifier: Apache-2.0
//
// ChangeCount: how many changes of a disk's contents there were, and how many of them a flush has
// covered; and the time of the last one.
//
// Threads: any.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

namespace chainfs {

class ChangeCount {
 public:
  // A change was made, or failed half-way: counted after it, so that a flush which began before the
  // change was made never covers it.
  void Add() { changes_.fetch_add(1, std::memory_order_release); }
  uint64_t Get() const { return changes_.load(std::memory_order_acquire); }
  // A flush that began when Get() was `count` has succeeded.
  void Covered(uint64_t count) {
    uint64_t covered = flushed_.load(std::memory_order_relaxed);
    while (covered < count && !flushed_.compare_exchange_weak(covered, count)) {
    }
  }
  bool AnyUnflushed() const { return Get() != flushed_.load(std::memory_order_acquire); }

  // Seconds and nanoseconds.
  timespec modified() const {
    const int64_t ns = modified_ns_.load(std::memory_order_relaxed);
    const int64_t seconds = ns / kPerSecond - (ns % kPerSecond < 0 ? 1 : 0);
    return {.tv_sec = seconds, .tv_nsec = ns - seconds * kPerSecond};
  }
  void SetModified(const timespec& time) {
    modified_ns_.store(time.tv_sec * kPerSecond + time.tv_nsec, std::memory_order_relaxed);
  }
  void SetModifiedNow() {
    timespec now = {};
    ::clock_gettime(CLOCK_REALTIME, &now);
    SetModified(now);
  }

 private:
  static constexpr int64_t kPerSecond = 1'000'000'000;

  std::atomic<uint64_t> changes_ = 0;
  std::atomic<uint64_t> flushed_ = 0;
  std::atomic<int64_t> modified_ns_ = 0;
};

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
//
// WrittenEnd: the byte of an image file beyond which nothing was ever written, so that all of it
// reads as zeros.
//
// Threads: Get, any thread. Note: one at a time, under the lock of the image's tables.
#pragma once

#include <atomic>
#include <cstdint>

namespace chainfs::qcow2 {

class WrittenEnd {
 public:
  uint64_t Get() const { return end_.load(std::memory_order_acquire); }
  // Something was, or may be, written up to `end`.
  void Note(uint64_t end) {
    if (end > end_.load(std::memory_order_relaxed)) end_.store(end, std::memory_order_release);
  }

 private:
  std::atomic<uint64_t> end_ = 0;
};

}  // namespace chainfs::qcow2

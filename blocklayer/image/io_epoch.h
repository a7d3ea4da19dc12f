// SPDX-License-Identifier: Apache-2.0
//
// IoEpoch: lets an allocator learn, without making anybody wait, that all I/O which could have seen
// an old mapping has ended. The two-counter scheme: I/O counts itself in under the current parity;
// TryAdvance flips the parity once nobody is left under the other. A cluster dereferenced in epoch
// n may be reused when epoch() >= n + 2.
//
// Threads: any. Enter never blocks; two atomic operations.
#pragma once

#include <atomic>
#include <cstdint>

namespace chainfs {

class IoEpoch {
 public:
  class Guard {
   public:
    explicit Guard(std::atomic<uint64_t>* counter) : counter_(counter) {}
    Guard(Guard&& other) noexcept : counter_(other.counter_) { other.counter_ = nullptr; }
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (counter_ != nullptr) counter_->fetch_sub(1, std::memory_order_acq_rel);
    }

   private:
    std::atomic<uint64_t>* counter_;
  };

  // I/O that maps and then uses host offsets happens under a guard.
  Guard Enter() {
    for (;;) {
      const uint64_t seen = epoch_.load(std::memory_order_seq_cst);
      std::atomic<uint64_t>& counter = active_[seen & 1];
      counter.fetch_add(1, std::memory_order_seq_cst);
      if (epoch_.load(std::memory_order_seq_cst) == seen) return Guard(&counter);
      counter.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  uint64_t epoch() const { return epoch_.load(std::memory_order_seq_cst); }

  // Moves to the next epoch if no I/O of the previous one is left. One caller at a time.
  bool TryAdvance() {
    const uint64_t now = epoch_.load(std::memory_order_seq_cst);
    if (active_[(now + 1) & 1].load(std::memory_order_seq_cst) != 0) return false;
    epoch_.store(now + 1, std::memory_order_seq_cst);
    return true;
  }

 private:
  std::atomic<uint64_t> epoch_ = 0;
  alignas(64) std::atomic<uint64_t> active_[2] = {0, 0};
};

}  // namespace chainfs

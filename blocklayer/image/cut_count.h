// SPDX-License-Identifier: Apache-2.0
//
// CutCount: lets whoever looked at an image learn whether it was made shorter meanwhile. What was
// within it when he began may lie past its end by then, and is to be looked at again. Sizes alone
// do not tell: it may have grown back.
//
// Threads: any; one Cut at a time.
#pragma once

#include <atomic>
#include <cstdint>

namespace chainfs {

class CutCount {
 public:
  // Lives from before an image gets shorter until after it.
  class Cut {
   public:
    explicit Cut(CutCount& count) : count_(count.ends_) { count_.fetch_add(1); }
    ~Cut() { count_.fetch_add(1); }
    Cut(const Cut&) = delete;
    Cut& operator=(const Cut&) = delete;

   private:
    std::atomic<uint64_t>& count_;
  };

  uint64_t Get() const { return ends_.load(); }
  // Whether a cut began, ended or lasted since Get() gave `count`.
  bool AnySince(uint64_t count) const {
    const uint64_t now = Get();
    return now != count || now % 2 != 0;
  }

 private:
  std::atomic<uint64_t> ends_ = 0;  // both ends of each cut: odd while one is under way
};

}  // namespace chainfs

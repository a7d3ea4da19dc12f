// SPDX-License-Identifier: Apache-2.0
//
// RangeLock: exclusive locks on ranges of guest bytes. It orders everything that changes the
// mapping of a cluster: first writes, discards, zeroing, and the copies of jobs. In-place
// overwrites and reads do not take it.
//
// Threads: any. A thread holds at most one range of one RangeLock at a time. Held across I/O.
#pragma once

#include <cstdint>
#include <list>

#include "blocklayer/base/sync.h"
#include "blocklayer/base/types.h"

namespace chainfs {

class RangeLock {
 public:
  class Holder {
   public:
    // Waits until no held range overlaps [offset, offset + length).
    Holder(RangeLock& lock, GuestOffset offset, uint64_t length)
        : lock_(lock), held_(lock.Acquire(offset.value, offset.value + length)) {}
    ~Holder() { lock_.Release(held_); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

   private:
    friend class RangeLock;
    struct Range {
      uint64_t begin;
      uint64_t end;
    };
    RangeLock& lock_;
    std::list<Range>::iterator held_;
  };

 private:
  using Ranges = std::list<Holder::Range>;

  Ranges::iterator Acquire(uint64_t begin, uint64_t end) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    while (Overlaps(begin, end)) released_.Wait(mu_);
    return ranges_.insert(ranges_.end(), {begin, end});
  }
  void Release(Ranges::iterator held) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    ranges_.erase(held);
    released_.NotifyAll();
  }
  bool Overlaps(uint64_t begin, uint64_t end) const REQUIRES(mu_) {
    for (const Holder::Range& range : ranges_) {
      if (begin < range.end && range.begin < end) return true;
    }
    return false;
  }

  Mutex mu_;
  CondVar released_;
  Ranges ranges_ GUARDED_BY(mu_);
};

}  // namespace chainfs

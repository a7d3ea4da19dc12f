// SPDX-License-Identifier: Apache-2.0
//
// The kernel's page cache of a disk beside direct I/O. README.md, "Two ways in", has the rules and
// the reason for each; here is what is remembered for one disk; the fence that direct writes
// pass is in direct_write_fence.h.
//
// Requests tell by themselves what they are, on every kernel: a direct read or write names its
// lock owner, one that fills a page of the cache or comes from there names none.
//
// Invariants: FS-12 to FS-14 (README.md).
#pragma once

#include <atomic>
#include <cstdint>

#include "blocklayer/base/sync.h"

namespace chainfs::fusefs {

enum class WayIn : uint8_t {
  kCached,  // through the page cache; O_DIRECT is then the kernel's own affair
  kDirect,  // FOPEN_DIRECT_IO
};

// Threads: all methods, any thread.
class PageCache {
 public:
  // Decides how an opener goes in, and counts it until Leave. Waits up to 50 ms for openers of the
  // other way who have closed the file: the kernel tells of that a moment after their close().
  WayIn Enter(bool wants_direct, bool writes) EXCLUDES(mu_);
  // For `-o direct_io`: kDirect whoever is there.
  void EnterDirect() EXCLUDES(mu_);
  void Leave(WayIn way, bool writes) EXCLUDES(mu_);

  // Before the disk is touched for a request that fills a page.
  void Filled() { fills_.fetch_add(1); }
  // Whether there may be pages, asked after the disk was written.
  bool MayHoldPages() const { return fills_.load() != dropped_.load(); }
  uint64_t fills() const { return fills_.load(); }
  // All pages were dropped after fills() was `fills`.
  void Dropped(uint64_t fills) { dropped_.store(fills); }
  bool HasCachedOpeners() const EXCLUDES(mu_);

 private:
  // Whether openers of the other way keep such an opener from its own.
  bool Barred(bool wants_direct, bool writes) const REQUIRES(mu_) {
    return wants_direct ? cached_writers_ > 0 : writes && directs_ > 0;
  }

  std::atomic<uint64_t> fills_ = 0;
  std::atomic<uint64_t> dropped_ = 0;  // pages of earlier fills are gone; written by one thread

  mutable Mutex mu_;
  CondVar left_;
  int cached_readers_ GUARDED_BY(mu_) = 0;
  int cached_writers_ GUARDED_BY(mu_) = 0;
  int directs_ GUARDED_BY(mu_) = 0;
};

}  // namespace chainfs::fusefs

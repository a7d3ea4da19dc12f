// SPDX-License-Identifier: Apache-2.0
#include "fusefs/page_cache.h"

#include <chrono>

namespace chainfs::fusefs {
namespace {

constexpr std::chrono::milliseconds kPatience{50};

}  // namespace

WayIn PageCache::Enter(bool wants_direct, bool writes) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  const MutexLock lock(mu_);
  while (Barred(wants_direct, writes)) {
    if (!left_.WaitUntil(mu_, deadline)) break;
  }
  const bool direct = wants_direct != Barred(wants_direct, writes);
  if (direct) {
    ++directs_;
    return WayIn::kDirect;
  }
  ++(writes ? cached_writers_ : cached_readers_);
  return WayIn::kCached;
}

void PageCache::EnterDirect() {
  const MutexLock lock(mu_);
  ++directs_;
}

void PageCache::Leave(WayIn way, bool writes) {
  {
    const MutexLock lock(mu_);
    --(way == WayIn::kDirect ? directs_ : writes ? cached_writers_ : cached_readers_);
  }
  left_.NotifyAll();
}

bool PageCache::HasCachedOpeners() const {
  const MutexLock lock(mu_);
  return cached_readers_ + cached_writers_ > 0;
}

}  // namespace chainfs::fusefs

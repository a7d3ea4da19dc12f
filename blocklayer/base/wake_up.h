// SPDX-License-Identifier: Apache-2.0
//
// WakeUp: tells whoever looks after the catalog that another look (Catalog::Rescan) would find
// something that no file of the host tells of: a layer that nobody reads as a backing layer any
// more, an image that was closed after writing.
//
// Threads: all methods, any thread. Call may come with any lock held, from destructors, too, so
// what it calls must be quick, must not block, and must not call back into the block layer. Set
// returns when no call of the old function is under way any more.
#pragma once

#include <functional>
#include <utility>

#include "blocklayer/base/sync.h"

namespace chainfs {

class WakeUp {
 public:
  // Empty: nobody is told.
  void Set(std::function<void()> call) EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    call_.swap(call);
  }
  void Call() EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    if (call_) call_();
  }

 private:
  Mutex mu_;  // a leaf, but for what is called
  std::function<void()> call_ GUARDED_BY(mu_);
};

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
//
// PublishedChain: the list of layers that a disk has now. Readers take it as it is when they start
// and keep it alive until they end.
//
// Threads: all methods, any thread. mu_ is a leaf, held only to copy or swap the pointer.
#pragma once

#include <memory>
#include <utility>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/chain.h"

namespace chainfs {

class PublishedChain {
 public:
  ChainPtr Get() const EXCLUDES(mu_) {
    const ReaderLock lock(mu_);
    return chain_;
  }
  // `chain` takes the next generation.
  void Publish(std::shared_ptr<Chain> chain) EXCLUDES(mu_) {
    // The last holder of the old list may close files: not under the lock.
    ChainPtr old;
    const WriterLock lock(mu_);
    chain->generation = chain_ ? chain_->generation + 1 : 0;
    old = std::move(chain_);
    chain_ = std::move(chain);
    if (old) old->next = chain_;
  }

 private:
  mutable SharedMutex mu_;
  ChainPtr chain_ GUARDED_BY(mu_);
};

}  // namespace chainfs

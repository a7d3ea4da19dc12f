// SPDX-License-Identifier: Apache-2.0
//
// WriteGate: every change of a disk passes it, shared with the others, for its whole I/O; whoever
// must have the disk quiet (a switch of the active layer, growth, an end of writing) closes it: new
// changes then wait, and those under way are waited for. Closing says so first, because the lock
// itself would let those who pass keep the closer out for ever.
//
// Threads: any. Taken before everything that writing an image takes; mu_ is never held while taking
// another lock. One who passes must not close, nor pass again.
#pragma once

#include <atomic>
#include <cstdint>

#include "blocklayer/base/sync.h"

namespace chainfs {

class CAPABILITY("write gate") WriteGate {
 public:
  void Pass() ACQUIRE_SHARED() NO_THREAD_SAFETY_ANALYSIS {
    WaitUntilNobodyCloses();
    lock_.LockShared();
  }
  void Leave() RELEASE_SHARED() NO_THREAD_SAFETY_ANALYSIS { lock_.UnlockShared(); }

  void Close() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS {
    {
      const MutexLock lock(mu_);
      closing_.fetch_add(1, std::memory_order_seq_cst);
    }
    lock_.Lock();
  }
  void Open() RELEASE() NO_THREAD_SAFETY_ANALYSIS {
    lock_.Unlock();
    const MutexLock lock(mu_);
    closing_.fetch_sub(1, std::memory_order_seq_cst);
    opened_.NotifyAll();
  }

  // For the analysis only: the caller has closed it.
  void AssertClosed() const ASSERT_CAPABILITY(this) {}

  class SCOPED_CAPABILITY Passage {
   public:
    explicit Passage(WriteGate& gate) ACQUIRE_SHARED(gate) : gate_(gate) { gate_.Pass(); }
    ~Passage() RELEASE_GENERIC() { gate_.Leave(); }
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;

   private:
    WriteGate& gate_;
  };

  class SCOPED_CAPABILITY Closure {
   public:
    explicit Closure(WriteGate& gate) ACQUIRE(gate) : gate_(gate) { gate_.Close(); }
    ~Closure() RELEASE() { gate_.Open(); }
    Closure(const Closure&) = delete;
    Closure& operator=(const Closure&) = delete;

   private:
    WriteGate& gate_;
  };

 private:
  void WaitUntilNobodyCloses() EXCLUDES(mu_) {
    if (closing_.load(std::memory_order_seq_cst) == 0) return;
    const MutexLock lock(mu_);
    while (closing_.load(std::memory_order_seq_cst) != 0) opened_.Wait(mu_);
  }

  std::atomic<uint32_t> closing_ = 0;  // how many want it exclusively; changed under mu_
  Mutex mu_;
  CondVar opened_;
  SharedMutex lock_;
};

}  // namespace chainfs

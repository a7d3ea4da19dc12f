// SPDX-License-Identifier: Apache-2.0
//
// TurnMutex: the lock of the catalog, which scans and changes of chains hold across their I/O. A
// scan holds it for long, so it lets those go first who wait for a Turn.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>

#include "blocklayer/base/sync.h"

namespace chainfs {

class CAPABILITY("mutex") TurnMutex : public Mutex {
 public:
  // For code of which only its caller knows that it holds the mutex.
  void AssertHeld() const ASSERT_CAPABILITY(this) {}
  // Lets go of the mutex until those who wait for a Turn have had it, or for as long as patience
  // lasts. Whether anybody was waiting: then everything that it guards may be different.
  bool LetOthersIn() REQUIRES(this);

 private:
  friend class Turn;
  std::atomic<uint32_t> waiting_ = 0;
};

// The mutex for somebody who does not want to wait for a whole scan.
class SCOPED_CAPABILITY Turn {
 public:
  explicit Turn(TurnMutex& mu) ACQUIRE(mu) : mu_(mu) {
    ++mu.waiting_;
    mu.Lock();
    --mu.waiting_;
  }
  ~Turn() RELEASE() { mu_.Unlock(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  TurnMutex& mu_;
};

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
//
// ReadTaps: the read taps of one disk. Without any, telling them costs a reader one load; with
// some, it never waits, neither for other readers nor for a change of the list.
//
// How: readers walk a list of links under a guard of an epoch. Whoever removes a tap takes it out
// of the list, and waits until no reader is left who may have found it there.
//
// Threads: Tell any; Add and Remove any, one after the other. mu_ is held while readers that are
// just telling taps are waited for; these take no lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/base/types.h"
#include "blocklayer/chain/read_tap.h"
#include "blocklayer/image/io_epoch.h"

namespace chainfs {

class ReadTaps {
 public:
  ReadTaps() = default;
  ReadTaps(const ReadTaps&) = delete;
  ReadTaps& operator=(const ReadTaps&) = delete;

  void Tell(GuestOffset offset, uint64_t length) {
    if (first_.load(std::memory_order_relaxed) != nullptr) TellAll(offset, length);
  }

  // From the return on, `tap` is told of every read that ends after it, until it is removed.
  void Add(std::shared_ptr<ReadTap> tap) EXCLUDES(mu_);
  // On return nobody calls it any more. Fine when it is not there. Needs no memory.
  void Remove(const ReadTap& tap) noexcept EXCLUDES(mu_);

 private:
  struct Link {
    std::shared_ptr<ReadTap> tap;
    std::atomic<Link*> next;
  };

  void TellAll(GuestOffset offset, uint64_t length);
  void WaitForReaders() REQUIRES(mu_);

  std::atomic<Link*> first_ = nullptr;
  IoEpoch readers_;
  Mutex mu_;
  std::vector<std::unique_ptr<Link>> links_ GUARDED_BY(mu_);  // owns them, in no order
};

}  // namespace chainfs

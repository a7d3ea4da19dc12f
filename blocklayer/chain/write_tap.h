// SPDX-License-Identifier: Apache-2.0
//
// WriteTap: what a job hangs into a disk to see every change of its contents: before it (a backup
// saves what is about to go), after it (a mirror notes what it must copy again).
//
// Threads: called by whoever changes the disk, many at once, overlapping ranges in no order. While
// a tap is called the disk's write gate is passed, so neither the active layer nor the set of taps
// changes; a tap must therefore not change this disk, nor hang up or take down taps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"

namespace chainfs {

class WriteTap {
 public:
  virtual ~WriteTap() = default;

  // The range, in bytes, is about to change: the disk still shows what it showed. May do I/O, for
  // which the writer waits. An error fails the change, and nothing is written; all taps that were
  // told hear AfterChange then, too. Growth is a change of what lies past the old end.
  virtual Status BeforeChange(GuestOffset /*offset*/, uint64_t /*length*/) { return {}; }
  // The same range has changed; all of it, a part, or nothing when the change failed, also for want
  // of memory. So it may need none itself.
  virtual void AfterChange(GuestOffset /*offset*/, uint64_t /*length*/) noexcept {}
};

// The taps of one disk. Belongs to its write gate: changed with the gate closed, used by who
// passes.
class WriteTaps {
 public:
  bool empty() const { return taps_.empty(); }
  void Add(std::shared_ptr<WriteTap> tap) { taps_.push_back(std::move(tap)); }
  // Null when it is not among them.
  std::shared_ptr<WriteTap> Remove(const WriteTap& tap) {
    const auto found = std::ranges::find(taps_, &tap, &std::shared_ptr<WriteTap>::get);
    if (found == taps_.end()) return nullptr;
    std::shared_ptr<WriteTap> gone = std::move(*found);
    taps_.erase(found);
    return gone;
  }
  // Calls `change`, as Status(), between the two calls of every tap.
  template <typename Change>
  Status Around(GuestOffset offset, uint64_t length, const Change& change) const {
    if (taps_.empty()) return change();
    Told told(*this, offset, length);
    Status status;
    while (status && told.count < taps_.size()) {
      status = taps_[told.count++]->BeforeChange(offset, length);
    }
    return status ? change() : status;
  }

 private:
  // Those that were told of a change hear of its end, however it ends.
  struct Told {
    Told(const WriteTaps& whose, GuestOffset from, uint64_t bytes)
        : taps(whose), offset(from), length(bytes) {}
    ~Told() {
      for (size_t i = 0; i < count; ++i) taps.taps_[i]->AfterChange(offset, length);
    }
    Told(const Told&) = delete;
    Told& operator=(const Told&) = delete;

    const WriteTaps& taps;
    const GuestOffset offset;
    const uint64_t length;
    size_t count = 0;
  };

  std::vector<std::shared_ptr<WriteTap>> taps_;
};

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
//
// Quarantine: where a cluster that was durably dereferenced waits until all I/O that could have
// seen the old mapping has ended (Q2-3). It comes out two epochs of the image's IoEpoch later.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace chainfs::qcow2 {

class Quarantine {
 public:
  // Their dereferences became durable in `epoch`; one number for each reference.
  void Add(std::span<const uint64_t> clusters, uint64_t epoch);
  // Those that nobody can need any more in epoch `now`, sorted; they are no longer held here.
  std::vector<uint64_t> TakeReleasable(uint64_t now);
  bool empty() const { return held_.empty(); }

 private:
  struct Held {
    uint64_t cluster;
    uint64_t epoch;
  };
  std::vector<Held> held_;
};

}  // namespace chainfs::qcow2

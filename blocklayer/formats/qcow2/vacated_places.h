// SPDX-License-Identifier: Apache-2.0
//
// VacatedPlaces: places of an external data file, by cluster number, that an L2 entry has let go of
// and that were not looked at since. One may be taken and let go of again before that: it waits as
// often as it was let go of, and only the last time counts.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

namespace chainfs::qcow2 {

class VacatedPlaces {
 public:
  void Add(std::span<const uint64_t> clusters) {
    for (const uint64_t cluster : clusters) ++waiting_[cluster];
  }
  // Once for each of them, which was added before.
  void Remove(std::span<const uint64_t> clusters) {
    for (const uint64_t cluster : clusters) {
      const auto found = waiting_.find(cluster);
      if (found != waiting_.end() && --found->second == 0) waiting_.erase(found);
    }
  }
  bool Waits(uint64_t cluster) const { return waiting_.contains(cluster); }

 private:
  std::unordered_map<uint64_t, uint32_t> waiting_;
};

}  // namespace chainfs::qcow2

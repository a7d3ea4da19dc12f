// SPDX-License-Identifier: Apache-2.0
//
// ClusterSet: which host clusters hold metadata. Sorted runs; 16 bytes per run.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace chainfs::qcow2 {

class ClusterSet {
 public:
  struct Run {
    uint64_t first = 0;
    uint64_t count = 0;
  };

  // What Make would keep of so many runs at most.
  static uint64_t MemoryOf(uint64_t runs) { return runs * sizeof(Run); }

  ClusterSet() = default;
  // Nothing where two runs overlap; `overlap` is then a cluster that both hold.
  static std::optional<ClusterSet> Make(std::vector<Run> runs, uint64_t& overlap);

  // Whether it holds any of them.
  bool Contains(uint64_t first, uint64_t count) const;
  // In any order, also what it holds or does not hold. At the end Add costs next to nothing.
  void Add(uint64_t first, uint64_t count);
  void Remove(uint64_t first, uint64_t count);

  uint64_t memory_bytes() const { return runs_.capacity() * sizeof(Run); }

 private:
  // The first run that ends past `cluster`.
  std::vector<Run>::const_iterator EndingPast(uint64_t cluster) const;

  std::vector<Run> runs_;  // sorted, apart from one another by at least one cluster
};

}  // namespace chainfs::qcow2

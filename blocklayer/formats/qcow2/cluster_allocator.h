// SPDX-License-Identifier: Apache-2.0
//
// ClusterAllocator: finds free clusters of one image and counts them as in use, lowest first.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstdint>

#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/refcount_growth.h"

namespace chainfs::qcow2 {

// Consecutive host clusters fresh from the allocator.
struct ClusterRun {
  uint64_t first = 0;  // cluster number
  uint64_t count = 0;
  bool beyond_file = false;  // never written since the file was made: reads as zeros already
};

class ClusterAllocator {
 public:
  // All that `parts` names, and `growth`, must outlive this.
  ClusterAllocator(const RefcountGrowth::Parts& parts, RefcountGrowth& growth,
                   const Geometry& geometry)
      : parts_(parts), growth_(growth), geometry_(geometry) {}

  // 1 to `want` consecutive clusters. kNoSpace: the file cannot grow. kCorrupt: what seems to be
  // free holds metadata.
  Result<ClusterRun> Allocate(uint64_t want);
  // The same, but only such as were never written since the file was made.
  Result<ClusterRun> AllocateUnused(uint64_t want);
  // Gives back clusters that were never linked. A failure is a leak, which is permitted.
  void Release(const ClusterRun& run);
  // A cluster for a table, zeroed on disk and known to hold metadata.
  Result<uint64_t> AllocateTable();
  // Exactly `count` consecutive clusters, for a table that only a header names.
  Result<uint64_t> AllocateContiguous(uint64_t count);

 private:
  // The first free ones from `cluster` on.
  Result<ClusterRun> AllocateFrom(uint64_t cluster, uint64_t want);

  const RefcountGrowth::Parts parts_;
  RefcountGrowth& growth_;
  const Geometry geometry_;
};

}  // namespace chainfs::qcow2

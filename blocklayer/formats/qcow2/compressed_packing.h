// SPDX-License-Identifier: Apache-2.0
//
// Where compressed clusters go within a run of host clusters, one behind the other.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/image/compression.h"

namespace chainfs::qcow2 {

// Host clusters that `bytes` compressed bytes at `host` touch, as an entry counts them.
struct TouchedClusters {
  uint64_t first = 0;
  uint64_t count = 0;
};
TouchedClusters TouchedBy(const Geometry& geometry, HostOffset host, uint64_t bytes);

struct CompressedPacking {
  std::vector<uint64_t> offsets;  // of the first clusters, as many as fit, from the run's start
  std::vector<uint64_t> users;    // of each host cluster that is used
  uint64_t bytes = 0;             // used of the run

  // In `run_clusters` host clusters. A host cluster has at most as many users as its refcount can
  // say. Of clusters that are each smaller than a host cluster, at least one fits.
  static CompressedPacking Make(const Geometry& geometry,
                                std::span<const CompressedCluster> clusters, uint64_t run_clusters);
};

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/compressed_packing.h"

namespace chainfs::qcow2 {

TouchedClusters TouchedBy(const Geometry& geometry, HostOffset host, uint64_t bytes) {
  const uint64_t first = geometry.ClusterOf(host);
  return {.first = first, .count = geometry.ClusterOf(host + (bytes - 1)) - first + 1};
}

CompressedPacking CompressedPacking::Make(const Geometry& geometry,
                                          std::span<const CompressedCluster> clusters,
                                          uint64_t run_clusters) {
  CompressedPacking packing;
  const uint64_t cluster_size = geometry.cluster_size();
  packing.users.assign(run_clusters, 0);
  for (const CompressedCluster& cluster : clusters) {
    uint64_t at = packing.bytes;
    // Of what is touched, only the first can have users already.
    const uint64_t first = at / cluster_size;
    if (first < run_clusters && packing.users[first] >= geometry.max_refcount()) {
      at = RoundUp(at, cluster_size);
    }
    const uint64_t end = at + cluster.bytes.size();
    if (end > run_clusters * cluster_size) break;
    for (uint64_t i = at / cluster_size; i * cluster_size < end; ++i) ++packing.users[i];
    packing.offsets.push_back(at);
    packing.bytes = end;
  }
  packing.users.resize(DivRoundUp(packing.bytes, cluster_size));
  return packing;
}

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_unsharer.h"

#include <span>
#include <utility>
#include <vector>

namespace chainfs::qcow2 {

Result<ClusterMapping> ClusterUnsharer::Unshare(GuestOffset cluster, const ClusterMapping& shared) {
  const Geometry& geometry = tables_.geometry();
  CHAINFS_ASSIGN(const ClusterRun run, tables_.clusters().Allocate(cluster, 1));
  ClusterMapping own = shared;
  own.host = geometry.HostOf(run.first);
  own.copied = true;
  Status status = CopyAllocated(shared, own.host);
  if (status) {
    const L2Entry entry = geometry.l2().WithSubclusters(own);
    status = tables_.l2().SetEntries(cluster, std::span(&entry, 1));
  }
  if (status) return own;
  tables_.clusters().ReleaseUnlinked(run);
  return std::unexpected(std::move(status).error());
}

Status ClusterUnsharer::CopyAllocated(const ClusterMapping& shared, HostOffset to) {
  const uint64_t subcluster_size = tables_.geometry().subcluster_size();
  std::vector<std::byte> data;
  for (uint32_t first = 0; first < kSubclusters;) {
    const uint32_t alike = shared.AlikeFrom(first);
    if (shared.KindOf(first) == ClusterKind::kNormal) {
      const uint64_t within = first * subcluster_size;
      data.resize(alike * subcluster_size);
      CHAINFS_TRY(file_.ReadZeroFilled(shared.host + within, data));
      CHAINFS_TRY(file_.WriteAt(to + within, data));
    }
    first += alike;
  }
  return {};
}

}  // namespace chainfs::qcow2

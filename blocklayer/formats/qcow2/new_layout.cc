// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/new_layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/header.h"

namespace chainfs::qcow2 {

Result<NewLayout> PlanNewLayout(const std::string& path, const Qcow2CreateOptions& options) {
  NewLayout layout;
  layout.geometry = Geometry{.version = options.version,
                             .cluster_bits = options.cluster_bits,
                             .refcount_order = options.refcount_order,
                             .extended_l2 = options.extended_l2};
  const Geometry& geometry = layout.geometry;
  const auto too_large = [&](const std::string& why) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: {} bytes is too large for {}-byte clusters: {}; take larger "
                            "clusters",
                            path, options.virtual_size, geometry.cluster_size(), why));
  };
  const uint64_t entries = geometry.L1EntriesFor(options.virtual_size);
  if (entries * 8 > kMaxHeaderL1Bytes) {
    return too_large(fmt::format("the L1 table may have 32 MiB, which maps {} bytes",
                                 kMaxHeaderL1Bytes / 8 * geometry.l2_span()));
  }
  layout.virtual_size = RoundUp(options.virtual_size, 512);
  // One entry even for an empty disk, so that there always is a table to point to.
  layout.l1_entries = static_cast<uint32_t>(std::max<uint64_t>(entries, 1));
  layout.l1_clusters = DivRoundUp(uint64_t{layout.l1_entries} * 8, geometry.cluster_size());
  if (options.preallocation != Preallocation::kOff) {
    layout.l2_tables = entries;
    layout.data_clusters = DivRoundUp(layout.virtual_size, geometry.cluster_size());
  }
  // The refcount blocks count themselves and their table: iterate until they suffice.
  for (;;) {
    layout.table_clusters = DivRoundUp(layout.blocks * 8, geometry.cluster_size());
    if (layout.table_clusters << geometry.cluster_bits > kMaxHeaderRefcountTableBytes) {
      return too_large("the refcount table may have 8 MiB, which does not count all of it");
    }
    layout.clusters = layout.first_data() + layout.data_clusters;
    const uint64_t needed = DivRoundUp(layout.clusters, geometry.refblock_entries());
    if (needed <= layout.blocks) break;
    layout.blocks = needed;
  }
  if (layout.clusters > kEntryOffsetMask >> geometry.cluster_bits) {
    return too_large("its places would lie beyond what an entry can say");
  }
  return layout;
}

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_growth.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/formats/qcow2/corruption.h"

namespace chainfs::qcow2 {

Status RefcountGrowth::AddBlock(uint64_t block_index) {
  if (block_index >= parts_.refcounts.table().size()) {
    CHAINFS_TRY(GrowTable(block_index, 0));
    return {};
  }
  const uint64_t cluster = block_index * geometry_.refblock_entries();
  const HostOffset host = geometry_.HostOf(cluster);
  if (parts_.overlap.Holds(cluster, 1)) {
    return CorruptEntry(parts_.file.path(), "refcount table: no block counts the metadata at",
                        host.value);
  }
  parts_.slices.Forget(cluster, 1);
  CHAINFS_TRY(parts_.file.ZeroRange(host, geometry_.cluster_size()));
  parts_.written_end.Note(host.value + geometry_.cluster_size());
  CHAINFS_TRY(parts_.refcounts.AddBlock(block_index));
  parts_.overlap.Add(cluster, 1);
  return {};
}

Status RefcountGrowth::WriteTable() {
  if (!parts_.pending.has_refcount_table_entries()) return {};
  CHAINFS_TRY(
      parts_.file.WriteAt(parts_.refcounts.table_offset(), parts_.refcounts.table().Encode()));
  CHAINFS_TRY(parts_.file.DataSync());
  parts_.pending.ForgetRefcountTable();
  return {};
}

RefcountGrowth::Area RefcountGrowth::PlanArea(uint64_t block_index, uint64_t extra_clusters) const {
  const uint64_t old_blocks = parts_.refcounts.table().size();
  const uint64_t per_cluster = geometry_.cluster_size() / 8;
  const uint64_t wanted = std::max(block_index + 1, old_blocks + old_blocks / 2) + 1;
  Area area;
  // The area must count its own table and blocks; a few rounds settle it.
  for (uint64_t size = 0;;) {
    area.table_clusters = DivRoundUp(wanted + area.blocks, per_cluster);
    area.blocks =
        std::max<uint64_t>(1, DivRoundUp(area.table_clusters + extra_clusters + area.blocks,
                                         geometry_.refblock_entries()));
    if (size == area.table_clusters + area.blocks) return area;
    size = area.table_clusters + area.blocks;
  }
}

// The new table, with the refcount blocks that count it and themselves, goes to the first cluster
// that the old one cannot count. All of it, and every refcount block that the new table names, is
// durable before one sector write of the header switches to it. A crash before that leaves bytes
// that nothing refers to.
Result<uint64_t> RefcountGrowth::GrowTable(uint64_t block_index, uint64_t extra_clusters) {
  const uint64_t entries = geometry_.refblock_entries();
  const uint64_t old_blocks = parts_.refcounts.table().size();
  const uint64_t start = old_blocks * entries;  // first cluster of the new area
  const uint64_t per_cluster = geometry_.cluster_size() / 8;
  const auto [table_clusters, blocks] = PlanArea(block_index, extra_clusters);
  const uint64_t in_use = table_clusters + extra_clusters + blocks;
  if (table_clusters * geometry_.cluster_size() > kMaxHeaderRefcountTableBytes) {
    return Fail(ErrorKind::kNoSpace,
                fmt::format("{}: the refcount table is at its largest; use larger clusters",
                            parts_.file.path()));
  }
  if (parts_.overlap.Holds(start, in_use)) {
    return CorruptEntry(parts_.file.path(), "refcount table: nothing counts the metadata near",
                        geometry_.HostOf(start).value);
  }

  parts_.slices.Forget(start, in_use);
  // The blocks that the table already names.
  CHAINFS_TRY(parts_.pending.WriteRefcounts(parts_.file));
  RefcountTable table = parts_.refcounts.table();
  table.Grow(table_clusters * per_cluster);
  for (uint64_t b = 0; b < blocks; ++b) {
    std::vector<std::byte> block(geometry_.cluster_size());
    for (uint64_t i = 0; i < entries && b * entries + i < in_use; ++i) {
      StoreRefcount(block.data(), i, geometry_.refcount_order, 1);
    }
    const HostOffset host = geometry_.HostOf(start + table_clusters + extra_clusters + b);
    CHAINFS_TRY(parts_.file.WriteAt(host, block));
    table.Set(old_blocks + b, host.value);
  }
  CHAINFS_TRY(parts_.file.WriteAt(geometry_.HostOf(start), table.Encode()));
  CHAINFS_TRY(parts_.file.DataSync());
  CHAINFS_TRY(parts_.header.ChangeSector([&, clusters = table_clusters](HeaderSector sector) {
    PutRefcountTable(sector, geometry_.HostOf(start), static_cast<uint32_t>(clusters));
  }));

  const uint64_t old_first = geometry_.ClusterOf(parts_.refcounts.table_offset());
  parts_.refcounts.MoveTable(std::move(table), geometry_.HostOf(start));
  parts_.written_end.Note(geometry_.HostOf(start + in_use).value);
  parts_.overlap.Add(start, table_clusters);
  parts_.overlap.Add(start + table_clusters + extra_clusters, blocks);
  parts_.dereferences.DropTable(old_first, old_blocks / per_cluster);
  return start + table_clusters;
}

}  // namespace chainfs::qcow2

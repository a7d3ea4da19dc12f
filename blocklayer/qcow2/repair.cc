// SPDX-License-Identifier: Apache-2.0
//
// Steps, each durable before the next: (1) COPIED flags set right, harmless while the dirty bit
// makes every opener repair first; (2) new blocks and table, in clusters that nothing refers to;
// (3) one sector write: refcount table offset, its size, and the incompatible feature bits. The old
// blocks and table are simply not counted by the new ones.
#include "blocklayer/qcow2/repair.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/endian.h"
#include "blocklayer/qcow2/header_update.h"
#include "blocklayer/qcow2/references.h"

namespace chainfs::qcow2 {
namespace {

Status WriteWord(File& file, HostOffset at, uint64_t value) {
  std::array<std::byte, 8> raw;
  StoreBigEndian(raw.data(), value);
  return file.WriteAt(at, raw);
}

uint64_t WithCopied(uint64_t entry, bool copied) {
  return copied ? entry | kEntryCopied : entry & ~kEntryCopied;
}

Status FixCopiedFlags(File& file, const Geometry& geometry, const Qcow2Header& header,
                      const References& references) {
  for (uint64_t i = 0; i < references.l1().size(); ++i) {
    const uint64_t l1 = references.l1()[i];
    const HostOffset table(l1 & kEntryOffsetMask);
    if (table.value == 0) continue;
    const uint64_t right = WithCopied(l1, references.count(geometry.ClusterOf(table)) == 1);
    if (right != l1) CHAINFS_TRY(WriteWord(file, header.l1_offset + i * 8, right));
    CHAINFS_ASSIGN(const std::vector<uint64_t> entries,
                   References::ReadTable(file, table, geometry.l2_entries()));
    for (uint64_t j = 0; j < entries.size(); ++j) {
      const ClusterMapping mapping = geometry.Decode(entries[j]);
      if (mapping.kind != ClusterKind::kNormal && mapping.kind != ClusterKind::kZeroAllocated) {
        continue;
      }
      const uint64_t entry =
          WithCopied(entries[j], references.count(geometry.ClusterOf(mapping.host)) == 1);
      if (entry != entries[j]) CHAINFS_TRY(WriteWord(file, table + j * 8, entry));
    }
  }
  return file.DataSync();
}

}  // namespace

Status RebuildRefcounts(File& file) {
  CHAINFS_ASSIGN(const Qcow2Header header, ReadQcow2Header(file));
  CHAINFS_ASSIGN(const References references, References::Count(file, header));
  const auto unrepairable = [&](std::string_view why) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: was not closed cleanly and cannot be repaired here ({}); use "
                            "qemu-img check -r all",
                            file.path(), why));
  };
  if (references.problem_count() > 0) return unrepairable(references.problems().front());
  const Geometry geometry{.version = header.version,
                          .cluster_bits = header.cluster_bits,
                          .refcount_order = header.refcount_order};
  CHAINFS_TRY(FixCopiedFlags(file, geometry, header, references));

  const uint64_t start = references.clusters();
  const uint64_t per_table_cluster = geometry.cluster_size() / 8;
  uint64_t table_clusters = 1;
  uint64_t blocks = 0;
  for (uint64_t needed = 1; blocks != needed;) {
    blocks = needed;
    table_clusters = DivRoundUp(blocks, per_table_cluster);
    needed = DivRoundUp(start + table_clusters + blocks, geometry.refblock_entries());
  }
  for (uint64_t b = 0; b < blocks; ++b) {
    std::vector<std::byte> block(geometry.cluster_size());
    for (uint64_t i = 0; i < geometry.refblock_entries(); ++i) {
      const uint64_t cluster = b * geometry.refblock_entries() + i;
      uint64_t count = 0;
      if (cluster < start) {
        count = references.count(cluster);
      } else if (cluster < start + table_clusters + blocks) {
        count = 1;
      }
      if (count > geometry.max_refcount()) return unrepairable("a cluster is shared too often");
      if (count != 0) StoreRefcount(block.data(), i, geometry.refcount_order, count);
    }
    CHAINFS_TRY(file.WriteAt(geometry.HostOf(start + table_clusters + b), block));
  }
  std::vector<std::byte> table(table_clusters * geometry.cluster_size());
  for (uint64_t b = 0; b < blocks; ++b) {
    StoreBigEndian(table.data() + b * 8, geometry.HostOf(start + table_clusters + b).value);
  }
  CHAINFS_TRY(file.WriteAt(geometry.HostOf(start), table));
  CHAINFS_TRY(file.DataSync());
  CHAINFS_TRY(UpdateFirstSector(file, [&](std::span<std::byte, 512> sector) {
    StoreBigEndian(sector.data() + kOffsetRefcountTable, geometry.HostOf(start).value);
    StoreBigEndian(sector.data() + kOffsetRefcountTableClusters,
                   static_cast<uint32_t>(table_clusters));
    StoreBigEndian(sector.data() + kOffsetIncompatible, header.incompatible & ~kIncompatibleDirty);
  }));
  return file.DataSync();
}

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
//
// Steps, each durable before the next: (1) COPIED flags set right, harmless while the dirty bit
// makes every opener repair first; (2) new blocks and table, in clusters that nothing refers to;
// (3) one sector write: refcount table offset, its size, and the incompatible feature bits. The old
// blocks and table are simply not counted by the new ones.
#include "blocklayer/formats/qcow2/repair.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/header_update.h"
#include "blocklayer/formats/qcow2/references.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

Status WriteL1Entry(File& file, HostOffset at, uint64_t value) {
  std::array<std::byte, 8> raw;
  StoreBigEndian(raw.data(), value);
  return file.WriteAt(at, raw);
}

Status CheckStop(const File& file, const ImageRepairControl& control) {
  if (control.stop == nullptr || !control.stop->load(std::memory_order_relaxed)) return {};
  return Fail(ErrorKind::kCancelled, fmt::format("{}: the repair was stopped", file.path()));
}

// Walks the tables a second time, which the first time has found to be sound.
Status FixCopiedFlags(File& file, const Geometry& geometry, const Qcow2Header& header,
                      const References& references, const ImageRepairControl& control) {
  const auto fix_l2 = [&](HostOffset table) -> Status {
    const L2Codec codec = geometry.l2();
    CHAINFS_ASSIGN(const std::vector<L2Entry> entries, ReadL2Table(file, geometry, table));
    for (uint64_t j = 0; j < entries.size(); ++j) {
      const ClusterMapping mapping = codec.Decode(entries[j]);
      if (!mapping.has_cluster()) continue;
      const bool copied =
          geometry.external_data || references.count(geometry.ClusterOf(mapping.host)) == 1;
      if (copied == mapping.copied) continue;
      std::array<std::byte, sizeof(L2Entry)> raw;
      codec.Store(raw.data(), 0, codec.WithCopied(entries[j], copied));
      CHAINFS_TRY(
          file.WriteAt(table + j * codec.entry_bytes(), std::span(raw).first(codec.entry_bytes())));
    }
    return {};
  };
  CHAINFS_TRY(ForEachL1Entry(
      file, header.l1_offset, header.l1_entries, [&](uint64_t i, uint64_t l1) -> Status {
        CHAINFS_TRY(CheckStop(file, control));
        if (control.percent)
          control.percent(static_cast<uint32_t>(50 + i * 50 / header.l1_entries));
        const HostOffset table(l1 & kEntryOffsetMask);
        if (table.value == 0) return {};
        const bool copied = references.count(geometry.ClusterOf(table)) == 1;
        const uint64_t right = copied ? l1 | kEntryCopied : l1 & ~kEntryCopied;
        if (right != l1) CHAINFS_TRY(WriteL1Entry(file, header.l1_offset + i * 8, right));
        return fix_l2(table);
      }));
  return file.DataSync();
}

// Where the new table and blocks go: behind everything, the table first.
struct RebuiltLayout {
  uint64_t start = 0;  // cluster
  uint64_t table_clusters = 1;
  std::vector<uint64_t> blocks;  // the numbers of those that count anything
  uint64_t end() const { return start + table_clusters + blocks.size(); }
};

RebuiltLayout PlanRebuiltLayout(const Geometry& geometry, const References& references) {
  RebuiltLayout layout{.start = references.clusters(),
                       .blocks = references.counts().Quotients(geometry.refblock_entries())};
  // What counts the new clusters needs blocks, too.
  for (uint64_t known_end = 0; known_end != layout.end();) {
    known_end = layout.end();
    for (uint64_t b = layout.start / geometry.refblock_entries();
         b <= (known_end - 1) / geometry.refblock_entries(); ++b) {
      if (b > layout.blocks.back()) layout.blocks.push_back(b);
    }
    layout.table_clusters = DivRoundUp(layout.blocks.back() + 1, geometry.cluster_size() / 8);
    // A table that no header may name: the caller refuses it.
    if (layout.table_clusters > kMaxHeaderRefcountTableBytes >> geometry.cluster_bits) break;
  }
  return layout;
}

Status WriteTables(File& file, const Geometry& geometry, const References& references,
                   const RebuiltLayout& layout, const ImageRepairControl& control) {
  std::vector<std::byte> table(layout.table_clusters * geometry.cluster_size());
  std::vector<std::byte> block(geometry.cluster_size());
  for (uint64_t b = 0; b < layout.blocks.size(); ++b) {
    CHAINFS_TRY(CheckStop(file, control));
    std::ranges::fill(block, std::byte{0});
    for (uint64_t i = 0; i < geometry.refblock_entries(); ++i) {
      const uint64_t cluster = layout.blocks[b] * geometry.refblock_entries() + i;
      if (cluster >= layout.end()) break;
      const uint64_t count = cluster < layout.start ? references.count(cluster) : 1;
      if (count > geometry.max_refcount()) {
        return Fail(ErrorKind::kCorrupt, "a cluster is shared too often");
      }
      if (count != 0) StoreRefcount(block.data(), i, geometry.refcount_order, count);
    }
    const HostOffset at = geometry.HostOf(layout.start + layout.table_clusters + b);
    CHAINFS_TRY(file.WriteAt(at, block));
    StoreBigEndian(table.data() + layout.blocks[b] * 8, at.value);
  }
  CHAINFS_TRY(file.WriteAt(geometry.HostOf(layout.start), table));
  return file.DataSync();
}

// What may be read, and a part of it written, for an image: a lot for an honest one, whose tables
// are a thousandth of what its file occupies, also where the host file system compresses.
constexpr uint64_t kTimes = 16;

Result<uint64_t> Budget(File& file) {
  constexpr uint64_t kAlways = 16ull << 20;
  CHAINFS_ASSIGN(const FileStat stat, file.Stat());
  return kTimes * kAlways + kTimes * std::min(stat.allocated_bytes, (UINT64_MAX >> 1) / kTimes);
}

}  // namespace

Status RebuildRefcounts(File& file, const ImageRepairControl& control) {
  constexpr uint64_t kCounterBytes = 24ull << 20;
  CHAINFS_ASSIGN(const Qcow2Header header, ReadQcow2Header(file));
  if (!header.dirty()) return {};
  CHAINFS_ASSIGN(const uint64_t budget, Budget(file));
  WalkLimits limits{.first_problem_only = true,
                    .max_table_bytes = budget,
                    .max_counter_bytes = kCounterBytes,
                    .stop = control.stop};
  if (control.percent) {
    limits.percent = [&](uint32_t percent) { control.percent(percent / 2); };
  }
  CHAINFS_ASSIGN(const References references, References::Count(file, header, limits));
  const auto unrepairable = [&](std::string_view why) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: was not closed cleanly and cannot be repaired here ({}); use "
                            "qemu-img check -r all",
                            file.path(), why));
  };
  if (references.problem_count() > 0) return unrepairable(references.problems().front());
  const Geometry geometry = header.geometry();
  const RebuiltLayout layout = PlanRebuiltLayout(geometry, references);
  const uint64_t table_bytes = layout.table_clusters << geometry.cluster_bits;
  if (table_bytes > std::max(kMaxHeaderRefcountTableBytes, geometry.cluster_size()) ||
      layout.end() > kEntryOffsetMask >> geometry.cluster_bits ||
      layout.blocks.size() > budget / kTimes >> geometry.cluster_bits) {
    return unrepairable("its clusters lie too far apart");
  }
  CHAINFS_TRY(FixCopiedFlags(file, geometry, header, references, control));
  if (Status written = WriteTables(file, geometry, references, layout, control); !written) {
    if (written.error().kind == ErrorKind::kCorrupt) return unrepairable(written.error().message);
    return written;
  }
  CHAINFS_TRY(UpdateFirstSector(file, [&](HeaderSector sector) {
    PutRefcountTable(sector, geometry.HostOf(layout.start),
                     static_cast<uint32_t>(layout.table_clusters));
    PutIncompatibleFeatures(sector, header.incompatible & ~kIncompatibleDirty);
  }));
  return file.DataSync();
}

}  // namespace chainfs::qcow2

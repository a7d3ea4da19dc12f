// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/references.h"

#include <fmt/format.h>

#include "blocklayer/formats/qcow2/metadata_extents.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

constexpr size_t kMaxProblems = 100;

}  // namespace

void References::Problem(std::string text) {
  ++problem_count_;
  if (problems_.size() < kMaxProblems) problems_.push_back(std::move(text));
}

void References::CountOne(std::string_view what, uint64_t cluster, uint32_t times) {
  if (counts_.Add(cluster, times)) return;
  if (counts_.Get(cluster) + uint64_t{times} > ReferenceCounts::kMaxCount) {
    Problem(fmt::format("{}: cluster {} is referred to too often", what, cluster));
  } else {
    out_of_memory_ = true;
  }
}

void References::Add(std::string_view what, uint64_t host, uint64_t clusters, uint32_t times) {
  if ((host & (geometry_.cluster_size() - 1)) != 0) {
    Problem(fmt::format("{} at {:#x} is not aligned", what, host));
    return;
  }
  const uint64_t first = host >> geometry_.cluster_bits;
  if (first >= counts_.clusters() || clusters > counts_.clusters() - first) {
    Problem(fmt::format("{} at {:#x} lies past the end of the file", what, host));
    return;
  }
  for (uint64_t i = 0; i < clusters && !out_of_memory_; ++i) CountOne(what, first + i, times);
}

void References::AddCompressed(const ClusterMapping& mapping, uint32_t times) {
  const uint64_t first = geometry_.ClusterOf(mapping.host);
  const uint64_t last = geometry_.ClusterOf(mapping.host + (mapping.compressed_bytes - 1));
  Add("compressed cluster", geometry_.HostOf(first).value, 1, times);
  // The last sector is an upper bound; it may lie past the end of the file.
  for (uint64_t cluster = first + 1; cluster <= last && cluster < counts_.clusters(); ++cluster) {
    CountOne("compressed cluster", cluster, times);
  }
}

Status References::CountL2(File& file, uint64_t cluster, GuestOffset guest, uint32_t times,
                           const WalkLimits& limits) {
  const HostOffset host = geometry_.HostOf(cluster);
  CHAINFS_ASSIGN(const std::vector<L2Entry> table, ReadL2Table(file, geometry_, host));
  for (uint64_t i = 0; i < table.size() && !out_of_memory_; ++i) {
    if (problem_count_ > 0 && limits.first_problem_only) break;
    const ClusterMapping mapping = geometry_.l2().Decode(table[i]);
    switch (mapping.kind) {
      case ClusterKind::kInvalid:
        Problem(fmt::format("L2 entry {} of the table at {:#x} is bad: {:#x}", i, host.value,
                            table[i].descriptor));
        break;
      case ClusterKind::kCompressed:
        AddCompressed(mapping, times);
        break;
      default:
        if (!mapping.has_cluster()) break;
        if (!geometry_.external_data) {
          Add("data cluster", mapping.host.value, 1, times);
        } else if (const GuestOffset own = guest + (i << geometry_.cluster_bits);
                   mapping.host.value != own.value) {
          Problem(
              fmt::format("guest offset {:#x} is mapped to {:#x} of the data file, not to the same",
                          own.value, mapping.host.value));
        }
        break;
    }
  }
  return {};
}

Status References::CheckLimits(const File& file, const WalkLimits& limits) const {
  if (limits.stop != nullptr && limits.stop->load(std::memory_order_relaxed)) {
    return Fail(ErrorKind::kCancelled, fmt::format("{}: the check was stopped", file.path()));
  }
  if (out_of_memory_) {
    return Fail(ErrorKind::kNoMemory,
                fmt::format("{}: too large to check here; use qemu-img check -r all", file.path()));
  }
  if (problem_count_ > 0 && limits.first_problem_only) {
    return Fail(ErrorKind::kCorrupt, problems_.front());
  }
  return {};
}

Status References::CountL1Entry(File& file, const L1Place& l1, uint64_t index, uint64_t entry,
                                const WalkLimits& limits) {
  CHAINFS_TRY(CheckLimits(file, limits));
  if ((entry & ~(kEntryOffsetMask | kEntryCopied)) != 0) {
    Problem(fmt::format("{} {} is bad: {:#x}", l1.what, index, entry));
    return {};
  }
  const uint64_t host = entry & kEntryOffsetMask;
  if (host == 0) return {};
  const uint64_t problems = problem_count_;
  const uint64_t cluster = host >> geometry_.cluster_bits;
  const bool exists = cluster < counts_.clusters();
  const uint32_t named = exists && has_snapshots_ ? table_counts_.Get(cluster) : 0;
  if (exists && counts_.Get(cluster) != named) {
    Problem(
        fmt::format("{} {} names cluster {}, which is in use already", l1.what, index, cluster));
  }
  Add("L2 table", host, 1);
  if (problem_count_ != problems) return {};
  if (named == 0) table_bytes_ += geometry_.cluster_size();
  if (table_bytes_ > limits.max_table_bytes) {
    Problem("it names more tables than its file can hold");
    return {};
  }
  if (has_snapshots_) {
    if (!table_counts_.Add(cluster)) out_of_memory_ = true;
    if (named == 0) tables_.push_back(cluster);
  } else {
    CHAINFS_TRY(CountL2(file, cluster, GuestOffset(index * geometry_.l2_span()), 1, limits));
  }
  return CheckLimits(file, limits);
}

Status References::CountL1(File& file, const L1Place& l1, const WalkLimits& limits) {
  return ForEachL1Entry(file, l1.offset, l1.entries, [&](uint64_t index, uint64_t entry) {
    if (limits.percent && !has_snapshots_) {
      limits.percent(static_cast<uint32_t>(index * 100 / l1.entries));
    }
    return CountL1Entry(file, l1, index, entry, limits);
  });
}

Status References::CountSharedTables(File& file, const Qcow2Header& header,
                                     const WalkLimits& limits) {
  const Result<uint64_t> walked = ForEachSnapshot(file, header, [&](const SnapshotEntry& snapshot) {
    return CountL1(file,
                   {.what = "L1 entry of a snapshot:",
                    .offset = snapshot.l1_offset,
                    .entries = snapshot.l1_entries},
                   limits);
  });
  if (!walked) return std::unexpected(walked.error());
  for (size_t i = 0; i < tables_.size(); ++i) {
    if (limits.percent) limits.percent(static_cast<uint32_t>(i * 100 / tables_.size()));
    CHAINFS_TRY(CountL2(file, tables_[i], GuestOffset(0), table_counts_.Get(tables_[i]), limits));
    CHAINFS_TRY(CheckLimits(file, limits));
  }
  return {};
}

Status References::CountAll(File& file, const Qcow2Header& header, const WalkLimits& limits) {
  const auto clusters = [&](uint64_t bytes) { return DivRoundUp(bytes, geometry_.cluster_size()); };
  Add("header", 0, 1);
  Add("L1 table", header.l1_offset.value, clusters(uint64_t{header.l1_entries} * 8));
  Status known = ForEachMetadataExtent(file, header, [&](const MetadataExtent& extent) -> Status {
    Add(extent.what, extent.host.value, clusters(extent.bytes));
    return CheckLimits(file, limits);
  });
  if (!known && known.error().kind == ErrorKind::kCorrupt && problem_count_ == 0) {
    Problem(known.error().message);
  }
  CHAINFS_TRY(std::move(known));
  CHAINFS_TRY(
      CountL1(file, {.what = "L1 entry", .offset = header.l1_offset, .entries = header.l1_entries},
              limits));
  return has_snapshots_ ? CountSharedTables(file, header, limits) : Status();
}

Result<References> References::Count(File& file, const Qcow2Header& header,
                                     const WalkLimits& limits) {
  const Geometry geometry = header.geometry();
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  References references(geometry, DivRoundUp(size, geometry.cluster_size()),
                        header.snapshot_count > 0, limits);
  const Status walked = references.CountAll(file, header, limits);
  if (!walked && walked.error().kind != ErrorKind::kCorrupt) return std::unexpected(walked.error());
  return references;
}

}  // namespace chainfs::qcow2

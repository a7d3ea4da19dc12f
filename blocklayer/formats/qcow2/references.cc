// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/references.h"

#include <fmt/format.h>

#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

constexpr size_t kMaxProblems = 100;

}  // namespace

void References::Problem(std::string text) {
  ++problem_count_;
  if (problems_.size() < kMaxProblems) problems_.push_back(std::move(text));
}

void References::CountOne(std::string_view what, uint64_t cluster) {
  if (counts_.Add(cluster)) return;
  if (counts_.Get(cluster) == ReferenceCounts::kMaxCount) {
    Problem(fmt::format("{}: cluster {} is referred to too often", what, cluster));
  } else {
    out_of_memory_ = true;
  }
}

void References::Add(std::string_view what, uint64_t host, uint64_t clusters) {
  if ((host & (geometry_.cluster_size() - 1)) != 0) {
    Problem(fmt::format("{} at {:#x} is not aligned", what, host));
    return;
  }
  const uint64_t first = host >> geometry_.cluster_bits;
  if (first >= counts_.clusters() || clusters > counts_.clusters() - first) {
    Problem(fmt::format("{} at {:#x} lies past the end of the file", what, host));
    return;
  }
  for (uint64_t i = 0; i < clusters && !out_of_memory_; ++i) CountOne(what, first + i);
}

void References::AddCompressed(const ClusterMapping& mapping) {
  const uint64_t first = geometry_.ClusterOf(mapping.host);
  const uint64_t last = geometry_.ClusterOf(mapping.host + (mapping.compressed_bytes - 1));
  Add("compressed cluster", geometry_.HostOf(first).value, 1);
  // The last sector is an upper bound; it may lie past the end of the file.
  for (uint64_t cluster = first + 1; cluster <= last && cluster < counts_.clusters(); ++cluster) {
    CountOne("compressed cluster", cluster);
  }
}

Status References::CountL2(File& file, uint64_t l1_index, HostOffset host,
                           const WalkLimits& limits) {
  CHAINFS_ASSIGN(const std::vector<L2Entry> table, ReadL2Table(file, geometry_, host));
  for (uint64_t i = 0; i < table.size() && !out_of_memory_; ++i) {
    if (problem_count_ > 0 && limits.first_problem_only) break;
    const ClusterMapping mapping = geometry_.l2().Decode(table[i]);
    switch (mapping.kind) {
      case ClusterKind::kInvalid:
        Problem(
            fmt::format("L2 entry {} of table {} is bad: {:#x}", i, l1_index, table[i].descriptor));
        break;
      case ClusterKind::kCompressed:
        AddCompressed(mapping);
        break;
      default:
        if (mapping.has_cluster()) Add("data cluster", mapping.host.value, 1);
        break;
    }
  }
  return {};
}

Status References::CountL1Entry(File& file, uint64_t index, uint64_t entry,
                                const WalkLimits& limits) {
  if (limits.stop != nullptr && limits.stop->load(std::memory_order_relaxed)) {
    return Fail(ErrorKind::kCancelled, fmt::format("{}: the check was stopped", file.path()));
  }
  if (limits.progress) limits.progress(index);
  if (problem_count_ > 0 && limits.first_problem_only) {
    return Fail(ErrorKind::kCorrupt, problems_.front());
  }
  if ((entry & ~(kEntryOffsetMask | kEntryCopied)) != 0) {
    Problem(fmt::format("L1 entry {} is bad: {:#x}", index, entry));
    return {};
  }
  const uint64_t host = entry & kEntryOffsetMask;
  if (host == 0) return {};
  const uint64_t problems = problem_count_;
  const uint64_t cluster = host >> geometry_.cluster_bits;
  if (cluster < counts_.clusters() && counts_.Get(cluster) != 0) {
    Problem(fmt::format("L1 entry {} names cluster {}, which is in use already", index, cluster));
  }
  Add("L2 table", host, 1);
  if (problem_count_ != problems) return {};
  if (table_bytes_ > limits.max_table_bytes) {
    Problem("it names more tables than its file can hold");
    return {};
  }
  table_bytes_ += geometry_.cluster_size();
  CHAINFS_TRY(CountL2(file, index, HostOffset(host), limits));
  if (!out_of_memory_) return {};
  return Fail(ErrorKind::kNoMemory,
              fmt::format("{}: too large to check here; use qemu-img check -r all", file.path()));
}

Result<References> References::Count(File& file, const Qcow2Header& header,
                                     const WalkLimits& limits) {
  if (header.snapshot_count > 0 || header.has_bitmaps) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: has internal snapshots or bitmaps, which cannot be checked here; "
                            "use qemu-img check",
                            file.path()));
  }
  const Geometry geometry = header.geometry();
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  References references(geometry, DivRoundUp(size, geometry.cluster_size()), limits);
  references.Add("header", 0, 1);
  const uint64_t l1_bytes = uint64_t{header.l1_entries} * 8;
  references.Add("L1 table", header.l1_offset.value, DivRoundUp(l1_bytes, geometry.cluster_size()));
  const Status walked = ForEachL1Entry(file, header.l1_offset, header.l1_entries,
                                       [&](uint64_t index, uint64_t entry) {
                                         return references.CountL1Entry(file, index, entry, limits);
                                       });
  if (!walked && walked.error().kind != ErrorKind::kCorrupt) return std::unexpected(walked.error());
  return references;
}

}  // namespace chainfs::qcow2

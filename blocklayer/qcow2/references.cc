// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/qcow2/references.h"

#include <fmt/format.h>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kMaxCounterBytes = 512ull << 20;
constexpr size_t kMaxProblems = 100;

}  // namespace

void References::Problem(std::string text) {
  ++problem_count_;
  if (problems_.size() < kMaxProblems) problems_.push_back(std::move(text));
}

void References::Add(std::string_view what, uint64_t host, uint64_t clusters) {
  if ((host & (geometry_.cluster_size() - 1)) != 0) {
    Problem(fmt::format("{} at {:#x} is not aligned", what, host));
    return;
  }
  const uint64_t first = host >> geometry_.cluster_bits;
  if (first >= counts_.size() || clusters > counts_.size() - first) {
    Problem(fmt::format("{} at {:#x} lies past the end of the file", what, host));
    return;
  }
  for (uint64_t i = 0; i < clusters; ++i) ++counts_[first + i];
}

Result<std::vector<uint64_t>> References::ReadTable(File& file, HostOffset host, uint64_t entries) {
  std::vector<std::byte> raw(entries * 8);
  CHAINFS_TRY(file.ReadZeroFilled(host, raw));
  std::vector<uint64_t> table(entries);
  for (uint64_t i = 0; i < entries; ++i) table[i] = LoadBigEndian<uint64_t>(raw.data() + i * 8);
  return table;
}

Status References::CountL2(File& file, uint64_t l1_index, HostOffset host) {
  CHAINFS_ASSIGN(const std::vector<uint64_t> table, ReadTable(file, host, geometry_.l2_entries()));
  for (uint64_t i = 0; i < table.size(); ++i) {
    const ClusterMapping mapping = geometry_.Decode(table[i]);
    switch (mapping.kind) {
      case ClusterKind::kInvalid:
        Problem(fmt::format("L2 entry {} of table {} is bad: {:#x}", i, l1_index, table[i]));
        break;
      case ClusterKind::kNormal:
      case ClusterKind::kZeroAllocated:
        Add("data cluster", mapping.host.value, 1);
        break;
      case ClusterKind::kCompressed: {
        const uint64_t first = geometry_.ClusterOf(mapping.host);
        const uint64_t last = geometry_.ClusterOf(mapping.host + (mapping.compressed_bytes - 1));
        // The last sector is an upper bound; it may lie past the end of the file.
        Add("compressed cluster", geometry_.HostOf(first).value, 1);
        for (uint64_t cluster = first + 1; cluster <= last; ++cluster) {
          if (cluster < counts_.size()) ++counts_[cluster];
        }
        break;
      }
      default:
        break;
    }
  }
  return {};
}

Result<References> References::Count(File& file, const Qcow2Header& header) {
  if (header.snapshot_count > 0 || header.has_bitmaps) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: has internal snapshots or bitmaps, which cannot be checked here; "
                            "use qemu-img check",
                            file.path()));
  }
  References references({.version = header.version,
                         .cluster_bits = header.cluster_bits,
                         .refcount_order = header.refcount_order});
  const Geometry& geometry = references.geometry_;
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  const uint64_t clusters = DivRoundUp(size, geometry.cluster_size());
  if (clusters > kMaxCounterBytes / sizeof(uint32_t)) {
    return Fail(ErrorKind::kNoMemory,
                fmt::format("{}: too large to check here; use qemu-img check", file.path()));
  }
  references.counts_.resize(clusters);
  references.Add("header", 0, 1);
  const uint64_t l1_bytes = uint64_t{header.l1_entries} * 8;
  references.Add("L1 table", header.l1_offset.value, DivRoundUp(l1_bytes, geometry.cluster_size()));
  CHAINFS_ASSIGN(references.l1_, ReadTable(file, header.l1_offset, header.l1_entries));
  for (uint64_t i = 0; i < references.l1_.size(); ++i) {
    const uint64_t host = references.l1_[i] & kEntryOffsetMask;
    if ((references.l1_[i] & ~(kEntryOffsetMask | kEntryCopied)) != 0) {
      references.Problem(fmt::format("L1 entry {} is bad: {:#x}", i, references.l1_[i]));
      continue;
    }
    if (host == 0) continue;
    const uint64_t problems = references.problem_count();
    references.Add("L2 table", host, 1);
    if (references.problem_count() == problems) {
      CHAINFS_TRY(references.CountL2(file, i, HostOffset(host)));
    }
  }
  return references;
}

}  // namespace chainfs::qcow2

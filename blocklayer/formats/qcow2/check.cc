// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/check.h"

#include <fmt/format.h>

#include "blocklayer/formats/qcow2/references.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs {
namespace qcow2 {
namespace {

constexpr uint64_t kMaxClusters = 1ull << 27;

// The refcounts on disk, block by block.
class RefcountReader {
 public:
  RefcountReader(File& file, const Geometry& geometry, std::vector<uint64_t> table)
      : file_(file), geometry_(geometry), table_(std::move(table)) {}

  Result<uint64_t> Get(uint64_t cluster) {
    const uint64_t block = cluster / geometry_.refblock_entries();
    if (block >= table_.size() || (table_[block] & kRefcountOffsetMask) == 0) return uint64_t{0};
    if (block != loaded_) {
      bytes_.resize(geometry_.cluster_size());
      CHAINFS_TRY(file_.ReadZeroFilled(HostOffset(table_[block] & kRefcountOffsetMask), bytes_));
      loaded_ = block;
    }
    return LoadRefcount(bytes_.data(), cluster % geometry_.refblock_entries(),
                        geometry_.refcount_order);
  }

 private:
  File& file_;
  const Geometry geometry_;
  const std::vector<uint64_t> table_;
  uint64_t loaded_ = UINT64_MAX;
  std::vector<std::byte> bytes_;
};

Status CheckCopiedFlags(File& file, const Geometry& geometry, const Qcow2Header& header,
                        References& references, RefcountReader& refcounts) {
  const auto check = [&](std::string_view what, uint64_t entry, bool copied,
                         uint64_t host) -> Status {
    const uint64_t cluster = host >> geometry.cluster_bits;
    if (cluster >= references.clusters()) return {};
    CHAINFS_ASSIGN(const uint64_t refcount, refcounts.Get(cluster));
    if (copied != (refcount == 1)) {
      references.Problem(
          fmt::format("{} {:#x}: COPIED flag disagrees with refcount {}", what, entry, refcount));
    }
    return {};
  };
  return ForEachL1Entry(
      file, header.l1_offset, header.l1_entries, [&](uint64_t, uint64_t l1) -> Status {
        const uint64_t table = l1 & kEntryOffsetMask;
        if (table == 0 || table % geometry.cluster_size() != 0) return {};
        CHAINFS_TRY(check("L1 entry", l1, (l1 & kEntryCopied) != 0, table));
        CHAINFS_ASSIGN(const std::vector<L2Entry> entries,
                       ReadL2Table(file, geometry, HostOffset(table)));
        for (const L2Entry entry : entries) {
          const ClusterMapping mapping = geometry.l2().Decode(entry);
          if (mapping.has_cluster()) {
            CHAINFS_TRY(check("L2 entry", entry.descriptor, mapping.copied, mapping.host.value));
          }
        }
        return {};
      });
}

}  // namespace
}  // namespace qcow2

Result<Qcow2CheckReport> CheckQcow2(File& file) {
  CHAINFS_ASSIGN(const qcow2::Qcow2Header header, qcow2::ReadQcow2Header(file));
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  if (size >> header.cluster_bits > qcow2::kMaxClusters) {
    return Fail(ErrorKind::kNoMemory,
                fmt::format("{}: too large to check here; use qemu-img check", file.path()));
  }
  CHAINFS_ASSIGN(qcow2::References references, qcow2::References::Count(file, header, {}));
  const qcow2::Geometry geometry = header.geometry();
  references.Add("refcount table", header.refcount_table_offset.value,
                 header.refcount_table_clusters);
  CHAINFS_ASSIGN(
      std::vector<uint64_t> table,
      qcow2::ReadTable(file, header.refcount_table_offset,
                       uint64_t{header.refcount_table_clusters} * geometry.cluster_size() / 8));
  for (uint64_t& entry : table) {
    if (entry == 0) continue;
    const uint64_t problems = references.problem_count();
    references.Add("refcount block", entry, 1);
    if (references.problem_count() != problems) entry = 0;
  }
  qcow2::RefcountReader refcounts(file, geometry, std::move(table));
  Qcow2CheckReport report;
  for (uint64_t cluster = 0; cluster < references.clusters(); ++cluster) {
    CHAINFS_ASSIGN(const uint64_t refcount, refcounts.Get(cluster));
    const uint64_t expected = references.count(cluster);
    if (refcount > expected) {
      ++report.leaks;
    } else if (refcount < expected) {
      references.Problem(
          fmt::format("cluster {}: refcount {}, references {}", cluster, refcount, expected));
    }
  }
  CHAINFS_TRY(qcow2::CheckCopiedFlags(file, geometry, header, references, refcounts));
  report.corruptions = references.problem_count();
  report.messages = references.problems();
  return report;
}

}  // namespace chainfs

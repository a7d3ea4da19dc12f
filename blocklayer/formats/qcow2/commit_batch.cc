// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/commit_batch.h"

#include <algorithm>
#include <span>

namespace chainfs::qcow2 {
namespace {

Status WriteSlices(File& file, const std::vector<CommitBatch::Slice>& slices, uint64_t end) {
  for (const CommitBatch::Slice& slice : slices) {
    const uint64_t length = std::min<uint64_t>(slice.bytes.size(), end - slice.offset.value);
    CHAINFS_TRY(file.WriteAt(slice.offset, std::span(slice.bytes).first(length)));
  }
  return {};
}

Status WriteSectors(File& file, HostOffset table, const std::set<uint64_t>& sectors,
                    std::span<const std::byte> bytes) {
  for (const uint64_t sector : sectors) {
    CHAINFS_TRY(file.WriteAt(table + sector * kTableSector, bytes.first(kTableSector)));
    bytes = bytes.subspan(kTableSector);
  }
  return {};
}

}  // namespace

Status CommitBatch::Write(File& file, File& data) const {
  CHAINFS_TRY(WriteSlices(file, refcounts, UINT64_MAX));
  if (&data != &file) CHAINFS_TRY(data.DataSync());
  if (!empty()) CHAINFS_TRY(file.DataSync());

  if (!reftable_sectors.empty()) {
    CHAINFS_TRY(WriteSectors(file, reftable_offset, reftable_sectors, reftable_bytes));
    CHAINFS_TRY(file.DataSync());
  }

  if (!l2.empty() || !l1.empty()) {
    CHAINFS_TRY(WriteSlices(file, l2, UINT64_MAX));
    CHAINFS_TRY(WriteSlices(file, l1, l1_end.value));
    return file.DataSync();
  }
  // Overwrites of linked clusters, and nothing else.
  if (empty()) return file.DataSync();
  return {};
}

}  // namespace chainfs::qcow2

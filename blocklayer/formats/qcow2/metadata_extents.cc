// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/metadata_extents.h"

#include <algorithm>

#include "blocklayer/formats/qcow2/bitmap_table.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

// Both sorted; from the end on, without further memory.
void MergeInto(std::vector<uint64_t>& all, const std::vector<uint64_t>& fresh) {
  size_t from = all.size();
  size_t left = fresh.size();
  all.resize(from + left);
  for (size_t to = all.size(); left > 0; --to) {
    const bool takes_old = from > 0 && all[from - 1] > fresh[left - 1];
    all[to - 1] = takes_old ? all[--from] : fresh[--left];
  }
}

}  // namespace

Status ForEachMetadataExtent(File& file, const Qcow2Header& header,
                             const std::function<Status(const MetadataExtent&)>& visit) {
  CHAINFS_ASSIGN(
      const uint64_t table_bytes,
      ForEachSnapshot(file, header, [&](const SnapshotEntry& snapshot) -> Status {
        if (snapshot.l1_entries == 0) return {};
        return visit({"L1 table of a snapshot", snapshot.l1_offset, snapshot.l1_bytes()});
      }));
  if (table_bytes > 0) {
    CHAINFS_TRY(visit({"snapshot table", header.snapshots_offset, table_bytes}));
  }
  return ForEachBitmapExtent(file, header, visit);
}

Result<std::vector<uint64_t>> FindInactiveL2Tables(
    File& file, const Qcow2Header& header, const std::function<Status(uint64_t bytes)>& charge) {
  std::vector<uint64_t> all;    // sorted
  std::vector<uint64_t> fresh;  // of one snapshot, those that no earlier one has
  uint64_t charged = 0;
  const auto make_room = [&](std::vector<uint64_t>& list, size_t size) -> Status {
    if (size <= list.capacity()) return {};
    const size_t capacity = std::max<size_t>(size + size / 2, 64);
    const uint64_t needed = (all.capacity() + fresh.capacity() + capacity) * sizeof(uint64_t);
    if (needed > charged) CHAINFS_TRY(charge(needed));
    charged = std::max(charged, needed);
    list.reserve(capacity);
    return {};
  };
  const auto add = [&](uint64_t /*index*/, uint64_t entry) -> Status {
    const uint64_t host = entry & kEntryOffsetMask;
    if (host == 0 || std::ranges::binary_search(all, host)) return {};
    CHAINFS_TRY(make_room(fresh, fresh.size() + 1));
    fresh.push_back(host);
    return {};
  };
  CHAINFS_TRY(ForEachSnapshot(file, header, [&](const SnapshotEntry& snapshot) -> Status {
    fresh.clear();
    CHAINFS_TRY(ForEachL1Entry(file, snapshot.l1_offset, snapshot.l1_entries, add));
    std::ranges::sort(fresh);
    const auto repeated = std::ranges::unique(fresh);
    fresh.erase(repeated.begin(), repeated.end());
    CHAINFS_TRY(make_room(all, all.size() + fresh.size()));
    MergeInto(all, fresh);
    return {};
  }));
  return all;
}

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_storage.h"

#include <array>
#include <optional>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/bitmap_table.h"

namespace chainfs::qcow2 {
namespace {

void AppendRun(std::vector<uint64_t>& clusters, uint64_t first, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) clusters.push_back(first + i);
}

std::vector<std::byte> EncodeBitmapTable(std::span<const uint64_t> entries) {
  std::vector<std::byte> raw(entries.size() * 8);
  for (size_t i = 0; i < entries.size(); ++i) StoreBigEndian(raw.data() + i * 8, entries[i]);
  return raw;
}

}  // namespace

Result<HostOffset> BitmapStorage::AllocateContiguous(uint64_t bytes) {
  const uint64_t count = ClustersFor(bytes);
  HostOffset place;
  {
    MutexLock lock(tables_.mu);
    CHAINFS_ASSIGN(const uint64_t first, tables_.allocator.AllocateContiguous(count));
    tables_.overlap.Add(first, count);
    place = tables_.geometry.HostOf(first);
  }
  CHAINFS_TRY(tables_.file.ZeroRange(place, count << tables_.geometry.cluster_bits));
  return place;
}

Result<HostOffset> BitmapStorage::NewTable(uint64_t entries) {
  return AllocateContiguous(entries * 8);
}

Result<uint64_t> BitmapStorage::WriteCluster(uint64_t index, HostOffset old_place,
                                             const FetchBits& fetch,
                                             std::vector<uint64_t>& unused) {
  const Geometry& geometry = tables_.geometry;
  std::vector<std::byte> bytes(geometry.cluster_size());
  const DirtyBits::Contents contents = fetch(index * geometry.cluster_size() * 8, bytes);
  const bool has_place = old_place.value != 0;
  const auto without_place = [&](uint64_t entry) {
    if (has_place) unused.push_back(geometry.ClusterOf(old_place));
    return entry;
  };
  if (contents == DirtyBits::Contents::kClean) return without_place(0);
  if (contents == DirtyBits::Contents::kDirty) return without_place(kBitmapAllOnes);
  HostOffset place = old_place;
  if (!has_place) {
    MutexLock lock(tables_.mu);
    const Result<ClusterRun> run = tables_.allocator.Allocate(1);
    if (!run && run.error().kind == ErrorKind::kNoSpace) return kBitmapAllOnes;
    if (!run) return std::unexpected(run.error());
    tables_.slices.Forget(run->first, 1);
    tables_.overlap.Add(run->first, 1);
    place = geometry.HostOf(run->first);
  }
  Status written = tables_.file.WriteAt(place, bytes);
  if (written) return place.value;
  if (written.error().kind != ErrorKind::kNoSpace) return std::unexpected(written.error());
  if (!has_place) unused.push_back(geometry.ClusterOf(place));
  return without_place(kBitmapAllOnes);
}

Status BitmapStorage::WriteBits(StoredBitmap& bitmap, uint64_t entries, const FetchBits& fetch,
                                std::vector<uint64_t>& unused) {
  const Geometry& geometry = tables_.geometry;
  std::vector<uint64_t> table(entries);
  std::vector<uint64_t> beyond;  // what a shorter table does not name any more
  CHAINFS_TRY(ForEachBitmapTableEntry(tables_.file, geometry, bitmap,
                                      [&](uint64_t index, uint64_t entry) -> Status {
                                        const uint64_t place = entry & kBitmapPlaceMask;
                                        if (index < entries) {
                                          table[index] = place;
                                        } else if (place != 0) {
                                          beyond.push_back(geometry.ClusterOf(HostOffset(place)));
                                        }
                                        return {};
                                      }));
  unused.insert(unused.end(), beyond.begin(), beyond.end());
  for (uint64_t i = 0; i < entries; ++i) {
    CHAINFS_ASSIGN(table[i], WriteCluster(i, HostOffset(table[i]), fetch, unused));
  }
  HostOffset place = bitmap.table;
  if (entries != bitmap.table_entries) {
    CHAINFS_ASSIGN(place, NewTable(entries));
    AppendRun(unused, geometry.ClusterOf(bitmap.table),
              ClustersFor(uint64_t{bitmap.table_entries} * 8));
  }
  // The refcounts of what the table names, and the bits, before the table.
  CHAINFS_TRY(ledger_.Commit());
  CHAINFS_TRY(tables_.file.WriteAt(place, EncodeBitmapTable(table)));
  CHAINFS_TRY(tables_.file.DataSync());
  bitmap.table = place;
  bitmap.table_entries = static_cast<uint32_t>(entries);
  return {};
}

Status BitmapStorage::WriteFlags(std::span<const StoredBitmap> bitmaps) {
  if (bitmaps.empty()) return {};
  if (tables_.file.poisoned()) return tables_.file.DataSync();  // fails, and says why
  const HostOffset directory = tables_.header.header().bitmap_directory;
  for (const StoredBitmap& bitmap : bitmaps) {
    std::array<std::byte, 4> raw;
    StoreBigEndian(raw.data(), bitmap.flags);
    CHAINFS_TRY(tables_.file.WriteAt(directory + (bitmap.place + kBitmapFlagsAt), raw));
  }
  return tables_.file.DataSync();
}

Status BitmapStorage::SwitchDirectory(std::span<StoredBitmap> bitmaps) {
  const Qcow2Header before = tables_.header.header();
  std::optional<BitmapPlace> now;
  std::vector<uint64_t> fresh;
  const std::vector<std::byte> raw = EncodeBitmapDirectory(bitmaps);
  if (!bitmaps.empty()) {
    CHAINFS_ASSIGN(const HostOffset place, AllocateContiguous(raw.size()));
    AppendRun(fresh, tables_.geometry.ClusterOf(place), ClustersFor(raw.size()));
    CHAINFS_TRY(tables_.file.WriteAt(place, raw));
    CHAINFS_TRY(ledger_.Commit());
    now = BitmapPlace{
        .count = static_cast<uint32_t>(bitmaps.size()), .directory = place, .bytes = raw.size()};
  }
  if (Status set = tables_.header.SetBitmaps(now); !set) {
    // Where it is not known which directory the header names, both stay.
    if (!tables_.header.uncertain()) Drop(fresh);
    return set;
  }
  uint64_t place = 0;
  for (StoredBitmap& bitmap : bitmaps) {
    bitmap.place = place;
    place += EncodeBitmapDirectory(std::span(&bitmap, 1)).size();
  }
  if (before.has_bitmaps) {
    std::vector<uint64_t> old;
    AppendRun(old, tables_.geometry.ClusterOf(before.bitmap_directory),
              ClustersFor(before.bitmap_directory_bytes));
    Drop(old);
  }
  return {};
}

Result<std::vector<uint64_t>> BitmapStorage::ClustersOf(const StoredBitmap& bitmap) {
  const Geometry& geometry = tables_.geometry;
  std::vector<uint64_t> clusters;
  CHAINFS_TRY(ForEachBitmapTableEntry(tables_.file, geometry, bitmap,
                                      [&](uint64_t, uint64_t entry) -> Status {
                                        const HostOffset place(entry & kBitmapPlaceMask);
                                        if (place.value != 0)
                                          clusters.push_back(geometry.ClusterOf(place));
                                        return {};
                                      }));
  AppendRun(clusters, geometry.ClusterOf(bitmap.table),
            ClustersFor(uint64_t{bitmap.table_entries} * 8));
  return clusters;
}

void BitmapStorage::Drop(std::span<const uint64_t> clusters) {
  MutexLock lock(tables_.mu);
  for (const uint64_t cluster : clusters) tables_.dereferences.DropTable(cluster, 1);
}

}  // namespace chainfs::qcow2

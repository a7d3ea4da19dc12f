// SPDX-License-Identifier: Apache-2.0
//
// The refcount half of Metadata: finding free clusters, counting them, and growing the refcount
// structures. See metadata.h for the rules.
//
// A refcount block that is missing is made in the first cluster of the range that it counts, which
// is free because nothing counts it; so a block counts itself, and no search can recurse.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/header_update.h"
#include "blocklayer/formats/qcow2/metadata.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kMaxHostOffset = 1ull << 56;

}  // namespace

uint64_t Metadata::EntriesPerRefcountSlice() const {
  return uint64_t{geometry_.slice_bytes()} * 8 / geometry_.refcount_bits();
}

uint64_t Metadata::EntryInSlice(uint64_t cluster) const {
  return cluster % EntriesPerRefcountSlice();
}

// Zero when no refcount block covers the cluster.
HostOffset Metadata::RefcountSliceOffset(uint64_t cluster) const {
  const uint64_t block = cluster / geometry_.refblock_entries();
  const uint64_t host = reftable_[block] & kRefcountOffsetMask;
  if (host == 0) return HostOffset(0);
  const uint64_t slice = cluster % geometry_.refblock_entries() / EntriesPerRefcountSlice();
  return HostOffset(host + slice * geometry_.slice_bytes());
}

Result<SlicePtr> Metadata::RefcountSlice(uint64_t cluster) {
  const HostOffset offset = RefcountSliceOffset(cluster);
  if (offset.value == 0) return SlicePtr();
  if (offset.Within(geometry_.slice_bytes()) != 0 ||
      (reftable_[cluster / geometry_.refblock_entries()] & (geometry_.cluster_size() - 1)) != 0) {
    return std::unexpected(
        CorruptEntry("refcount table entry", reftable_[cluster / geometry_.refblock_entries()])
            .error());
  }
  return LoadSlice(offset);
}

void Metadata::MarkDirty(DirtySlices& dirty, HostOffset offset, const SlicePtr& slice) {
  dirty.try_emplace(offset.value, slice);
  CountDirty();
}

void Metadata::CountDirty() {
  dirty_.store(
      dirty_l2_.size() + dirty_refcounts_.size() + dereferenced_.size() / kDereferencesPerSlice,
      std::memory_order_relaxed);
}

// 0 where nothing counts the cluster.
Result<uint64_t> Metadata::Refcount(uint64_t cluster) {
  CHAINFS_ASSIGN(const SlicePtr slice, RefcountSlice(cluster));
  if (slice == nullptr) return uint64_t{0};
  return LoadRefcount(slice->bytes().data(), EntryInSlice(cluster), geometry_.refcount_order);
}

Status Metadata::ChangeRefcount(uint64_t cluster, int delta) {
  CHAINFS_ASSIGN(const SlicePtr slice, RefcountSlice(cluster));
  const uint64_t entry = EntryInSlice(cluster);
  const uint64_t old =
      slice == nullptr ? 0 : LoadRefcount(slice->bytes().data(), entry, geometry_.refcount_order);
  if (slice == nullptr || (delta < 0 && old == 0)) {
    return CorruptEntry("refcount (too low) of the cluster at", geometry_.HostOf(cluster).value);
  }
  if (delta > 0 && old >= geometry_.max_refcount()) {
    return CorruptEntry("refcount (too high) of the cluster at", geometry_.HostOf(cluster).value);
  }
  const uint64_t now = delta > 0 ? old + 1 : old - 1;
  StoreRefcount(slice->bytes().data(), entry, geometry_.refcount_order, now);
  MarkDirty(dirty_refcounts_, RefcountSliceOffset(cluster), slice);
  if (now == 0) free_hint_ = std::min(free_hint_, cluster);
  return {};
}

Result<ClusterRun> Metadata::Allocate(uint64_t want) {
  MutexLock lock(mu_);
  return AllocateLocked(want);
}

Result<ClusterRun> Metadata::AllocateLocked(uint64_t want) {
  for (uint64_t cluster = free_hint_;;) {
    if (geometry_.HostOf(cluster).value >= kMaxHostOffset) {
      return Fail(ErrorKind::kNoSpace, fmt::format("{}: the image file cannot grow", file_.path()));
    }
    CHAINFS_ASSIGN(const SlicePtr slice, RefcountSlice(cluster));
    if (slice == nullptr) {
      // The new block takes the first cluster of its range.
      CHAINFS_TRY(AddRefcountBlock(cluster / geometry_.refblock_entries()));
      continue;
    }
    std::byte* const bytes = slice->bytes().data();
    uint64_t entry = EntryInSlice(cluster);
    const uint64_t end = EntriesPerRefcountSlice();
    while (entry < end && LoadRefcount(bytes, entry, geometry_.refcount_order) != 0) ++entry;
    cluster += entry - EntryInSlice(cluster);
    if (entry == end) continue;

    ClusterRun run{.first = cluster, .count = 0};
    while (entry < end && run.count < want &&
           LoadRefcount(bytes, entry, geometry_.refcount_order) == 0) {
      ++entry;
      ++run.count;
    }
    if (HoldsMetadata(run.first, run.count)) {
      return std::unexpected(
          CorruptEntry("refcount (zero) of metadata near", geometry_.HostOf(run.first).value)
              .error());
    }
    for (uint64_t i = 0; i < run.count; ++i) {
      StoreRefcount(bytes, EntryInSlice(run.first + i), geometry_.refcount_order, 1);
    }
    MarkDirty(dirty_refcounts_, RefcountSliceOffset(run.first), slice);
    free_hint_ = run.first + run.count;
    run.beyond_file = geometry_.HostOf(run.first).value >= file_end_;
    NoteWritten(geometry_.HostOf(run.first + run.count).value);
    return run;
  }
}

void Metadata::ReleaseUnlinked(const ClusterRun& run) {
  MutexLock lock(mu_);
  ReleaseLocked(run);
}

void Metadata::ReleaseLocked(const ClusterRun& run) {
  for (uint64_t i = 0; i < run.count; ++i) {
    // A failure here is a leak, which is permitted.
    if (!ChangeRefcount(run.first + i, -1)) return;
  }
}

// A cluster for a table, zeroed on disk and noted as metadata.
Result<uint64_t> Metadata::AllocateTableCluster() {
  CHAINFS_ASSIGN(const ClusterRun run, AllocateLocked(1));
  ForgetSlices(run.first, 1);
  if (Status zeroed = file_.ZeroRange(geometry_.HostOf(run.first), geometry_.cluster_size());
      !zeroed) {
    ReleaseLocked(run);
    return std::unexpected(std::move(zeroed).error());
  }
  NoteMetadata(run.first, 1);
  return run.first;
}

Status Metadata::AddRefcountBlock(uint64_t block_index) {
  if (block_index >= reftable_.size()) {
    CHAINFS_TRY(GrowRefcountTable(block_index, 0));
    return {};
  }
  const uint64_t cluster = block_index * geometry_.refblock_entries();
  const HostOffset host = geometry_.HostOf(cluster);
  if (HoldsMetadata(cluster, 1)) {
    return CorruptEntry("refcount table: no block counts the metadata at", host.value);
  }
  ForgetSlices(cluster, 1);
  CHAINFS_TRY(file_.ZeroRange(host, geometry_.cluster_size()));
  NoteWritten(host.value + geometry_.cluster_size());
  CHAINFS_ASSIGN(const SlicePtr slice, cache_.PutZeroed(owner_, host, geometry_.slice_bytes()));
  StoreRefcount(slice->bytes().data(), 0, geometry_.refcount_order, 1);
  MarkDirty(dirty_refcounts_, host, slice);
  reftable_.Set(block_index, host.value);
  dirty_reftable_sectors_.insert(block_index * 8 / 512);
  NoteMetadata(cluster, 1);
  return {};
}

// The whole table at once, durably. Only where the blocks that it names are durable.
Status Metadata::WriteRefcountTable() {
  if (dirty_reftable_sectors_.empty()) return {};
  CHAINFS_TRY(file_.WriteAt(reftable_offset_, reftable_.Encode()));
  CHAINFS_TRY(file_.DataSync());
  dirty_reftable_sectors_.clear();
  return {};
}

// A larger refcount table, with the refcount blocks that count it and themselves, goes to the first
// cluster that the old one cannot count. All of it, and every refcount block that the new table
// names, is durable before one sector write of the header switches to it. A crash before that
// leaves bytes that nothing refers to.
Result<uint64_t> Metadata::GrowRefcountTable(uint64_t block_index, uint64_t extra_clusters) {
  const uint64_t entries = geometry_.refblock_entries();
  const uint64_t old_blocks = reftable_.size();
  const uint64_t start = old_blocks * entries;  // first cluster of the new area
  const uint64_t per_cluster = geometry_.cluster_size() / 8;
  const uint64_t wanted = std::max(block_index + 1, old_blocks + old_blocks / 2) + 1;
  uint64_t table_clusters = 0;
  uint64_t blocks = 0;
  // The area must count its own table and blocks; a few rounds settle it.
  for (uint64_t size = 0;;) {
    table_clusters = DivRoundUp(wanted + blocks, per_cluster);
    blocks = std::max<uint64_t>(1, DivRoundUp(table_clusters + extra_clusters + blocks, entries));
    if (size == table_clusters + blocks) break;
    size = table_clusters + blocks;
  }
  const uint64_t in_use = table_clusters + extra_clusters + blocks;
  if (table_clusters * geometry_.cluster_size() > kMaxHeaderRefcountTableBytes) {
    return Fail(
        ErrorKind::kNoSpace,
        fmt::format("{}: the refcount table is at its largest; use larger clusters", file_.path()));
  }

  if (HoldsMetadata(start, in_use)) {
    return std::unexpected(CorruptEntry("refcount table: nothing counts the metadata near",
                                        geometry_.HostOf(start).value)
                               .error());
  }

  ForgetSlices(start, in_use);
  // The blocks that the table already names.
  CHAINFS_TRY(WriteRefcountSlices());
  RefcountTable table = reftable_;
  table.Grow(table_clusters * per_cluster);
  for (uint64_t b = 0; b < blocks; ++b) {
    std::vector<std::byte> block(geometry_.cluster_size());
    for (uint64_t i = 0; i < entries && b * entries + i < in_use; ++i) {
      StoreRefcount(block.data(), i, geometry_.refcount_order, 1);
    }
    const HostOffset host = geometry_.HostOf(start + table_clusters + extra_clusters + b);
    CHAINFS_TRY(file_.WriteAt(host, block));
    table.Set(old_blocks + b, host.value);
  }
  CHAINFS_TRY(file_.WriteAt(geometry_.HostOf(start), table.Encode()));
  CHAINFS_TRY(file_.DataSync());
  CHAINFS_TRY(ChangeHeader([&](HeaderSector sector) {
    PutRefcountTable(sector, geometry_.HostOf(start), static_cast<uint32_t>(table_clusters));
  }));

  const uint64_t old_first = geometry_.ClusterOf(reftable_offset_);
  const uint64_t old_clusters = old_blocks / per_cluster;
  reftable_ = std::move(table);
  reftable_offset_ = geometry_.HostOf(start);
  dirty_reftable_sectors_.clear();  // all of it was just written
  NoteWritten(geometry_.HostOf(start + in_use).value);
  NoteMetadata(start, table_clusters);
  NoteMetadata(start + table_clusters + extra_clusters, blocks);
  DereferenceTable(old_first, old_clusters);
  return start + table_clusters;
}

// For a new L1 table. First fit; where refcount blocks lie too close together to leave room (tiny
// clusters), the clusters come with a larger refcount table.
Result<uint64_t> Metadata::AllocateContiguous(uint64_t count) {
  const uint64_t limit =
      DivRoundUp(file_end_, geometry_.cluster_size()) + 4 * (count + geometry_.refblock_entries());
  uint64_t first = free_hint_;
  for (uint64_t cluster = first; cluster - first < count; ++cluster) {
    const uint64_t block = cluster / geometry_.refblock_entries();
    if (cluster > limit || block >= reftable_.size()) {
      return GrowRefcountTable(reftable_.size(), count);
    }
    if (RefcountSliceOffset(cluster).value == 0) CHAINFS_TRY(AddRefcountBlock(block));
    CHAINFS_ASSIGN(const SlicePtr slice, RefcountSlice(cluster));
    if (LoadRefcount(slice->bytes().data(), EntryInSlice(cluster), geometry_.refcount_order) != 0) {
      first = cluster + 1;
    }
  }
  if (HoldsMetadata(first, count)) {
    return std::unexpected(
        CorruptEntry("refcount (zero) of metadata near", geometry_.HostOf(first).value).error());
  }
  ForgetSlices(first, count);
  for (uint64_t i = 0; i < count; ++i) CHAINFS_TRY(ChangeRefcount(first + i, +1));
  NoteWritten(geometry_.HostOf(first + count).value);
  return first;
}

void Metadata::NoteWritten(uint64_t end) {
  if (end > file_end_.load(std::memory_order_relaxed)) {
    file_end_.store(end, std::memory_order_release);
  }
}

void Metadata::NoteMetadata(uint64_t first_cluster, uint64_t count) {
  WriterLock lock(overlap_mu_);
  metadata_clusters_.Add(first_cluster, count);
}

}  // namespace chainfs::qcow2

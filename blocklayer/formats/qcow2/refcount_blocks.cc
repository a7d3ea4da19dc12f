// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_blocks.h"

#include <algorithm>
#include <utility>

#include "blocklayer/formats/qcow2/corruption.h"

namespace chainfs::qcow2 {

void RefcountBlocks::MoveTable(RefcountTable table, HostOffset offset) {
  table_ = std::move(table);
  table_offset_ = offset;
  pending_.ForgetRefcountTable();
}

HostOffset RefcountBlocks::SliceOffset(uint64_t cluster) const {
  const uint64_t block = cluster / geometry_.refblock_entries();
  const uint64_t host = table_[block] & kRefcountOffsetMask;
  if (host == 0) return HostOffset(0);
  const uint64_t slice = cluster % geometry_.refblock_entries() / entries_per_slice();
  return HostOffset(host + slice * geometry_.slice_bytes());
}

Result<SlicePtr> RefcountBlocks::SliceOf(uint64_t cluster) {
  const HostOffset offset = SliceOffset(cluster);
  if (offset.value == 0) return SlicePtr();
  const uint64_t entry = table_[cluster / geometry_.refblock_entries()];
  if ((entry & (geometry_.cluster_size() - 1)) != 0) {
    return CorruptEntry(path_, "refcount table entry", entry);
  }
  return slices_.Load(offset);
}

Result<uint64_t> RefcountBlocks::Get(uint64_t cluster) {
  CHAINFS_ASSIGN(const SlicePtr slice, SliceOf(cluster));
  if (slice == nullptr) return uint64_t{0};
  return LoadRefcount(slice->bytes().data(), IndexInSlice(cluster), geometry_.refcount_order);
}

Status RefcountBlocks::Change(uint64_t cluster, int delta) {
  CHAINFS_ASSIGN(const SlicePtr slice, SliceOf(cluster));
  const uint64_t entry = IndexInSlice(cluster);
  const uint64_t old =
      slice == nullptr ? 0 : LoadRefcount(slice->bytes().data(), entry, geometry_.refcount_order);
  const uint64_t host = geometry_.HostOf(cluster).value;
  if (slice == nullptr || (delta < 0 && old == 0)) {
    return CorruptEntry(path_, "refcount (too low) of the cluster at", host);
  }
  if (delta > 0 && old >= geometry_.max_refcount()) {
    return CorruptEntry(path_, "refcount (too high) of the cluster at", host);
  }
  const uint64_t now = delta > 0 ? old + 1 : old - 1;
  StoreRefcount(slice->bytes().data(), entry, geometry_.refcount_order, now);
  pending_.AddRefcounts(SliceOffset(cluster), slice);
  if (now == 0) free_hint_ = std::min(free_hint_, cluster);
  return {};
}

Result<RefcountBlocks::FreeRun> RefcountBlocks::FindFree(uint64_t cluster, uint64_t want) {
  FreeRun run;
  CHAINFS_ASSIGN(run.slice, SliceOf(cluster));
  const std::byte* const bytes = run.slice->bytes().data();
  const uint64_t end = entries_per_slice();
  uint64_t entry = IndexInSlice(cluster);
  while (entry < end && LoadRefcount(bytes, entry, geometry_.refcount_order) != 0) ++entry;
  run.first = cluster + (entry - IndexInSlice(cluster));
  while (entry < end && run.count < want &&
         LoadRefcount(bytes, entry, geometry_.refcount_order) == 0) {
    ++entry;
    ++run.count;
  }
  return run;
}

void RefcountBlocks::Take(const FreeRun& run) {
  for (uint64_t i = 0; i < run.count; ++i) {
    StoreRefcount(run.slice->bytes().data(), IndexInSlice(run.first + i), geometry_.refcount_order,
                  1);
  }
  pending_.AddRefcounts(SliceOffset(run.first), run.slice);
}

Status RefcountBlocks::AddBlock(uint64_t index) {
  const HostOffset host = geometry_.HostOf(index * geometry_.refblock_entries());
  CHAINFS_ASSIGN(const SlicePtr slice, slices_.PutZeroed(host));
  StoreRefcount(slice->bytes().data(), 0, geometry_.refcount_order, 1);
  pending_.AddRefcounts(host, slice);
  table_.Set(index, host.value);
  pending_.AddRefcountTableEntry(index);
  return {};
}

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_allocator.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/formats/qcow2/corruption.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kMaxHostOffset = 1ull << 56;  // what an entry can name

}  // namespace

Result<ClusterRun> ClusterAllocator::Allocate(uint64_t want) {
  CHAINFS_ASSIGN(const ClusterRun run, AllocateFrom(parts_.refcounts.free_hint(), want));
  parts_.refcounts.NoteUsedBelow(run.first + run.count);
  return run;
}

Result<ClusterRun> ClusterAllocator::AllocateUnused(uint64_t want) {
  return AllocateFrom(DivRoundUp(parts_.written_end.Get(), geometry_.cluster_size()), want);
}

Result<ClusterRun> ClusterAllocator::AllocateFrom(uint64_t cluster, uint64_t want) {
  for (;;) {
    if (geometry_.HostOf(cluster).value >= kMaxHostOffset) {
      return Fail(ErrorKind::kNoSpace,
                  fmt::format("{}: the image file cannot grow", parts_.file.path()));
    }
    if (!parts_.refcounts.Counts(cluster)) {
      // The new block takes the first cluster of its range.
      CHAINFS_TRY(growth_.AddBlock(cluster / geometry_.refblock_entries()));
      continue;
    }
    CHAINFS_ASSIGN(const RefcountBlocks::FreeRun free, parts_.refcounts.FindFree(cluster, want));
    if (free.count == 0) {
      cluster = free.first;
      continue;
    }
    const uint64_t host = geometry_.HostOf(free.first).value;
    if (parts_.overlap.Holds(free.first, free.count)) {
      return CorruptEntry(parts_.file.path(), "refcount (zero) of metadata near", host);
    }
    parts_.refcounts.Take(free);
    const bool beyond_file = host >= parts_.written_end.Get();
    parts_.written_end.Note(geometry_.HostOf(free.first + free.count).value);
    return ClusterRun{.first = free.first, .count = free.count, .beyond_file = beyond_file};
  }
}

void ClusterAllocator::Release(const ClusterRun& run) {
  for (uint64_t i = 0; i < run.count; ++i) {
    if (!parts_.refcounts.Change(run.first + i, -1)) return;
  }
}

Result<uint64_t> ClusterAllocator::AllocateTable() {
  CHAINFS_ASSIGN(const ClusterRun run, Allocate(1));
  parts_.slices.Forget(run.first, 1);
  if (Status zeroed = parts_.file.ZeroRange(geometry_.HostOf(run.first), geometry_.cluster_size());
      !zeroed) {
    Release(run);
    return std::unexpected(std::move(zeroed).error());
  }
  parts_.overlap.Add(run.first, 1);
  return run.first;
}

// First fit; where refcount blocks lie too close together to leave room (tiny clusters), the
// clusters come with a larger refcount table.
Result<uint64_t> ClusterAllocator::AllocateContiguous(uint64_t count) {
  const uint64_t limit = DivRoundUp(parts_.written_end.Get(), geometry_.cluster_size()) +
                         4 * (count + geometry_.refblock_entries());
  uint64_t first = parts_.refcounts.free_hint();
  for (uint64_t cluster = first; cluster - first < count; ++cluster) {
    const uint64_t block = cluster / geometry_.refblock_entries();
    const uint64_t blocks = parts_.refcounts.table().size();
    if (cluster > limit || block >= blocks) return growth_.GrowTable(blocks, count);
    if (!parts_.refcounts.Counts(cluster)) CHAINFS_TRY(growth_.AddBlock(block));
    CHAINFS_ASSIGN(const uint64_t refcount, parts_.refcounts.Get(cluster));
    if (refcount != 0) first = cluster + 1;
  }
  if (parts_.overlap.Holds(first, count)) {
    return CorruptEntry(parts_.file.path(), "refcount (zero) of metadata near",
                        geometry_.HostOf(first).value);
  }
  parts_.slices.Forget(first, count);
  for (uint64_t i = 0; i < count; ++i) CHAINFS_TRY(parts_.refcounts.Change(first + i, +1));
  parts_.written_end.Note(geometry_.HostOf(first + count).value);
  return first;
}

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/l2_tables.h"

#include <utility>
#include <vector>

#include "blocklayer/formats/qcow2/corruption.h"

namespace chainfs::qcow2 {

Result<SlicePtr> L2Tables::Slice(GuestOffset guest) const {
  const Geometry& geometry = tables_.geometry;
  CHAINFS_ASSIGN(const uint64_t entry, tables_.l1.Entry(geometry.L1Index(guest)));
  const uint64_t table = entry & kEntryOffsetMask;
  if ((entry & ~(kEntryOffsetMask | kEntryCopied)) != 0 ||
      (table & (geometry.cluster_size() - 1)) != 0) {
    return CorruptEntry(tables_.file.path(), "L1 entry", entry);
  }
  if (table == 0) return SlicePtr();
  return tables_.slices.Load(HostOffset(table + geometry.L2SliceOffset(guest)));
}

Result<ClusterMapping> L2Tables::Lookup(GuestOffset guest) const {
  CHAINFS_ASSIGN(const SlicePtr slice, Slice(guest));
  const ClusterMapping mapping = Decode(slice, guest);
  if (mapping.kind == ClusterKind::kInvalid) {
    return CorruptEntry(tables_.file.path(), "L2 entry for guest offset", guest.value);
  }
  return mapping;
}

void L2Tables::StoreL1(uint64_t l1_index, uint64_t entry, const SlicePtr& slice) {
  // Pending first, which may run out of memory: what is changed and not pending would be lost.
  tables_.pending.AddL1(tables_.l1.SliceOffset(l1_index), slice);
  tables_.l1_to_change->Store(l1_index, entry, slice);
}

// A new table is zeroed on disk before anything can refer to it; the commit that writes the L1
// entry syncs first.
Result<HostOffset> L2Tables::EnsureTable(uint64_t l1_index) {
  CHAINFS_ASSIGN(const uint64_t entry, tables_.l1.Entry(l1_index));
  if ((entry & kEntryOffsetMask) != 0) {
    if ((entry & kEntryCopied) == 0) return UnshareTable(l1_index, entry);
    return HostOffset(entry & kEntryOffsetMask);
  }
  CHAINFS_ASSIGN(const SlicePtr l1_slice, tables_.l1_to_change->SliceToChange(l1_index));
  CHAINFS_ASSIGN(const uint64_t cluster, tables_.allocator.AllocateTable());
  const HostOffset host = tables_.geometry.HostOf(cluster);
  StoreL1(l1_index, host.value | kEntryCopied, l1_slice);
  return host;
}

// The L2 table behind an L1 entry without COPIED, which an internal snapshot may refer to, also one
// that is in no table because its `qemu-img snapshot` was killed. It is left as it is, and a copy
// takes its place.
// The refcounts of what both name stay: whoever shared the table counted its clusters too.
Result<HostOffset> L2Tables::UnshareTable(uint64_t l1_index, uint64_t entry) {
  const HostOffset shared(entry & kEntryOffsetMask);
  const uint64_t old = tables_.geometry.ClusterOf(shared);
  CHAINFS_ASSIGN(const uint64_t refcount, tables_.refcounts.Get(old));
  if (refcount == 0) return CorruptEntry(tables_.file.path(), "L1 entry", entry);
  CHAINFS_ASSIGN(const SlicePtr l1_slice, tables_.l1_to_change->SliceToChange(l1_index));
  if (refcount == 1) {
    // Nobody else, after all.
    StoreL1(l1_index, entry | kEntryCopied, l1_slice);
    return shared;
  }
  // Nobody has changed it, so the disk is right.
  std::vector<std::byte> table(tables_.geometry.cluster_size());
  CHAINFS_TRY(tables_.file.ReadZeroFilled(shared, table));
  CHAINFS_ASSIGN(const ClusterRun run, tables_.allocator.Allocate(1));
  const HostOffset copy = tables_.geometry.HostOf(run.first);
  tables_.slices.Forget(run.first, 1);
  if (Status written = tables_.file.WriteAt(copy, table); !written) {
    tables_.allocator.Release(run);
    return std::unexpected(std::move(written).error());
  }
  tables_.overlap.Add(run.first, 1);
  StoreL1(l1_index, copy.value | kEntryCopied, l1_slice);
  tables_.dereferences.DropSharedTable(old);
  return copy;
}

Status L2Tables::SetEntries(GuestOffset first, std::span<const L2Entry> entries) {
  struct Change {
    SlicePtr slice;
    uint64_t index;
  };
  const Geometry& geometry = tables_.geometry;
  std::vector<Change> changes;
  PendingChanges::Slices slices;
  std::vector<uint64_t> dropped;
  std::vector<uint64_t> vacated;  // in the data file
  changes.reserve(entries.size());
  MutexLock lock(tables_.mu);
  // First everything that can fail.
  for (uint64_t i = 0; i < entries.size(); ++i) {
    const GuestOffset guest = first + (i << geometry.cluster_bits);
    CHAINFS_ASSIGN(const HostOffset table, EnsureTable(geometry.L1Index(guest)));
    CHAINFS_ASSIGN(SlicePtr slice, Slice(guest));
    const ClusterMapping old = Decode(slice, guest);
    if (old.kind == ClusterKind::kInvalid) {
      return CorruptEntry(tables_.file.path(), "L2 entry for guest offset", guest.value);
    }
    const ClusterMapping now = codec_.Decode(entries[i]);
    if (!geometry.external_data) {
      AppendDropped(geometry, old, now, dropped);
    } else if (old.has_cluster() && !now.has_cluster()) {
      vacated.push_back(geometry.ClusterOf(old.host));
    }
    slices.try_emplace((table + geometry.L2SliceOffset(guest)).value, slice);
    changes.push_back({std::move(slice), geometry.IndexInL2Slice(guest)});
  }
  CHAINFS_TRY(tables_.dereferences.Drop(dropped));
  tables_.vacated.Add(vacated);
  tables_.pending.AddVacated(vacated);
  for (uint64_t i = 0; i < entries.size(); ++i) {
    codec_.Store(*changes[i].slice, changes[i].index, entries[i]);
  }
  tables_.pending.AddL2(std::move(slices));
  return {};
}

}  // namespace chainfs::qcow2

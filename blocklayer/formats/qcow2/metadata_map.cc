// SPDX-License-Identifier: Apache-2.0
//
// The mapping half of Metadata: L1 and L2. See metadata.h for the rules.
#include <fmt/format.h>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/metadata.h"

namespace chainfs::qcow2 {
Metadata::Metadata(File& file, MetadataCache& cache, uint64_t owner, IoEpoch& epoch,
                   Qcow2Header header)
    : file_(file),
      cache_(cache),
      owner_(owner),
      epoch_(epoch),
      geometry_(header.geometry()),
      virtual_size_(header.virtual_size()),
      header_(std::move(header)) {}

Metadata::~Metadata() {
  MutexLock lock(mu_);
  ForgetTables();
}

Status Metadata::CorruptEntry(std::string_view what, uint64_t value) const {
  return Fail(ErrorKind::kCorrupt,
              fmt::format("{}: the image is corrupt: bad {} {:#x}; look at it with qemu-img check",
                          file_.path(), what, value));
}

Result<SlicePtr> Metadata::LoadSlice(HostOffset offset) {
  return cache_.Get(
      owner_, offset, geometry_.slice_bytes(),
      [this, offset](std::span<std::byte> out) { return file_.ReadZeroFilled(offset, out); });
}

Result<SlicePtr> Metadata::L2Slice(GuestOffset guest) {
  CHAINFS_ASSIGN(const uint64_t entry, L1Entry(geometry_.L1Index(guest)));
  const uint64_t table = entry & kEntryOffsetMask;
  if ((entry & ~(kEntryOffsetMask | kEntryCopied)) != 0 ||
      (table & (geometry_.cluster_size() - 1)) != 0) {
    return std::unexpected(CorruptEntry("L1 entry", entry).error());
  }
  if (table == 0) return SlicePtr();
  return LoadSlice(HostOffset(table + geometry_.L2SliceOffset(guest)));
}

ClusterMapping Metadata::Decode(const SlicePtr& slice, GuestOffset guest) const {
  if (slice == nullptr) return {};
  const L2Codec codec = geometry_.l2();
  return codec.Decode(codec.Load(*slice, geometry_.IndexInL2Slice(guest)));
}

Result<ClusterMapping> Metadata::Lookup(GuestOffset guest) {
  CHAINFS_ASSIGN(const SlicePtr slice, L2Slice(guest));
  const ClusterMapping mapping = Decode(slice, guest);
  if (mapping.kind == ClusterKind::kInvalid) {
    return std::unexpected(CorruptEntry("L2 entry for guest offset", guest.value).error());
  }
  return mapping;
}

// The L2 table behind an L1 entry, made if there is none. Zeroed on disk before anything can refer
// to it; the commit that writes the L1 entry syncs first.
Result<uint64_t> Metadata::EnsureL2(uint64_t l1_index) {
  CHAINFS_ASSIGN(const uint64_t entry, L1Entry(l1_index));
  if ((entry & kEntryOffsetMask) != 0) {
    if ((entry & kEntryCopied) == 0) return UnshareL2(l1_index, entry);
    return entry & kEntryOffsetMask;
  }
  CHAINFS_ASSIGN(const SlicePtr l1_slice, L1SliceToChange(l1_index));
  CHAINFS_ASSIGN(const uint64_t cluster, AllocateTableCluster());
  StoreL1(l1_index, geometry_.HostOf(cluster).value | kEntryCopied, l1_slice);
  return geometry_.HostOf(cluster).value;
}

// The L2 table behind an L1 entry without COPIED, which somebody else may refer to: a `qemu-img
// snapshot` that was killed leaves such tables. It is left as it is, and a copy takes its place.
// The refcounts of what both name stay: whoever shared the table counted its clusters too.
Result<uint64_t> Metadata::UnshareL2(uint64_t l1_index, uint64_t entry) {
  const HostOffset shared(entry & kEntryOffsetMask);
  const uint64_t old = geometry_.ClusterOf(shared);
  CHAINFS_ASSIGN(const uint64_t refcount, Refcount(old));
  if (refcount == 0) return std::unexpected(CorruptEntry("L1 entry", entry).error());
  CHAINFS_ASSIGN(const SlicePtr l1_slice, L1SliceToChange(l1_index));
  if (refcount == 1) {
    // Nobody else, after all.
    StoreL1(l1_index, entry | kEntryCopied, l1_slice);
    return shared.value;
  }
  // Nobody has changed it, so the disk is right.
  std::vector<std::byte> table(geometry_.cluster_size());
  CHAINFS_TRY(file_.ReadZeroFilled(shared, table));
  CHAINFS_ASSIGN(const ClusterRun run, AllocateLocked(1));
  const HostOffset copy = geometry_.HostOf(run.first);
  ForgetSlices(run.first, 1);
  if (Status written = file_.WriteAt(copy, table); !written) {
    ReleaseLocked(run);
    return std::unexpected(std::move(written).error());
  }
  // Of at least two references it loses one, so it is never free while anybody may look at it.
  ++waiting_[old];
  dereferenced_.push_back(old);
  NoteMetadata(run.first, 1);
  StoreL1(l1_index, copy.value | kEntryCopied, l1_slice);
  return copy.value;
}

// Cannot fail: the table exists and the slice is at hand.
void Metadata::SetEntry(GuestOffset guest, L2Entry entry, HostOffset table, const SlicePtr& slice) {
  geometry_.l2().Store(*slice, geometry_.IndexInL2Slice(guest), entry);
  MarkDirty(dirty_l2_, table + geometry_.L2SliceOffset(guest), slice);
}

Status Metadata::SetEntries(GuestOffset first, std::span<const L2Entry> entries) {
  std::vector<SlicePtr> slices;
  std::vector<HostOffset> tables;
  std::vector<uint64_t> dropped;
  slices.reserve(entries.size());
  MutexLock lock(mu_);
  // First everything that can fail.
  for (uint64_t i = 0; i < entries.size(); ++i) {
    const GuestOffset guest = first + (i << geometry_.cluster_bits);
    CHAINFS_ASSIGN(const uint64_t table, EnsureL2(geometry_.L1Index(guest)));
    tables.emplace_back(table);
    CHAINFS_ASSIGN(SlicePtr slice, L2Slice(guest));
    const ClusterMapping old = Decode(slice, guest);
    if (old.kind == ClusterKind::kInvalid) {
      return CorruptEntry("L2 entry for guest offset", guest.value);
    }
    AppendDropped(old, geometry_.l2().Decode(entries[i]), dropped);
    slices.push_back(std::move(slice));
  }
  CHAINFS_TRY(PlanDereferences(dropped));
  dereferenced_.insert(dereferenced_.end(), dropped.begin(), dropped.end());
  for (uint64_t i = 0; i < entries.size(); ++i) {
    SetEntry(first + (i << geometry_.cluster_bits), entries[i], tables[i], slices[i]);
  }
  return {};
}

Status Metadata::CheckDataClusters(GuestOffset guest, uint64_t first_cluster, uint64_t count) {
  const uint64_t end = geometry_.HostOf(first_cluster + count).value;
  bool sound = !HoldsMetadata(first_cluster, count);
  if (sound && end > file_end_.load(std::memory_order_acquire)) {
    // Legal for clusters that were allocated and never written; only then the file may grow there.
    MutexLock lock(mu_);
    for (uint64_t i = 0; sound && i < count; ++i) {
      CHAINFS_ASSIGN(const uint64_t refcount, Refcount(first_cluster + i));
      sound = refcount > 0;
    }
    if (sound) NoteWritten(end);
  }
  if (sound) return {};
  return Fail(ErrorKind::kCorrupt,
              fmt::format("{}: the image is corrupt: guest offset {:#x} is mapped onto metadata or "
                          "a free cluster, at {:#x}; look at it with qemu-img check",
                          file_.path(), guest.value, geometry_.HostOf(first_cluster).value));
}

bool Metadata::HoldsMetadata(uint64_t first_cluster, uint64_t count) const {
  ReaderLock lock(overlap_mu_);
  return metadata_clusters_.Contains(first_cluster, count);
}

}  // namespace chainfs::qcow2

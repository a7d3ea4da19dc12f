// SPDX-License-Identifier: Apache-2.0
//
// Commit: how changed tables reach the disk. The order is argued in metadata.h.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/metadata.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kEntriesPerSector = kSector / 8;

template <typename LoadEntry>
std::vector<std::byte> CopySectors(const std::set<uint64_t>& sectors, uint64_t entries,
                                   const LoadEntry& load) {
  std::vector<std::byte> bytes(sectors.size() * kSector);
  std::byte* out = bytes.data();
  for (const uint64_t sector : sectors) {
    for (uint64_t i = 0; i < kEntriesPerSector; ++i) {
      const uint64_t index = sector * kEntriesPerSector + i;
      StoreBigEndian(out + i * 8, index < entries ? load(index) : uint64_t{0});
    }
    out += kSector;
  }
  return bytes;
}

}  // namespace

Metadata::Snapshot Metadata::TakeSnapshot() {
  Snapshot snapshot;
  const auto copy = [](DirtySlices& dirty, std::vector<SliceWrite>& out) {
    out.reserve(dirty.size());
    for (auto& [offset, slice] : dirty) {
      const std::span<const std::byte> bytes = slice->bytes();
      out.push_back({HostOffset(offset), slice, {bytes.begin(), bytes.end()}});
    }
  };
  copy(dirty_l2_, snapshot.l2);
  copy(dirty_refcounts_, snapshot.refcounts);
  copy(dirty_l1_, snapshot.l1);
  const std::span<const uint64_t> reftable = reftable_.used();
  snapshot.reftable_bytes = CopySectors(dirty_reftable_sectors_, reftable.size(),
                                        [&](uint64_t index) { return reftable[index]; });
  snapshot.reftable_offset = reftable_offset_;
  // Nothing below can fail.
  dirty_l2_.clear();
  dirty_refcounts_.clear();
  dirty_l1_.clear();
  snapshot.reftable_sectors.swap(dirty_reftable_sectors_);
  snapshot.dereferenced.swap(dereferenced_);
  CountDirty();
  return snapshot;
}

// What could not be written is dirty again, unless it is so anyway with newer contents.
void Metadata::PutBack(Snapshot snapshot) {
  for (SliceWrite& write : snapshot.l2) dirty_l2_.try_emplace(write.offset.value, write.slice);
  for (SliceWrite& write : snapshot.refcounts) {
    dirty_refcounts_.try_emplace(write.offset.value, write.slice);
  }
  for (SliceWrite& write : snapshot.l1) dirty_l1_.try_emplace(write.offset.value, write.slice);
  // A table that has grown meanwhile was written whole.
  if (snapshot.reftable_offset == reftable_offset_) {
    dirty_reftable_sectors_.merge(snapshot.reftable_sectors);
  }
  dereferenced_.insert(dereferenced_.end(), snapshot.dereferenced.begin(),
                       snapshot.dereferenced.end());
  CountDirty();
}

// All refcounts that may not be on disk, as they are now.
Status Metadata::WriteRefcountSlices() {
  const auto write = [this](HostOffset offset, const SlicePtr& slice) {
    return file_.WriteAt(offset, slice->bytes());
  };
  if (in_flight_ != nullptr) {
    for (const SliceWrite& taken : in_flight_->refcounts) {
      CHAINFS_TRY(write(taken.offset, taken.slice));
    }
  }
  for (const auto& [offset, slice] : dirty_refcounts_) {
    CHAINFS_TRY(write(HostOffset(offset), slice));
  }
  return {};
}

Status Metadata::WriteSectors(HostOffset table, const std::set<uint64_t>& sectors,
                              std::span<const std::byte> bytes) {
  for (const uint64_t sector : sectors) {
    CHAINFS_TRY(file_.WriteAt(table + sector * kSector, bytes.first(kSector)));
    bytes = bytes.subspan(kSector);
  }
  return {};
}

// What lies past `end` is not theirs.
Status Metadata::WriteSlices(const std::vector<SliceWrite>& slices, uint64_t end) {
  for (const SliceWrite& write : slices) {
    const uint64_t length = std::min<uint64_t>(write.bytes.size(), end - write.offset.value);
    CHAINFS_TRY(file_.WriteAt(write.offset, std::span(write.bytes).first(length)));
  }
  return {};
}

Status Metadata::WriteSnapshot(const Snapshot& snapshot) {
  CHAINFS_TRY(WriteSlices(snapshot.refcounts, UINT64_MAX));
  if (!snapshot.empty()) CHAINFS_TRY(file_.DataSync());

  if (!snapshot.reftable_sectors.empty()) {
    CHAINFS_TRY(
        WriteSectors(snapshot.reftable_offset, snapshot.reftable_sectors, snapshot.reftable_bytes));
    CHAINFS_TRY(file_.DataSync());
  }

  if (!snapshot.l2.empty() || !snapshot.l1.empty()) {
    CHAINFS_TRY(WriteSlices(snapshot.l2, UINT64_MAX));
    // The table moves only while no commit is under way.
    const L1Place& l1 = *l1_.load(std::memory_order_acquire);
    CHAINFS_TRY(WriteSlices(snapshot.l1, l1.offset.value + l1.entries * 8));
    return file_.DataSync();
  }
  // Overwrites of linked clusters, and nothing else.
  if (snapshot.empty()) return file_.DataSync();
  return {};
}

Status Metadata::CommitLocked() {
  if (file_.poisoned()) return file_.DataSync();  // fails, and says why
  if (header_uncertain_.load(std::memory_order_acquire)) {
    return Fail(ErrorKind::kIo,
                fmt::format("{}: the header could not be written; unmount, check the "
                            "image and mount again",
                            file_.path()));
  }
  Snapshot snapshot;
  {
    MutexLock lock(mu_);
    snapshot = TakeSnapshot();
    in_flight_ = &snapshot;
  }
  Status written = WriteSnapshot(snapshot);
  {
    MutexLock lock(mu_);
    in_flight_ = nullptr;
    if (!written) {
      PutBack(std::move(snapshot));
      return written;
    }
  }
  const uint64_t epoch = epoch_.epoch();
  for (const uint64_t cluster : snapshot.dereferenced) quarantine_.push_back({cluster, epoch});
  return {};
}

Status Metadata::Commit() {
  const uint64_t ticket = commit_requests_.fetch_add(1, std::memory_order_acq_rel) + 1;
  MutexLock lock(commit_mu_);
  // A commit that began after this request was made has done its work.
  if (commits_covered_ >= ticket) return {};
  const uint64_t covered = commit_requests_.load(std::memory_order_acquire);
  CHAINFS_TRY(CommitLocked());
  commits_covered_ = covered;
  ReleaseQuarantine();
  return {};
}

bool Metadata::HasPending() {
  MutexLock commit_lock(commit_mu_);
  if (!quarantine_.empty()) return true;
  MutexLock lock(mu_);
  return !dirty_l2_.empty() || !dirty_refcounts_.empty() || !dirty_l1_.empty() ||
         !dirty_reftable_sectors_.empty() || !dereferenced_.empty();
}

Status Metadata::CommitAndRelease() {
  CHAINFS_TRY(Commit());
  MutexLock lock(commit_mu_);
  for (int i = 0; i < 3 && !quarantine_.empty(); ++i) ReleaseQuarantine();
  return CommitLocked();
}

}  // namespace chainfs::qcow2

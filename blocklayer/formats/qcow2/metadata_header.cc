// SPDX-License-Identifier: Apache-2.0
//
// Changes of the header: each is one write of the first sector, followed by a sync. See metadata.h.
#include <fmt/format.h>

#include <array>

#include "blocklayer/formats/qcow2/header_update.h"
#include "blocklayer/formats/qcow2/metadata.h"

namespace chainfs::qcow2 {
Qcow2Header Metadata::header() const {
  MutexLock lock(header_mu_);
  return header_;
}

Status Metadata::ChangeHeader(const std::function<void(HeaderSector)>& change) {
  MutexLock lock(header_mu_);
  // Until the write is tried, the disk is as it was.
  std::array<std::byte, kHeaderSector> sector;
  CHAINFS_TRY(file_.ReadZeroFilled(HostOffset(0), sector));
  if (file_.poisoned()) return file_.DataSync();  // fails, and says why
  change(sector);
  Status status = file_.WriteAt(HostOffset(0), sector);
  if (status) status = file_.DataSync();
  // The disk may name the old table or the new one: nothing may be written through either.
  if (!status) header_uncertain_.store(true, std::memory_order_release);
  return status;
}

Status Metadata::GrowL1For(uint64_t size) {
  const uint64_t entries = geometry_.L1EntriesFor(size);
  if (entries * 8 > kMaxHeaderL1Bytes) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: {} bytes is more than an image with {}-byte clusters can map",
                            file_.path(), size, geometry_.cluster_size()));
  }
  MutexLock commit_lock(commit_mu_);
  const L1Place& old = *l1_.load(std::memory_order_acquire);
  if (entries <= old.entries) return {};
  // What is dirty now goes to the old table first, so that the copy below is all there is.
  CHAINFS_TRY(CommitLocked());

  MutexLock lock(mu_);
  const uint64_t old_clusters = DivRoundUp(old.entries * 8, geometry_.cluster_size());
  const uint64_t clusters = DivRoundUp(entries * 8, geometry_.cluster_size());
  CHAINFS_ASSIGN(const uint64_t first, AllocateContiguous(clusters));
  // Durable before the switch: the counts of the new table and of the blocks that hold them, then
  // their table entries, and the table itself.
  CHAINFS_TRY(WriteRefcountSlices());
  CHAINFS_TRY(file_.ZeroRange(geometry_.HostOf(first), clusters << geometry_.cluster_bits));
  CHAINFS_TRY(CopyL1(old, geometry_.HostOf(first)));
  CHAINFS_TRY(file_.DataSync());
  CHAINFS_TRY(WriteRefcountTable());
  CHAINFS_TRY(ChangeHeader([&](HeaderSector sector) {
    PutL1Table(sector, geometry_.HostOf(first), static_cast<uint32_t>(entries));
  }));

  dirty_l1_.clear();  // all of it was just written
  PublishL1(geometry_.HostOf(first), entries);
  NoteMetadata(first, clusters);
  DereferenceTable(geometry_.ClusterOf(old.offset), old_clusters);
  return {};
}

Status Metadata::SetVirtualSize(uint64_t size) {
  CHAINFS_TRY(ChangeHeader([&](HeaderSector sector) { PutVirtualSize(sector, size); }));
  virtual_size_.store(size, std::memory_order_release);
  return {};
}

Status Metadata::CanSetBacking(const std::optional<BackingReference>& backing) {
  MutexLock lock(header_mu_);
  return chainfs::CanSetBacking(file_, header_, backing);
}

Status Metadata::SetBacking(const std::optional<BackingReference>& backing) {
  MutexLock lock(header_mu_);
  return SetBackingInHeader(file_, header_, backing);
}

std::optional<BackingReference> Metadata::backing() const {
  MutexLock lock(header_mu_);
  return header_.backing;
}

Status Metadata::PrepareForWriting() {
  if (prepared_.load(std::memory_order_acquire)) return {};
  {
    MutexLock lock(mu_);
    CHAINFS_TRY(LearnTables());
  }
  MutexLock lock(header_mu_);
  if (prepared_.load(std::memory_order_acquire)) return {};
  if (header_.autoclear != 0) {
    CHAINFS_TRY(WriteFeatureBits(file_, header_, header_.incompatible, 0));
    CHAINFS_TRY(file_.DataSync());
  }
  prepared_.store(true, std::memory_order_release);
  return {};
}

bool Metadata::RefuseChanges(std::string why) {
  // Who is told the reason knows which file it is about.
  const std::string prefix = file_.path() + ": ";
  if (why.starts_with(prefix)) why.erase(0, prefix.size());
  MutexLock lock(reason_mu_);
  if (corrupt_.load(std::memory_order_relaxed)) return false;
  corrupt_reason_ = std::move(why);
  corrupt_.store(true, std::memory_order_release);
  return true;
}

std::string Metadata::corrupt_reason() const {
  MutexLock lock(reason_mu_);
  return corrupt_reason_;
}

void Metadata::MarkCorrupt(std::string why) {
  if (!RefuseChanges(std::move(why))) return;
  if (!Commit()) return;  // the file takes nothing any more, this mark included
  MutexLock lock(header_mu_);
  if (header_.version < 3) return;
  // The image is refused for writing from now on whether or not this reaches the disk.
  if (WriteFeatureBits(file_, header_, header_.incompatible | kIncompatibleCorrupt,
                       header_.autoclear)) {
    if (!file_.DataSync()) return;
  }
}

}  // namespace chainfs::qcow2

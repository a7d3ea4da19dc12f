// SPDX-License-Identifier: Apache-2.0
#include "fusefs/disk_presenter.h"

#include <fmt/format.h>

#include <chrono>

namespace chainfs::fusefs {
namespace {

constexpr std::chrono::seconds kWrittenBackWithin{10};

}  // namespace

void DiskPresenter::DiskAdded(const control::ServedDiskPtr& disk) {
  const InodeTable::NameChange change = inodes_.Add(disk);
  if (!change) return;
  ForgetNames(*disk->disk, change);
  watcher_.DiskAppeared();
}

void DiskPresenter::DiskRemoved(const Disk& disk) {
  if (const InodeTable::NameChange change = inodes_.Remove(disk)) ForgetNames(disk, change);
}

void DiskPresenter::AttributesChanged(const Disk& disk) {
  if (const NodePtr node = inodes_.FindDisk(disk)) invalidator_.Attributes(node->ino);
}

void DiskPresenter::ContentsChanged(const Disk& disk) {
  const NodePtr node = inodes_.FindDisk(disk);
  if (node == nullptr) return;
  ++*node->stale_pages;
  // Not the node: were it the last who holds the disk, its thread could not close the images.
  invalidator_.Contents(node->ino, [stale = node->stale_pages] { --*stale; });
}

void DiskPresenter::SizeChanged(const Disk& disk) {
  if (const NodePtr node = inodes_.FindDisk(disk)) loops_.SizeChanged(node->shown_ino, disk.size());
}

Status DiskPresenter::TakeInChanges(const Disk& disk, uint64_t from) {
  const NodePtr node = inodes_.FindDisk(disk);
  // A handle stays until what was changed through it, or through a mapping of it, is written.
  if (node == nullptr || node->disk->access().writers() == 0) return {};
  if (most_waiting_ == 0) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: with threads=1 it cannot be known what programs that have it open "
                            "for writing have changed of its end; say shrink=yes, or mount with "
                            "more threads",
                            disk.name()));
  }
  const bool waits = waiting_.fetch_add(1) < most_waiting_;
  const bool written = waits && invalidator_.WriteBack(node->ino, from, kWrittenBackWithin);
  waiting_.fetch_sub(1);
  if (written) return {};
  return Fail(ErrorKind::kBusy,
              fmt::format("{}: what programs have changed of its end is not written back yet; try "
                          "again",
                          disk.name()));
}

bool DiskPresenter::LetsWrite(const Disk* disk, const control::Caller& caller) const {
  const NodePtr node = disk == nullptr ? inodes_.root() : inodes_.FindDisk(*disk);
  // A disk that is shown no more has no mode.
  return node == nullptr ? caller.IsRoot() : attributes_.LetsWrite(*node, caller);
}

void DiskPresenter::AnnounceChangedModes() {
  for (const NodePtr& node : inodes_.List(NodeKind::kRoot)) {
    if (node->shown_mode != 0 && node->shown_mode != attributes_.ModeOf(*node)) {
      invalidator_.Attributes(node->ino);
    }
  }
}

void DiskPresenter::ForgetNames(const Disk& disk, const InodeTable::NameChange& change) {
  if (change.disk_known) invalidator_.Entry(kRootInode, disk.name() + ".raw");
  if (change.map_known) invalidator_.Entry(kMapInode, disk.name() + ".json");
  if (change.changed_known) invalidator_.Entry(kChangedInode, disk.name() + ".json");
}

}  // namespace chainfs::fusefs

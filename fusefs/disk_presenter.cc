// SPDX-License-Identifier: Apache-2.0
#include "fusefs/disk_presenter.h"

namespace chainfs::fusefs {

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

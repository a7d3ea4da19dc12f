// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/served_disks.h"

namespace chainfs::control {

ServedDisks::Added ServedDisks::Add(const DiskPtr& disk) {
  ServedDiskPtr replaced;  // destroyed, with its disk, after the lock is gone
  const MutexLock lock(mu_);
  ServedDiskPtr& entry = disks_[disk->name()];
  if (entry != nullptr && entry->disk == disk) return {.served = entry, .is_new = false};
  replaced = std::exchange(entry, std::make_shared<ServedDisk>(disk));
  return {.served = entry, .is_new = true};
}

bool ServedDisks::Remove(const Disk& disk) {
  ServedDiskPtr removed;  // destroyed after the lock is gone
  const MutexLock lock(mu_);
  const auto found = disks_.find(disk.name());
  if (found == disks_.end() || found->second->disk.get() != &disk) return false;
  removed = std::move(found->second);
  disks_.erase(found);
  return true;
}

ServedDiskPtr ServedDisks::Find(std::string_view name) const {
  const MutexLock lock(mu_);
  const auto found = disks_.find(name);
  return found == disks_.end() ? nullptr : found->second;
}

ServedDiskPtr ServedDisks::Find(const Disk& disk) const {
  ServedDiskPtr found = Find(disk.name());
  return found != nullptr && found->disk.get() == &disk ? found : nullptr;
}

std::vector<ServedDiskPtr> ServedDisks::List() const {
  const MutexLock lock(mu_);
  std::vector<ServedDiskPtr> list;
  list.reserve(disks_.size());
  for (const auto& [name, disk] : disks_) list.push_back(disk);
  return list;
}

}  // namespace chainfs::control

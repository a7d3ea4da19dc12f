// SPDX-License-Identifier: Apache-2.0
//
// LastErrors: what was refused or failed last, of each disk and of all together: the attribute
// user.chainfs.error. One JSON object: time, attribute (or operation), errno, message.
//
// Invariants: CTL-2, CTL-3 (README.md).
//
// Threads: all methods, any thread, also with locks of jobs held. lost_mu_ comes before
// ServedDisks::mu_; ServedDisk::mu and mount_mu_ are leaves.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "blocklayer/base/error.h"
#include "blocklayer/base/sync.h"
#include "ctl/control/served_disks.h"

namespace chainfs::control {

class LastErrors {
 public:
  // `disks` must outlive this.
  explicit LastErrors(const ServedDisks& disks) : disks_(disks) {}

  // In all of these a null `disk` means the mount.

  // A command; it is logged as well. `attribute` with its prefix.
  void CommandRefused(ServedDisk* disk, std::string_view attribute, const Error& error)
      EXCLUDES(mount_mu_);
  // An operation on a file ("open", "truncate"...). Each returns the errno to answer with.
  int OperationRefused(ServedDisk* disk, std::string_view operation, int number,
                       const std::string& sentence) EXCLUDES(mount_mu_);
  // EROFS: "vm1 is read-only: vm2 is built on it".
  int ChangeRefused(ServedDisk& disk, std::string_view operation) EXCLUDES(mount_mu_);
  int OperationFailed(ServedDisk& disk, std::string_view operation, const Error& error)
      EXCLUDES(mount_mu_);

  // A job of the disk called `disk` failed, or stands still.
  void JobFailed(const std::string& disk, std::string_view type, const Error& error)
      EXCLUDES(lost_mu_, mount_mu_);
  // Gives a disk that has just been added to the served ones what is kept for its name.
  void DiskAppeared(ServedDisk& disk) EXCLUDES(lost_mu_);

  // JSON; empty when nothing was refused or failed yet.
  std::string Of(const ServedDisk* disk) const EXCLUDES(mount_mu_);

 private:
  void Remember(ServedDisk* disk, const std::string& json) EXCLUDES(mount_mu_);

  const ServedDisks& disks_;

  mutable Mutex mount_mu_;
  std::string of_mount_ GUARDED_BY(mount_mu_);

  Mutex lost_mu_;
  // Of jobs whose disk was not there just then: JSON by name.
  std::map<std::string, std::string, std::less<>> lost_ GUARDED_BY(lost_mu_);
};

}  // namespace chainfs::control

// SPDX-License-Identifier: Apache-2.0
//
// UserFiles: where a file lies that is no image and that a user's command names: beneath the
// sources, unless the user may name any (root).
//
// Threads: any. Waits for the turn of a scan (turn_mutex.h).
#pragma once

#include <string>

#include "blocklayer/catalog/snapshot_target.h"
#include "blocklayer/catalog/turn_mutex.h"

namespace chainfs {

class UserFiles {
 public:
  // The references outlive this. `mu` guards the others.
  UserFiles(TurnMutex& mu, ChainSet& chains, Roots& roots, SnapshotTarget& target)
      : mu_(mu), chains_(chains), roots_(roots), target_(target) {}

  // The place of a new file; `name` is absolute, or relative to the directory of the disk's active
  // layer. kExists when there is something of that name, or an image is missing that has it;
  // kInvalidArgument for one that would be taken for an image; kAccess outside of the sources.
  Result<FileLocation> ForNew(const DiskPtr& disk, const std::string& name, bool anywhere)
      EXCLUDES(mu_);
  // The place of one to read, which need not be there; `name` as above. kAccess.
  Result<FileLocation> Find(const DiskPtr& disk, const std::string& name, bool anywhere)
      EXCLUDES(mu_);

 private:
  Result<const CatalogEntry*> EntryOf(const Disk& disk) const REQUIRES(mu_);

  TurnMutex& mu_;
  ChainSet& chains_ GUARDED_BY(mu_);
  Roots& roots_ GUARDED_BY(mu_);
  SnapshotTarget& target_ GUARDED_BY(mu_);
};

}  // namespace chainfs

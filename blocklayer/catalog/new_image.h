// SPDX-License-Identifier: Apache-2.0
//
// NewImages: where the target of a job goes, and what its header is to name.
//
// Threads: any. Waits for the turn of a scan (turn_mutex.h).
#pragma once

#include <optional>
#include <string>

#include "blocklayer/catalog/backing_names.h"
#include "blocklayer/catalog/left_out_marks.h"
#include "blocklayer/catalog/snapshot_target.h"
#include "blocklayer/catalog/turn_mutex.h"

namespace chainfs {

struct NewImageRequest {
  std::string name;  // absolute, or relative to the directory of the disk's active layer
  ImageFormat format = ImageFormat::kQcow2;
  LayerPtr backing = {};   // of the disk: what it is to be built on; null: nothing
  bool anywhere = false;   // also outside the source directories (root)
  bool may_exist = false;  // it was begun by an earlier daemon
};

struct NewImagePlan {
  FileLocation location;
  std::optional<BackingReference> backing;
};

class NewImages {
 public:
  // The references outlive this. `mu` guards the others.
  NewImages(TurnMutex& mu, ChainSet& chains, SnapshotTarget& target, BackingNames& names,
            LeftOutMarks& marks)
      : mu_(mu), chains_(chains), target_(target), names_(names), marks_(marks) {}

  // kExists, kAccess, kInvalidArgument: as SnapshotTarget; kStale when no name leads to `backing`;
  // kBusy when what that shows is a mixture (LeftOutMarks::CheckWhole).
  Result<NewImagePlan> Plan(const DiskPtr& disk, const NewImageRequest& request) EXCLUDES(mu_);

 private:
  TurnMutex& mu_;
  ChainSet& chains_ GUARDED_BY(mu_);
  SnapshotTarget& target_ GUARDED_BY(mu_);
  BackingNames& names_ GUARDED_BY(mu_);
  LeftOutMarks& marks_ GUARDED_BY(mu_);
};

}  // namespace chainfs

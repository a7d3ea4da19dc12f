// SPDX-License-Identifier: Apache-2.0
//
// SnapshotCommand: the verb `snapshot`: of one disk, or of several at one point in time.
//
// Threads: any; no lock of its own.
#pragma once

#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class SnapshotCommand {
 public:
  // Both outlive this.
  SnapshotCommand(Catalog& catalog, jobs::JobManager& jobs) : catalog_(catalog), jobs_(jobs) {}

  // `disk` null: given on the mount, where `disks` names them. `privileged`: what it names may lie
  // anywhere.
  Status Run(const verbs::Arguments& arguments, const DiskPtr& disk, bool privileged);
  // What the arguments say of the new layer.
  static Result<SnapshotRequest> RequestOf(const verbs::Arguments& arguments, bool privileged);

 private:
  Result<std::vector<DiskPtr>> DisksOf(const verbs::Arguments& arguments,
                                       const DiskPtr& disk) const;
  Status RunOnOne(const verbs::Arguments& arguments, const DiskPtr& disk,
                  const SnapshotRequest& request, bool dry_run);
  // The new layer takes the place of an image that is there.
  Status RunInPlace(const DiskPtr& disk, const SnapshotRequest& request, bool dry_run);
  Status RunOnSeveral(const verbs::Arguments& arguments, const std::vector<DiskPtr>& disks,
                      const SnapshotRequest& request, bool dry_run);

  Catalog& catalog_;
  jobs::JobManager& jobs_;
};

}  // namespace chainfs::control

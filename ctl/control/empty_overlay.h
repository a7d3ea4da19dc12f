// SPDX-License-Identifier: Apache-2.0
//
// EmptyOverlay: an image that somebody has made to be the next active layer of a disk, as scripts
// for QEMU do. chainfs makes its overlays itself, so the new one takes the place of that, with its
// size of clusters. It must hold nothing, so that nothing is lost whatever comes between.
//
// Threads: any; waits for the turn of a scan.
#pragma once

#include "blocklayer/catalog/catalog.h"

namespace chainfs::control {

class EmptyOverlay {
 public:
  // kNotFound; kBusy, kAccess as of a target of a job; kInvalidArgument when it is not as long as
  // the disk, holds something, or is built on anything but the active layer. While this lives it is
  // locked and not shown; afterwards it is as it was.
  static Result<EmptyOverlay> Open(Catalog& catalog, const DiskPtr& disk,
                                   const SnapshotRequest& request);
  EmptyOverlay(EmptyOverlay&&) = default;
  EmptyOverlay& operator=(EmptyOverlay&&) = delete;
  ~EmptyOverlay();

  // Whether a snapshot would be refused anyway, as far as that can be told: a disk is read-only
  // while this is built on it.
  Status CheckPossible();
  // Removes it. What then makes one of its name. A crash in between leaves none.
  Result<SnapshotRequest> MakeRoom();

 private:
  EmptyOverlay(Catalog& catalog, DiskPtr disk, SnapshotRequest request, TargetImagePtr image)
      : catalog_(&catalog),
        disk_(std::move(disk)),
        request_(std::move(request)),
        image_(std::move(image)) {}

  Catalog* catalog_;
  DiskPtr disk_;
  SnapshotRequest request_;
  TargetImagePtr image_;  // null once it is gone
};

}  // namespace chainfs::control

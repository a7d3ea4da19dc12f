// SPDX-License-Identifier: Apache-2.0
//
// ClusterUnsharer: with extended L2 entries, a cluster of which only a part is allocated, and that
// others refer to as well (internal snapshots), gets a place of its own before any more of it is
// written. What is not allocated stays so.
//
// Threads: any. The caller holds the image's range lock over the cluster and a guard of its epoch.
#pragma once

#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class ClusterUnsharer {
 public:
  // Both must outlive this.
  ClusterUnsharer(File& file, ImageTables& tables) : file_(file), tables_(tables) {}

  static bool IsNeeded(const ClusterMapping& mapping) {
    return mapping.kind == ClusterKind::kMixed && mapping.has_cluster() && !mapping.copied;
  }
  // `shared`: the mapping of the cluster, for which it is needed. Returns what it is now.
  Result<ClusterMapping> Unshare(GuestOffset cluster, const ClusterMapping& shared);

 private:
  Status CopyAllocated(const ClusterMapping& shared, HostOffset to);

  File& file_;
  ImageTables& tables_;
};

}  // namespace chainfs::qcow2

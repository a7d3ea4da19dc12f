// SPDX-License-Identifier: Apache-2.0
//
// Dereferences: taking references to clusters away, one after the other. A refcount goes down only
// when its cluster leaves the quarantine, so until then the references that were taken away are
// counted here as *waiting*, and before an entry gives a cluster up its refcount is compared with
// all that is waiting already: a cluster that two entries name and one counts is never given up
// twice (Q2-6).
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/overlap_guard.h"
#include "blocklayer/formats/qcow2/pending_changes.h"
#include "blocklayer/formats/qcow2/refcount_blocks.h"

namespace chainfs::qcow2 {

// The clusters that `old` refers to and `now` does not, one number for each reference.
void AppendDropped(const Geometry& geometry, const ClusterMapping& old, const ClusterMapping& now,
                   std::vector<uint64_t>& clusters);

class Dereferences {
 public:
  // All must outlive this.
  Dereferences(const std::string& path, const Geometry& geometry, RefcountBlocks& refcounts,
               OverlapGuard& overlap, PendingChanges& pending)
      : path_(path),
        geometry_(geometry),
        refcounts_(refcounts),
        overlap_(overlap),
        pending_(pending) {}

  // Each of `clusters` loses a reference (two, if it is named twice) by the next commit: all, or on
  // failure (also for want of memory) none. kCorrupt where one holds metadata or has no reference
  // left to lose.
  Status Drop(std::span<const uint64_t> clusters);
  // The clusters of a table that the header named until now. What was not counted cannot be given
  // back, and what cannot be looked up is a leak.
  void DropTable(uint64_t first_cluster, uint64_t count);
  // A table that others refer to as well: of at least two references it loses one, so it is never
  // free while anybody may look at it.
  void DropSharedTable(uint64_t cluster);

  // Of the sorted `clusters`, which leave the quarantine, those that lose their last reference.
  std::vector<uint64_t> LastReferences(std::span<const uint64_t> clusters);
  // Their refcounts go down. A failure is a leak, which is permitted.
  void Release(std::span<const uint64_t> clusters);

 private:
  // Whether the cluster has as many references to lose as are `waiting`.
  Status CheckDrop(uint64_t cluster, uint32_t waiting);
  void StopWaiting(uint64_t cluster);

  const std::string& path_;
  const Geometry geometry_;
  RefcountBlocks& refcounts_;
  OverlapGuard& overlap_;
  PendingChanges& pending_;
  // References that were taken away and whose refcounts are still up: pending ones, those of a
  // commit under way, and those in quarantine.
  std::unordered_map<uint64_t, uint32_t> waiting_;
};

}  // namespace chainfs::qcow2

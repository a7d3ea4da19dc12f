// SPDX-License-Identifier: Apache-2.0
//
// Snapshotter: a chain moves to a new active layer while it is in use.
//
// Crash ordering. Each step is durable before the next one:
//   1. the chain's record says `next`: an overlay is being made that holds nothing yet
//   2. the overlay exists, complete
//   3. the disk is quiet and flushed; the record says `active`: the overlay
//   4. guests write to the overlay
// A crash before 3 leaves the old active layer active, and perhaps an empty overlay, which is
// removed when its chain is opened again (chain_recovery.h). A crash after 3 leaves the new one
// active. Either way the contents are the same.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "blocklayer/catalog/chain_moves.h"
#include "blocklayer/catalog/scanner.h"
#include "blocklayer/catalog/snapshot_steps.h"

namespace chainfs {

class Snapshotter {
 public:
  // The references outlive this.
  Snapshotter(SnapshotSteps& steps, ChainSet& chains, ChainRecords& chain_records, Scanner& scanner,
              EventQueue& events)
      : steps_(steps),
        chains_(chains),
        chain_records_(chain_records),
        scanner_(scanner),
        events_(events) {}

  // The layer that is active afterwards. kBusy while a job holds a point in time of the disk.
  // `held_for`: the job that is to hold this one.
  Result<LayerPtr> Take(const DiskPtr& disk, const SnapshotRequest& request,
                        const std::string& held_for = {});
  // The point in time that the job holds; holds it from now on where nobody does. As of
  // ChainMoves::FreezeFor.
  Result<FrozenPoint> FreezeFor(const DiskPtr& disk, const FreezeRequest& request);
  // The point in time that the job holds, if it does.
  Result<std::optional<FrozenPoint>> Held(const DiskPtr& disk, std::string_view id);
  // The path of the overlay that the above would make.
  Result<std::string> PlanTarget(const DiskPtr& disk, const SnapshotRequest& request);

 private:
  SnapshotSteps& steps_;
  ChainSet& chains_;
  ChainRecords& chain_records_;
  Scanner& scanner_;
  EventQueue& events_;
};

}  // namespace chainfs

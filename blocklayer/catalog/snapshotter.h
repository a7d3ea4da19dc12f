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

#include <string>

#include "blocklayer/catalog/backing_names.h"
#include "blocklayer/catalog/chain_moves.h"
#include "blocklayer/catalog/chain_records.h"
#include "blocklayer/catalog/scanner.h"
#include "blocklayer/catalog/snapshot_target.h"

namespace chainfs {

class Snapshotter {
 public:
  // The references outlive this. `read_only`: of the mount.
  Snapshotter(Roots& roots, Sources& sources, LayerPool& pool, ChainSet& chains,
              ChainRecords& chain_records, BackingNames& names, SnapshotTarget& target,
              Scanner& scanner, ListPublisher& publisher, EventQueue& events, bool read_only)
      : roots_(roots),
        sources_(sources),
        pool_(pool),
        chains_(chains),
        chain_records_(chain_records),
        names_(names),
        target_(target),
        scanner_(scanner),
        publisher_(publisher),
        events_(events),
        read_only_(read_only) {}

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
  struct SnapshotPlan {
    CatalogEntry* entry = nullptr;
    FileLocation target;
    BackingReference backing;  // how the overlay names what was active
    FormatRow::Create create = nullptr;
    ChainRecords::Known known;  // the record as it is
  };

  Result<SnapshotPlan> Plan(const DiskPtr& disk, const SnapshotRequest& request);
  // The record of step 1.
  Result<ChainRecord> Announce(const SnapshotPlan& plan, const ChainRecords::Known& known);
  Result<LayerPtr> MakeOverlay(const SnapshotPlan& plan, const SnapshotRequest& request);
  void Undo(CatalogEntry& entry, const FileLocation& target, const FileId& made,
            const ChainRecords::Known& known);

  Roots& roots_;
  Sources& sources_;
  LayerPool& pool_;
  ChainSet& chains_;
  ChainRecords& chain_records_;
  BackingNames& names_;
  SnapshotTarget& target_;
  Scanner& scanner_;
  ListPublisher& publisher_;
  EventQueue& events_;
  const bool read_only_;
};

}  // namespace chainfs

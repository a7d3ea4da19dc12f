// SPDX-License-Identifier: Apache-2.0
//
// SnapshotSteps: what a snapshot does before and after the moment of the switch: the chain's record
// says that an overlay is being made, the overlay is made; later the layer that was active is
// frozen. The same for one disk (snapshotter.h) and for several at once (group_snapshotter.h).
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <string>

#include "blocklayer/catalog/backing_names.h"
#include "blocklayer/catalog/chain_records.h"
#include "blocklayer/catalog/list_publisher.h"
#include "blocklayer/catalog/snapshot_target.h"

namespace chainfs {

// What a snapshot is for, beside what its request says.
struct SnapshotPurpose {
  std::string held_for = {};  // a job that holds the point in time
  std::string group = {};     // the group record (group_record.h) that decides about it
};

struct PlannedSnapshot {
  CatalogEntry* entry = nullptr;
  FileLocation target;
  BackingReference backing;  // how the overlay names what was active
  FormatRow::Create create = nullptr;
  ChainRecords::Known known;  // the record as it was
};

// Its overlay is there, and the entry has its place; the disk has not switched yet.
struct PreparedSnapshot {
  PlannedSnapshot plan;
  Candidate before;    // the entry's
  LayerPtr frozen;     // what is active
  LayerPtr overlay;    // what is to be
  ChainRecord record;  // what is to be durable at the moment of the switch
};

class SnapshotSteps {
 public:
  // The references outlive this. `read_only`: of the mount.
  SnapshotSteps(Roots& roots, Sources& sources, LayerPool& pool, ChainSet& chains,
                ChainRecords& chain_records, BackingNames& names, SnapshotTarget& target,
                ListPublisher& publisher, bool read_only)
      : roots_(roots),
        sources_(sources),
        pool_(pool),
        chains_(chains),
        chain_records_(chain_records),
        names_(names),
        target_(target),
        publisher_(publisher),
        read_only_(read_only) {}

  // kBusy while a job holds a point in time of the disk; else as of Catalog::Snapshot.
  Result<PlannedSnapshot> Plan(const DiskPtr& disk, const SnapshotRequest& request);
  // Steps 1 and 2; all or nothing.
  Result<PreparedSnapshot> Prepare(PlannedSnapshot plan, const SnapshotRequest& request,
                                   const SnapshotPurpose& purpose);
  // What was active is frozen. Whoever calls it looks at the sources then.
  void Finish(const PreparedSnapshot& prepared);
  // As it was before Prepare, as far as that can be; the disk has not switched.
  void TakeBack(const PreparedSnapshot& prepared);

 private:
  // The record of step 1.
  Result<ChainRecord> Announce(const PlannedSnapshot& plan, const SnapshotPurpose& purpose);
  Result<LayerPtr> MakeOverlay(const PlannedSnapshot& plan, const SnapshotRequest& request);

  Roots& roots_;
  Sources& sources_;
  LayerPool& pool_;
  ChainSet& chains_;
  ChainRecords& chain_records_;
  BackingNames& names_;
  SnapshotTarget& target_;
  ListPublisher& publisher_;
  const bool read_only_;
};

}  // namespace chainfs

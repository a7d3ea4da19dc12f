// SPDX-License-Identifier: Apache-2.0
//
// GroupSnapshotter: snapshots of several disks at one point in time: all of them or none, also
// after a crash between any two steps.
//
// Crash ordering. Each step is durable before the next one:
//   1. each chain's record says `next` and `group`, and its overlay exists, complete
//   2. all disks are quiet and flushed; the record of the group is there: that decides
//   3. guests write to the overlays
//   4. each chain's record says `active`: the overlay; then the record of the group goes
// A crash before 2 is one before step 3 of a snapshot of each (snapshotter.h); after it, each chain
// counts as moved, whatever its own record says (group_record.h).
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/catalog/scanner.h"
#include "blocklayer/catalog/snapshot_steps.h"

namespace chainfs {

class GroupSnapshotter {
 public:
  // The references outlive this.
  GroupSnapshotter(Sources& sources, RecordStore& records, SnapshotSteps& steps,
                   ChainRecords& chain_records, Scanner& scanner, EventQueue& events)
      : sources_(sources),
        records_(records),
        steps_(steps),
        chain_records_(chain_records),
        scanner_(scanner),
        events_(events) {}

  // As of ChainMoves::SnapshotTogether.
  Result<Layers> Take(const GroupRequest& request);
  Result<std::vector<std::string>> PlanTargets(const GroupRequest& request);

 private:
  using Prepared = std::vector<PreparedSnapshot>;

  Result<std::vector<PlannedSnapshot>> PlanAll(const GroupRequest& request);
  // Where all of it is recorded; kUnsupported where that is in several places.
  Result<RecordDirectory*> CommonStore(const GroupRequest& request,
                                       const std::vector<PlannedSnapshot>& plans);
  Result<Prepared> PrepareAll(std::vector<PlannedSnapshot> plans,
                              const std::vector<GroupMember>& members, const std::string& id);
  // Step 2: all disks have switched, or none. `unknown`: none has, but the record of the group may
  // be there, so none of them is written any more.
  Status SwitchAll(const std::vector<GroupMember>& members, const Prepared& prepared,
                   RecordDirectory& store, const std::string& id, bool& unknown);
  // Step 4. What fails is made up for by the next scan.
  void WriteRecords(const Prepared& prepared, RecordDirectory& store);

  Sources& sources_;
  RecordStore& records_;
  SnapshotSteps& steps_;
  ChainRecords& chain_records_;
  Scanner& scanner_;
  EventQueue& events_;
};

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
//
// ChainMover: a disk goes on with another layer of its chain, or with another image, that shows the
// same, while it is in use.
//
// Crash ordering, each step durable before the next one:
//   1. the layer shows what the disk shows
//   2. the chain's record says that it is active, and which layers the chain has left (`stale`,
//      `merged`) or is to remove (`drop`)
//   3. guests write to it
//   4. the layers that were left are marked as changed or merged, or removed from the top down;
//   then
//      the record says so
// After 2 they count as marked or are not shown, whether or not 4 was reached; the next mount goes
// on with 4 (chain_recovery.h).
//
// Threads: all methods need CatalogParts::mu, and let others in while they look around.
#pragma once

#include "blocklayer/catalog/chain_moves.h"
#include "blocklayer/catalog/chain_records.h"
#include "blocklayer/catalog/dropped_layers.h"
#include "blocklayer/catalog/layer_needs.h"
#include "blocklayer/catalog/scanner.h"

namespace chainfs {

class ChainMover {
 public:
  // The references outlive this. `read_only`: of the mount.
  ChainMover(Roots& roots, Sources& sources, LayerPool& pool, ChainSet& chains,
             ChainRecords& chain_records, HiddenUsers& hidden, LayerNeeds& needs,
             DroppedLayers& dropped, Scanner& scanner, EventQueue& events, bool read_only)
      : roots_(roots),
        sources_(sources),
        pool_(pool),
        chains_(chains),
        chain_records_(chain_records),
        hidden_(hidden),
        needs_(needs),
        dropped_(dropped),
        scanner_(scanner),
        events_(events),
        read_only_(read_only) {}

  // As of ChainMoves.
  Result<LeftOutLayers> ContinueOn(const DiskPtr& disk, const ContinueRequest& request);
  Result<std::vector<std::string>> UsersOf(const DiskPtr& disk, const Layer& layer,
                                           const Layer& whole, const std::string& job);

 private:
  struct MovePlan {
    Layers layers;          // what the disk goes on with
    Layers left;            // of its own chain, top first; empty when it goes on with a target
    LayerPtr before;        // what was active
    FileLocation location;  // of the new active layer, as a later scan will find it
    DiskPtr held;           // the disk of the point in time that this ends
  };

  Result<CatalogEntry*> WritableEntry(const DiskPtr& disk);
  Result<MovePlan> Plan(const CatalogEntry& entry, const ContinueRequest& request,
                        const HiddenUsers::Around& around);
  // kBusy while anybody but the disk needs what is to be written.
  Status CheckUnused(const CatalogEntry& entry, const MovePlan& plan,
                     const ContinueRequest& request, const HiddenUsers::Around& around);
  // kBusy while a job holds a point in time that this does not end, or while that is open; nobody
  // opens it from then on.
  Status CheckHeld(const CatalogEntry& entry, MovePlan& plan, const ChainRecord& record);
  // kStale unless the name leads to the layer that is meant.
  static Status CheckThere(const MovePlan& plan);
  Result<ChainRecord> RecordAfter(const MovePlan& plan, const ChainRecords::Known& known,
                                  const ContinueRequest& request);
  Status Switch(CatalogEntry& entry, const MovePlan& plan, const ChainRecords::Known& known,
                const ChainRecord& record, const ContinueRequest& request);
  // What others see of it, and step 4.
  LeftOutLayers Finish(CatalogEntry& entry, const MovePlan& plan, const ChainRecords::Known& known,
                       ChainRecord record);

  Roots& roots_;
  Sources& sources_;
  LayerPool& pool_;
  ChainSet& chains_;
  ChainRecords& chain_records_;
  HiddenUsers& hidden_;
  LayerNeeds& needs_;
  DroppedLayers& dropped_;
  Scanner& scanner_;
  EventQueue& events_;
  const bool read_only_;
};

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
//
// Reverter: a disk goes back to an older layer of its chain, and the newer ones are removed.
//
// Crash ordering. Each step is durable before the next one:
//   1. the chain's record says that the older layer is active, and what is to be dropped
//   2. the disk goes on with the older layer, and guests may write to it
//   3. the newer layers are removed, from the top down
//   4. the record says so
// A crash before 1 leaves everything as it was. After 1 the newer layers are not shown any more, so
// they keep nobody from writing; the next mount goes on with 3 when it has locked the active layer
// for writing (chain_recovery.h). At any moment every file that is there can be opened.
//
// Threads: all methods need CatalogParts::mu, and let others in while they look around.
#pragma once

#include "blocklayer/catalog/chain_records.h"
#include "blocklayer/catalog/dropped_layers.h"
#include "blocklayer/catalog/layer_needs.h"
#include "blocklayer/catalog/layer_roles.h"
#include "blocklayer/catalog/scanner.h"

namespace chainfs {

class Reverter {
 public:
  // The references outlive this.
  Reverter(Roots& roots, Sources& sources, LayerPool& pool, ChainSet& chains,
           ChainRecords& chain_records, HiddenUsers& hidden, LeftOutMarks& marks, LayerNeeds& needs,
           LayerRoles& roles, DroppedLayers& dropped, Scanner& scanner, EventQueue& events)
      : roots_(roots),
        sources_(sources),
        pool_(pool),
        chains_(chains),
        chain_records_(chain_records),
        hidden_(hidden),
        marks_(marks),
        needs_(needs),
        roles_(roles),
        dropped_(dropped),
        scanner_(scanner),
        events_(events) {}

  // As Catalog::Revert, on a mount that may write.
  Result<LeftOutLayers> Revert(const DiskPtr& disk, const Layer& to, bool anywhere, bool dry_run);

 private:
  struct RevertPlan {
    Layers dropped;  // top first
    LayerPtr to;
    FileLocation location;  // of `to`, as a later scan will find it
    Layers rest;            // from `to` on
  };

  Result<RevertPlan> Plan(const CatalogEntry& entry, const Layer& to,
                          const HiddenUsers::Around& around, bool anywhere);
  // kInvalidArgument where a job that did not finish has written beneath what would be active.
  Status CheckWhole(const RevertPlan& plan) const;
  // kBusy while anybody else needs the layer, which would go or be written.
  Status CheckUnneeded(const Layer& layer, const RevertPlan& plan, const CatalogEntry& entry,
                       const HiddenUsers::Around& around, bool anywhere);
  ChainRecord RecordAfter(const RevertPlan& plan, const ChainRecords::Known& known);
  // Makes the record durable and the disk go on with the older layer; all or nothing.
  Status SwitchBack(CatalogEntry& entry, const RevertPlan& plan, const ChainRecords::Known& known,
                    const ChainRecord& record);
  // The disks that the layers had of their own go, and the entry takes the place of one. The entry
  // as it is now.
  CatalogEntry& TakePlaceOf(CatalogEntry& entry, const RevertPlan& plan,
                            const ChainRecords::Known& known, const ChainRecord& record);

  Roots& roots_;
  Sources& sources_;
  LayerPool& pool_;
  ChainSet& chains_;
  ChainRecords& chain_records_;
  HiddenUsers& hidden_;
  LeftOutMarks& marks_;
  LayerNeeds& needs_;
  LayerRoles& roles_;
  DroppedLayers& dropped_;
  Scanner& scanner_;
  EventQueue& events_;
};

}  // namespace chainfs

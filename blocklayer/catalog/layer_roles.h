// SPDX-License-Identifier: Apache-2.0
//
// LayerRoles: which images guests may write. An image that another one is built on must not change
// any more, or the other one's contents would change with it. So its disk turns read-only as soon
// as nobody has it open for writing, and back again when nothing is built on it any longer.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/hidden_users.h"
#include "blocklayer/catalog/layer_users.h"
#include "blocklayer/catalog/left_out_marks.h"

namespace chainfs {

class LayerRoles {
 public:
  // The references outlive this. `read_only`: no disk may ever be written.
  LayerRoles(ChainSet& chains, HiddenUsers& hidden, LeftOutMarks& marks, LayerPool& pool,
             EventQueue& events, bool read_only)
      : chains_(chains),
        hidden_(hidden),
        marks_(marks),
        pool_(pool),
        events_(events),
        read_only_(read_only) {}

  // Layers that must not be written.
  LayerUsers Backed();
  // Layers that guests may be writing.
  LayerUsers Written();
  // External data files, which are no disks by themselves.
  LayerUsers DataFiles();
  // Freezes and thaws what has to be, now that these are the backed layers.
  void Update(const LayerUsers& backed);
  // Its disk is read-only as long as anybody reads it beneath others: a job will. False, and
  // nothing changes, while somebody has it open for writing.
  bool FreezeForJob(CatalogEntry& entry);
  // Thaws an entry, which is frozen and that nothing is built on.
  void Thaw(CatalogEntry& entry);

 private:
  // Why an entry with such a user is read-only.
  std::string ReasonOf(const CatalogEntry& entry, const LayerUser& user) const;
  // False while somebody has it open for writing.
  bool Freeze(CatalogEntry& entry, const LayerUser& user);

  ChainSet& chains_;
  HiddenUsers& hidden_;
  LeftOutMarks& marks_;
  LayerPool& pool_;
  EventQueue& events_;
  const bool read_only_;
};

}  // namespace chainfs

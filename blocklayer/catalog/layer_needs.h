// SPDX-License-Identifier: Apache-2.0
//
// LayerNeeds: whether anybody needs an image file.
//
// A file is needed while a chain in view, usable or not, or a disk that somebody still has open,
// contains it below its top; while a record names it; while another process has it locked; and as a
// disk of its own, unless a stream has left it out. Files are told apart by device and inode, never
// by name. Whoever removes looks at the sources again first.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/hidden_users.h"
#include "blocklayer/catalog/left_out_marks.h"
#include "blocklayer/catalog/record_store.h"

namespace chainfs {

class LayerNeeds {
 public:
  // Which references to a layer do not count.
  struct Sight {
    std::set<FileId> gone = {};          // tops of chains that are as good as removed
    std::optional<FileId> skipped = {};  // a chain that contains this one does not need the layer
    std::string own_record = {};         // the record of the chain with this active layer
    std::string own_job = {};            // the record of the job with this id
    const HiddenUsers::Around* around = nullptr;  // overlays that were just seen; these count
  };

  // The references outlive this.
  LayerNeeds(Roots& roots, Sources& sources, RecordStore& records, ChainSet& chains,
             HiddenUsers& hidden, const LeftOutMarks& marks)
      : roots_(roots),
        sources_(sources),
        records_(records),
        chains_(chains),
        hidden_(hidden),
        marks_(marks) {}

  // Why somebody needs the file; empty when nobody does.
  std::string Because(const FileId& id, const std::string& path, const Sight& sight);
  std::string BecauseOfRecords(const FileId& id, const std::string& path, const Sight& sight);
  // Everybody who is built on the layer, or else would find it changed: one phrase each. That its
  // own disk is being read is no matter. With `around`.
  std::vector<std::string> UsersOf(const Layer& layer, const Sight& sight);
  // As a disk of its own.
  static std::string BecauseOfItself(const CatalogEntry& entry);
  // The layers of `left_out`, which a stream leaves out beneath `top`, that nobody needs, top
  // first.
  Layers UnneededOf(const Layer& top, const Layers& left_out, const HiddenUsers::Around& around);

 private:
  std::string BecauseOfEntry(const CatalogEntry& entry, const FileId& id, const std::string& path,
                             const Sight& sight);
  std::string BecauseOfGhost(const Disk& ghost, const FileId& id, const Sight& sight);
  std::string BecauseOfChains(const FileId& id, const std::string& path, const Sight& sight);
  std::string BecauseOfHidden(const FileId& id, const Sight& sight);

  Roots& roots_;
  Sources& sources_;
  RecordStore& records_;
  ChainSet& chains_;
  HiddenUsers& hidden_;
  const LeftOutMarks& marks_;
};

}  // namespace chainfs

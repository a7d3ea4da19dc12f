// SPDX-License-Identifier: Apache-2.0
//
// DiskNotes: what people should know of disks that work. One object serves one list: it remembers
// what became of each layer's file.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "blocklayer/catalog/hidden_users.h"

namespace chainfs {

class DiskNotes {
 public:
  // The references outlive this.
  DiskNotes(const CatalogEntries& entries, const HiddenUsers& hidden)
      : entries_(entries), hidden_(hidden) {}

  // Of an entry with a disk.
  void Add(const CatalogEntry& entry, std::vector<ImageNote>& notes);

 private:
  // What became of the file of a layer that is not where it was opened; empty for one that is.
  std::string FateOf(const Layer& layer) const;
  // The same of the first such layer of a disk.
  std::string LostLayer(const Disk& disk);

  const CatalogEntries& entries_;
  const HiddenUsers& hidden_;
  std::map<const Layer*, std::string> fates_;
};

}  // namespace chainfs

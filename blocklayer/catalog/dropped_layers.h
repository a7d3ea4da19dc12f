// SPDX-License-Identifier: Apache-2.0
//
// DroppedLayers: the last steps of a revert: the newer layers, which the record of the chain says
// are dropped, are removed from the top down, and then the record says so. The same where a chain
// went on with a layer below: what it left is removed, or marked as changed. What was interrupted
// is ended by the same steps at the next mount.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/catalog/left_out_marks.h"

namespace chainfs {

class DroppedLayers {
 public:
  // The references outlive this.
  DroppedLayers(Roots& roots, LeftOutMarks& marks) : roots_(roots), marks_(marks) {}

  // Marks what `record`, of that source, says is stale or merged, in the source's records. A mark
  // of the active layer goes, because without the record it would count again. The record is to be
  // written afterwards.
  Status Mark(size_t source, const FileId& active, ChainRecord& record);
  // Removes what `record`, in `file` of the store, says is dropped, then says so in it. `removed`
  // (may be null): paths.
  Status Remove(RecordDirectory& store, const std::string& file, ChainRecord& record,
                std::vector<std::string>* removed);

 private:
  Status MarkOne(size_t source, const ChainRecord::Dropped& file, const ChainRecord& record,
                 MarkKind kind);
  Status RemoveOne(const ChainRecord::Dropped& dropped, const ChainRecord& record);

  Roots& roots_;
  LeftOutMarks& marks_;
};

}  // namespace chainfs

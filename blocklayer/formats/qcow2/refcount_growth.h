// SPDX-License-Identifier: Apache-2.0
//
// RefcountGrowth: new refcount blocks and larger refcount tables, for clusters that nothing counts
// yet.
//
// A missing block is made in the first cluster of the range that it counts, which is free because
// nothing counts it; so a block counts itself, and no search can recurse.
//
// A new table goes to the disk past commits, with all refcounts that are not known to be there.
//
// Threads: none of its own; whoever has it guards it. Its methods write and sync the file.
#pragma once

#include <cstdint>

#include "blocklayer/formats/qcow2/dereferences.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header_editor.h"
#include "blocklayer/formats/qcow2/overlap_guard.h"
#include "blocklayer/formats/qcow2/pending_changes.h"
#include "blocklayer/formats/qcow2/refcount_blocks.h"
#include "blocklayer/formats/qcow2/table_slices.h"
#include "blocklayer/formats/qcow2/written_end.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class RefcountGrowth {
 public:
  // What it works on; all must outlive this.
  struct Parts {
    File& file;
    TableSlices& slices;
    HeaderEditor& header;
    OverlapGuard& overlap;
    WrittenEnd& written_end;
    PendingChanges& pending;
    RefcountBlocks& refcounts;
    Dereferences& dereferences;
  };
  RefcountGrowth(const Parts& parts, const Geometry& geometry)
      : parts_(parts), geometry_(geometry) {}

  // A block for the table's entry `block_index`, with a larger table where that has no such entry.
  // kNoSpace: the table is at its largest. kCorrupt: metadata lies where nothing counts it.
  Status AddBlock(uint64_t block_index);
  // A table with room for `block_index` and more. `extra_clusters` consecutive clusters are counted
  // as in use with it; the first one is returned.
  Result<uint64_t> GrowTable(uint64_t block_index, uint64_t extra_clusters);
  // Writes the whole table, durably, if any of it is pending. The blocks that it names are durable.
  Status WriteTable();

 private:
  // The sizes of a new table in clusters, and of the blocks that count its own area.
  struct Area {
    uint64_t table_clusters = 0;
    uint64_t blocks = 0;
  };
  Area PlanArea(uint64_t block_index, uint64_t extra_clusters) const;

  const Parts parts_;
  const Geometry geometry_;
};

}  // namespace chainfs::qcow2

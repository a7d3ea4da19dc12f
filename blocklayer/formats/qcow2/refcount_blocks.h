// SPDX-License-Identifier: Apache-2.0
//
// RefcountBlocks: how often each host cluster of one image is referred to, as the refcount table
// and its blocks say in memory.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstdint>
#include <string>

#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/pending_changes.h"
#include "blocklayer/formats/qcow2/refcount_table.h"
#include "blocklayer/formats/qcow2/table_slices.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class RefcountBlocks {
 public:
  // Free clusters that follow one another within one slice of a block.
  struct FreeRun {
    uint64_t first = 0;  // where the search goes on if there are none
    uint64_t count = 0;
    SlicePtr slice;
  };

  // All must outlive this.
  RefcountBlocks(const std::string& path, TableSlices& slices, PendingChanges& pending,
                 const Geometry& geometry, HostOffset table_offset)
      : path_(path),
        slices_(slices),
        pending_(pending),
        geometry_(geometry),
        table_offset_(table_offset) {}

  // The refcount table is read when it is needed; until then nothing is counted.
  const RefcountTable& table() const { return table_; }
  void SetTable(RefcountTable table) { table_ = std::move(table); }
  HostOffset table_offset() const { return table_offset_; }
  // A larger table, durable at `offset`, takes the place of the old one.
  void MoveTable(RefcountTable table, HostOffset offset);

  // Whether a block counts the cluster.
  bool Counts(uint64_t cluster) const { return SliceOffset(cluster).value != 0; }
  // 0 where nothing counts it. kCorrupt: the table names an impossible place.
  Result<uint64_t> Get(uint64_t cluster);
  // `delta`: 1 or -1. kCorrupt where the count cannot be changed so.
  Status Change(uint64_t cluster, int delta);
  // The first free clusters from `cluster` on, which a block counts: at most `want`, as far as its
  // slice goes.
  Result<FreeRun> FindFree(uint64_t cluster, uint64_t want);
  // They count as in use from now on. Cannot fail.
  void Take(const FreeRun& run);
  // A block of zeros, zeroed on disk, from now on counts the clusters of the table's entry `index`,
  // whose first it lies in: itself alone is in use.
  Status AddBlock(uint64_t index);

  // No free cluster lies below it, as whoever looked for one found out.
  uint64_t free_hint() const { return free_hint_; }
  void NoteUsedBelow(uint64_t cluster) { free_hint_ = cluster; }

 private:
  uint64_t entries_per_slice() const {
    return uint64_t{geometry_.slice_bytes()} * 8 / geometry_.refcount_bits();
  }
  uint64_t IndexInSlice(uint64_t cluster) const { return cluster % entries_per_slice(); }
  // Where the slice that counts the cluster lies; 0: none does.
  HostOffset SliceOffset(uint64_t cluster) const;
  // Null when none does.
  Result<SlicePtr> SliceOf(uint64_t cluster);

  const std::string& path_;
  TableSlices& slices_;
  PendingChanges& pending_;
  const Geometry geometry_;
  RefcountTable table_;
  HostOffset table_offset_;
  uint64_t free_hint_ = 0;
};

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
//
// ImageTables: the tables of one open image (header, L1, L2, refcounts) as the classes that move
// its data use them: the parts that each do one thing, and what takes several of them.
//
// Threads: all methods, any thread, but as the parts say.
// Locks: see README.md.
#pragma once

#include <cstdint>
#include <string>

#include "blocklayer/formats/qcow2/bitmap_keeper.h"
#include "blocklayer/formats/qcow2/commit_ledger.h"
#include "blocklayer/formats/qcow2/data_clusters.h"
#include "blocklayer/formats/qcow2/l2_tables.h"
#include "blocklayer/formats/qcow2/table_inventory.h"
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

class ImageTables {
 public:
  // The references must outlive this. `data`: as for TableState. `owner`: the image's key in
  // `cache`.
  ImageTables(File& file, File& data, MetadataCache& cache, uint64_t owner, IoEpoch& epoch,
              const Qcow2Header& header);

  const Geometry& geometry() const { return state_.geometry; }
  HeaderEditor& header() { return state_.header; }
  const HeaderEditor& header() const { return state_.header; }
  const Corruption& corruption() const { return state_.corruption; }
  const L1Table& l1() const { return state_.l1; }
  L2Tables& l2() { return l2_; }
  const L2Tables& l2() const { return l2_; }
  DataClusters& clusters() { return clusters_; }
  CommitLedger& ledger() { return ledger_; }
  TableInventory& inventory() { return inventory_; }
  BitmapKeeper& bitmaps() { return bitmaps_; }

  // Enlarges the L1 table to map `size` bytes; the virtual size stays. kInvalidArgument: no L1
  // table can map so much.
  Status GrowL1For(uint64_t size);
  // For broken metadata of this very image, found while changing it: refuses all further changes,
  // makes durable what was changed before (none of it depends on what is broken), and says so in
  // the header, as far as that can be written. `why` is what people are told.
  void MarkCorrupt(std::string why);
  // No change can be made durable any more.
  bool failed() const {
    return state_.file.poisoned() || state_.data.poisoned() || state_.header.uncertain();
  }

 private:
  // The table grows to `entries` entries. Nothing is pending or on its way to the old one.
  Status MoveL1(uint64_t entries) EXCLUDES(state_.mu);

  TableState state_;
  L2Tables l2_{state_};
  DataClusters clusters_{state_};
  CommitLedger ledger_;
  TableInventory inventory_;
  BitmapKeeper bitmaps_;
};

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
//
// BitmapStorage: bits, tables and the directory of bitmaps on their way to the disk. What is
// written in place is written only while the directory on disk says that the bitmap is in use, so
// that a crash leaves nothing that counts; all else goes to new clusters, which one write of a
// header sector puts in place of the old ones (Q2-4).
//
// Bits for which there is no space become all ones: the bitmap then says more than it must.
//
// Threads: none of its own; whoever has it guards it. It takes CommitLedger's and TableState's
// locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/bitmap_directory.h"
#include "blocklayer/formats/qcow2/commit_ledger.h"
#include "blocklayer/formats/qcow2/dirty_bits.h"
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

class BitmapStorage {
 public:
  // Both must outlive this.
  BitmapStorage(TableState& tables, CommitLedger& ledger) : tables_(tables), ledger_(ledger) {}

  // The bits from `first_bit` on.
  using FetchBits =
      std::function<DirtyBits::Contents(uint64_t first_bit, std::span<std::byte> out)>;
  // Writes all bits and the table of `bitmap`, which is in use on disk, durably. With another
  // number of entries than it has the table is a new one, which `bitmap` names then, and the
  // directory does not. `unused`: the clusters that are nobody's once the directory is right.
  Status WriteBits(StoredBitmap& bitmap, uint64_t entries, const FetchBits& fetch,
                   std::vector<uint64_t>& unused);
  // A table without any ones, durable once the ledger commits.
  Result<HostOffset> NewTable(uint64_t entries);
  // The flags of these bitmaps, at their places in the directory; durable.
  Status WriteFlags(std::span<const StoredBitmap> bitmaps);
  // The directory holds these from now on, durably, and notes their places; none: there is none.
  // All that they name is durable. kUnsupported: the header has no room.
  Status SwitchDirectory(std::span<StoredBitmap> bitmaps);

  // The clusters of its table and its bits.
  Result<std::vector<uint64_t>> ClustersOf(const StoredBitmap& bitmap);
  // They are nobody's any more.
  void Drop(std::span<const uint64_t> clusters);

 private:
  // Cluster `index` of bits: its new entry. `old_place` is kept where it has bits.
  Result<uint64_t> WriteCluster(uint64_t index, HostOffset old_place, const FetchBits& fetch,
                                std::vector<uint64_t>& unused);
  Result<HostOffset> AllocateContiguous(uint64_t bytes);
  uint64_t ClustersFor(uint64_t bytes) const {
    return DivRoundUp(bytes, tables_.geometry.cluster_size());
  }

  TableState& tables_;
  CommitLedger& ledger_;
};

}  // namespace chainfs::qcow2

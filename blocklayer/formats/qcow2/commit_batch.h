// SPDX-License-Identifier: Apache-2.0
//
// CommitBatch: copies of all changed tables of one image on their way to the disk, and the order in
// which they are written:
//
//     refcount blocks             -> sync (also covers all data and all new, zeroed tables)
//     refcount table entries      -> sync (only when there are new refcount blocks)
//     L2 slices and L1 entries    -> sync
//
// A crash before the last step leaves leaks; in its midst, entries that are old or new, each valid:
// a new L2 table was zeroed before the first sync, so an L1 entry without its L2 slices reads as
// unallocated, which is the old state. After it, what was dereferenced may go (Q2-1, Q2-2, Q2-3).
//
// Threads: a plain value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "blocklayer/base/types.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Entries of the refcount table are written by sectors.
inline constexpr uint64_t kTableSector = 512;

struct CommitBatch {
  struct Slice {
    HostOffset offset;
    SlicePtr slice;  // keeps it from being evicted; it may have changed since it was copied
    std::vector<std::byte> bytes;
  };

  std::vector<Slice> refcounts;
  std::vector<Slice> l2;
  std::vector<Slice> l1;
  HostOffset l1_end;  // what lies beyond is not the table's
  HostOffset reftable_offset;
  std::set<uint64_t> reftable_sectors;
  std::vector<std::byte> reftable_bytes;  // one sector each, in the order of the set
  std::vector<uint64_t> dereferenced;     // clusters that lose a reference by this batch
  std::vector<uint64_t> vacated;          // places of the data file that are not mapped after it

  // Whether no table changes. Data may have been written all the same.
  bool empty() const {
    return refcounts.empty() && l2.empty() && l1.empty() && reftable_sectors.empty();
  }
  // Durable on return, and with it all data written before; an empty batch syncs, too. `data`:
  // where guest data lies, perhaps the same file; it is synced before anything can refer to it.
  Status Write(File& file, File& data) const;
};

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
//
// TableState: the tables of one image in memory, in parts, and the lock over them. The classes that
// look up, link, commit and learn work on it together.
//
// Locks: `mu` is held across the loading of a missing slice, the zeroing of a new table and the
// growth of a table, never across a commit's I/O. Under it the parts with a lock of their own are
// used, whose locks are leaves (the header's is held across the I/O of its change).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/cluster_allocator.h"
#include "blocklayer/formats/qcow2/corruption.h"
#include "blocklayer/formats/qcow2/dereferences.h"
#include "blocklayer/formats/qcow2/header_editor.h"
#include "blocklayer/formats/qcow2/l1_table.h"
#include "blocklayer/formats/qcow2/overlap_guard.h"
#include "blocklayer/formats/qcow2/pending_changes.h"
#include "blocklayer/formats/qcow2/refcount_blocks.h"
#include "blocklayer/formats/qcow2/refcount_growth.h"
#include "blocklayer/formats/qcow2/table_slices.h"
#include "blocklayer/formats/qcow2/vacated_places.h"
#include "blocklayer/formats/qcow2/written_end.h"

namespace chainfs::qcow2 {

struct TableState {
  // All references must outlive this; `header` was read from the image. `guest_data`: the file
  // where guest data lies, mostly the image itself.
  TableState(File& image, File& guest_data, MetadataCache& cache, uint64_t owner,
             const Qcow2Header& header_read);
  TableState(const TableState&) = delete;
  TableState& operator=(const TableState&) = delete;

  // Constant.
  File& file;
  File& data;
  const Geometry geometry;

  // With rules of their own: any thread.
  HeaderEditor header;
  Corruption corruption;
  OverlapGuard overlap;
  WrittenEnd written_end;
  TableSlices slices;
  std::atomic<size_t> pending_weight = 0;  // of `pending`, in slices

  Mutex mu;
  PendingChanges pending GUARDED_BY(mu);
  RefcountBlocks refcounts GUARDED_BY(mu);
  Dereferences dereferences GUARDED_BY(mu);
  RefcountGrowth growth GUARDED_BY(mu);
  ClusterAllocator allocator GUARDED_BY(mu);
  VacatedPlaces vacated GUARDED_BY(mu);
  // Looking up takes no lock, changing does.
  const std::unique_ptr<L1Table> l1_to_change PT_GUARDED_BY(mu);
  const L1Table& l1;

 private:
  RefcountGrowth::Parts Parts() NO_THREAD_SAFETY_ANALYSIS {
    return {file, slices, header, overlap, written_end, pending, refcounts, dereferences};
  }
};

}  // namespace chainfs::qcow2

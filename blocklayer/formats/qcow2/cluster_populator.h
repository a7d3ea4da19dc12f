// SPDX-License-Identifier: Apache-2.0
//
// ClusterPopulator: the copies of jobs: what an image does not hold is filled in, and what it holds
// by then is left alone; or the reverse. With extended L2 entries that goes by subclusters.
//
// Threads: any. Each call holds the image's range lock across its I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "blocklayer/formats/qcow2/cluster_unsharer.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/io_epoch.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class ClusterPopulator {
 public:
  // All must outlive this.
  ClusterPopulator(File& file, ImageTables& tables, RangeLock& range_lock, IoEpoch& epoch)
      : file_(file),
        tables_(tables),
        unsharer_(file, tables),
        range_lock_(range_lock),
        epoch_(epoch) {}

  // The range begins aligned and ends aligned or with the disk. kCorrupt: a table of this image is
  // broken.
  Status Populate(GuestOffset offset, std::span<const std::byte> data);
  Status PopulateZeroes(GuestOffset offset, uint64_t length);
  Status PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                          HostOffset source_offset);
  Status Unpopulate(GuestOffset offset, uint64_t length);

 private:
  // `clusters` unallocated ones, the first of which is number `index` of the range, are to be
  // populated; returns how many were, at least one.
  using PopulateRun = std::function<Result<uint64_t>(uint64_t index, uint64_t clusters)>;
  // The same for what is unallocated of cluster number `index`, some of which is not.
  using PopulateRest = std::function<Status(uint64_t index, const ClusterMapping& before)>;
  // Calls them under the range lock, run by run.
  Status ForUnallocated(GuestOffset offset, uint64_t length, const PopulateRun& populate,
                        const PopulateRest& populate_rest);
  // Fills `bytes` bytes at `host`, which belong `skip` bytes after the start of the range.
  using FillRun = std::function<Status(uint64_t skip, uint64_t bytes, HostOffset host)>;
  Status PopulateRuns(GuestOffset offset, uint64_t length, const FillRun& fill);
  // What is to be filled of one cluster of a range of `length` bytes, before the end of which
  // `skip` ones precede it.
  struct Rest {
    GuestOffset cluster;
    uint64_t skip;
    uint64_t length;
  };
  Status FillRest(const Rest& rest, const ClusterMapping& before, const FillRun& fill);
  // Its unallocated subclusters, at their place in `now`, which notes them as allocated.
  Status FillSubclusters(const Rest& rest, ClusterMapping& now, const FillRun& fill);
  Status UnlinkClusters(GuestOffset first, uint64_t clusters);

  File& file_;
  ImageTables& tables_;
  ClusterUnsharer unsharer_;
  RangeLock& range_lock_;
  IoEpoch& epoch_;
};

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
//
// TableSlices: the tables of one image in the cache that all images share. A *slice* is a piece of
// at most 4 KiB of a table, the unit in which tables are read, kept and written.
//
// Threads: all methods, any thread.
#pragma once

#include <cstdint>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class TableSlices {
 public:
  // `owner` is the image's key in `cache`. Both objects must outlive this.
  TableSlices(File& file, MetadataCache& cache, uint64_t owner, const Geometry& geometry)
      : file_(file), cache_(cache), owner_(owner), geometry_(geometry) {}

  // The slice that begins at `offset`, read if it is not at hand.
  Result<SlicePtr> Load(HostOffset offset);
  // A slice of zeros, of a table that was just allocated and zeroed on disk.
  Result<SlicePtr> PutZeroed(HostOffset offset);
  // The clusters are about to hold another table: what they held before must not be taken for it.
  void Forget(uint64_t first_cluster, uint64_t count);

 private:
  File& file_;
  MetadataCache& cache_;
  const uint64_t owner_;
  const Geometry geometry_;
};

}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
//
// DecodedCache: decompressed clusters of all images of the daemon, so that small reads of one
// compressed cluster decode it once. Keyed by the layer and the host offset of the compressed
// bytes; bounded; concurrent readers of one cluster share one decoding.
//
// A key never comes to mean other bytes: chainfs does not write compressed clusters, and layers'
// owner ids are not reused.
//
// Threads: all methods, any thread. Decoding happens with no lock held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blocklayer/cache/single_flight_cache.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

class DecodedCache {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;

  explicit DecodedCache(uint64_t limit_bytes);

  // Fills `out` with what lies `within` bytes into the decoded cluster that `extent` (kCompressed)
  // of `layer` names; within + out.size() <= cluster size. The caller keeps the extent valid (an
  // IoEpoch guard, or a frozen layer). A read of the whole cluster decodes in place and is not
  // kept: whoever reads in order has no use for it again.
  Status Read(const Layer& layer, const Extent& extent, uint64_t within, std::span<std::byte> out);

  uint64_t UsedBytes() const { return cache_.Count().used_bytes; }
  uint64_t hits() const { return cache_.Count().hits; }
  uint64_t misses() const { return cache_.Count().misses; }

 private:
  struct Cluster {
    Bytes bytes;
    uint64_t MemoryBytes() const;
  };

  // One shard: a share of the limit must hold clusters of 2 MiB, and a look-up costs little beside
  // what decoding does.
  SingleFlightCache<Cluster> cache_;
};

}  // namespace chainfs

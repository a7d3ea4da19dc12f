// SPDX-License-Identifier: Apache-2.0
//
// DecodedCache: decompressed clusters of all images of the daemon, so that small reads of one
// compressed cluster decode it once. Keyed by where the compressed bytes lie; bounded; concurrent
// readers of one cluster share one decoding.
//
// A key never comes to mean other bytes: chainfs writes compressed clusters only where a file was
// never written before, and the ids of owners are not reused.
//
// Threads: all methods, any thread. Decoding happens with no lock held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "blocklayer/base/types.h"
#include "blocklayer/cache/single_flight_cache.h"

namespace chainfs {

class DecodedCache {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;

  // Where the compressed bytes of a cluster lie.
  struct Place {
    uint64_t owner = 0;   // of the image; below 2^48
    uint16_t source = 0;  // among those of the image
    HostOffset host = {};
  };

  explicit DecodedCache(uint64_t limit_bytes);

  // Fills `out` with what lies `within` bytes into the decoded cluster, which has `cluster_size`
  // bytes; within + out.size() <= cluster_size. `decode` is called as Status(std::span<std::byte>)
  // to decode all of it; the caller keeps the place valid (an IoEpoch guard, or a frozen layer). A
  // read of the whole cluster decodes in place and is not kept: whoever reads in order has no use
  // for it again.
  template <typename Decode>
  Status Read(const Place& place, uint32_t cluster_size, uint64_t within, std::span<std::byte> out,
              const Decode& decode) {
    const CacheKey key{place.owner << kSourceBits | place.source, place.host.value};
    Cluster cluster;
    if (out.size() == cluster_size) {
      const std::optional<Cluster> kept = cache_.Peek(key);
      if (!kept) return decode(out);
      cluster = *kept;
    } else {
      CHAINFS_ASSIGN(cluster, cache_.Get(key, [&]() -> Result<Cluster> {
        auto bytes = std::make_shared<std::vector<std::byte>>(cluster_size);
        CHAINFS_TRY(decode(std::span(*bytes)));
        return Cluster{std::move(bytes)};
      }));
    }
    std::memcpy(out.data(), cluster.bytes->data() + within, out.size());
    return {};
  }

  uint64_t UsedBytes() const { return cache_.Count().used_bytes; }
  uint64_t hits() const { return cache_.Count().hits; }
  uint64_t misses() const { return cache_.Count().misses; }

 private:
  static constexpr int kSourceBits = 16;
  struct Cluster {
    Bytes bytes;
    uint64_t MemoryBytes() const;
  };

  // One shard: a share of the limit must hold clusters of 2 MiB, and a look-up costs little beside
  // what decoding does.
  SingleFlightCache<Cluster> cache_;
};

}  // namespace chainfs

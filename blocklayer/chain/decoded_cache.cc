// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/decoded_cache.h"

#include <cstring>

namespace chainfs {
namespace {

// Vector object, control block, and what the allocator adds to both.
constexpr uint64_t kVectorOverhead = 80;

}  // namespace

DecodedCache::DecodedCache(uint64_t limit_bytes) : cache_(limit_bytes, 1) {}

uint64_t DecodedCache::Cluster::MemoryBytes() const { return bytes->size() + kVectorOverhead; }

Status DecodedCache::Read(const Layer& layer, const Extent& extent, uint64_t within,
                          std::span<std::byte> out) {
  const CacheKey key{layer.owner_id, extent.host.value};
  const uint32_t cluster_size = layer.image->cluster_size();
  Cluster cluster;
  if (out.size() == cluster_size) {
    const std::optional<Cluster> kept = cache_.Peek(key);
    if (!kept) return layer.image->ReadCompressed(extent, out);
    cluster = *kept;
  } else {
    CHAINFS_ASSIGN(cluster, cache_.Get(key, [&]() -> Result<Cluster> {
      auto bytes = std::make_shared<std::vector<std::byte>>(cluster_size);
      CHAINFS_TRY(layer.image->ReadCompressed(extent, *bytes));
      return Cluster{std::move(bytes)};
    }));
  }
  std::memcpy(out.data(), cluster.bytes->data() + within, out.size());
  return {};
}

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/cache/decoded_cache.h"

namespace chainfs {
namespace {

// Vector object, control block, and what the allocator adds to both.
constexpr uint64_t kVectorOverhead = 80;

}  // namespace

DecodedCache::DecodedCache(uint64_t limit_bytes) : cache_(limit_bytes, 1) {}

uint64_t DecodedCache::Cluster::MemoryBytes() const { return bytes->size() + kVectorOverhead; }

}  // namespace chainfs

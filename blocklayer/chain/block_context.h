// SPDX-License-Identifier: Apache-2.0
//
// BlockContext: the bounded memory that all images of one daemon share, so that it does not grow
// with the number or the depth of chains. Created once, outlives every image.
#pragma once

#include <cstdint>
#include <memory>

namespace chainfs {

class MetadataCache;  // blocklayer/cache/metadata_cache.h: L2 and refcount slices
class IndexCache;     // blocklayer/chain/flat_index.h: regions of merged indexes
class DecodedCache;   // blocklayer/cache/decoded_cache.h: decompressed clusters
class StackRegistry;  // blocklayer/chain/stack_registry.h: living stacks of layers
class WakeUp;         // blocklayer/base/wake_up.h: a look at the catalog is due

struct MemoryLimits {
  uint64_t index_bytes = 64ull << 20;
  uint64_t metadata_bytes = 64ull << 20;
  uint64_t decoded_bytes = 16ull << 20;
};

class BlockContext {
 public:
  explicit BlockContext(const MemoryLimits& limits);
  ~BlockContext();
  BlockContext(const BlockContext&) = delete;
  BlockContext& operator=(const BlockContext&) = delete;

  MetadataCache& metadata() { return *metadata_; }
  IndexCache& index() { return *index_; }
  DecodedCache& decoded() { return *decoded_; }
  StackRegistry& stacks() { return *stacks_; }
  WakeUp& wake_up() { return *wake_up_; }

 private:
  const std::unique_ptr<MetadataCache> metadata_;
  const std::unique_ptr<IndexCache> index_;
  const std::unique_ptr<DecodedCache> decoded_;
  const std::unique_ptr<WakeUp> wake_up_;
  const std::unique_ptr<StackRegistry> stacks_;
};

}  // namespace chainfs

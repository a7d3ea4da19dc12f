// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/block_context.h"

#include "blocklayer/base/wake_up.h"
#include "blocklayer/cache/decoded_cache.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/chain/flat_index.h"
#include "blocklayer/chain/stack_registry.h"

namespace chainfs {

BlockContext::BlockContext(const MemoryLimits& limits)
    : metadata_(std::make_unique<MetadataCache>(limits.metadata_bytes)),
      index_(std::make_unique<IndexCache>(limits.index_bytes)),
      decoded_(std::make_unique<DecodedCache>(limits.decoded_bytes)),
      wake_up_(std::make_unique<WakeUp>()),
      stacks_(std::make_unique<StackRegistry>(*wake_up_)) {}

BlockContext::~BlockContext() = default;

}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/block_context.h"

#include "blocklayer/decoded_cache.h"
#include "blocklayer/flat_index.h"
#include "blocklayer/image/metadata_cache.h"
#include "blocklayer/stack_registry.h"
#include "blocklayer/wake_up.h"

namespace chainfs {

BlockContext::BlockContext(const MemoryLimits& limits)
    : metadata_(std::make_unique<MetadataCache>(limits.metadata_bytes)),
      index_(std::make_unique<IndexCache>(limits.index_bytes)),
      decoded_(std::make_unique<DecodedCache>(limits.decoded_bytes)),
      wake_up_(std::make_unique<WakeUp>()),
      stacks_(std::make_unique<StackRegistry>(*wake_up_)) {}

BlockContext::~BlockContext() = default;

}  // namespace chainfs

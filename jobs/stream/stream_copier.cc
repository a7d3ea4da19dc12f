// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_copier.h"

namespace chainfs::jobs {
namespace {

CopySelection WhatIsBetween(const LayerStack& below, uint32_t between) {
  const bool has_base = between < below.layers().size();
  return {.layers = between,
          .zeros_until = has_base ? below.layers()[between]->image->virtual_size() : 0};
}

}  // namespace

StreamCopier::StreamCopier(WritableImage& top, std::shared_ptr<const LayerStack> below,
                           uint32_t between)
    : source_(below), sink_(top), ranges_(source_, sink_, WhatIsBetween(*below, between)) {}

}  // namespace chainfs::jobs

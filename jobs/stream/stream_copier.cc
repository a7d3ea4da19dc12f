// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_copier.h"

#include "jobs/copy/compress_key.h"
#include "jobs/copy/populate_sink.h"

namespace chainfs::jobs {
namespace {

CopySelection WhatIsBetween(const LayerStack& below, uint32_t between) {
  const bool has_base = between < below.layers().size();
  return {.layers = between,
          .zeros_until = has_base ? below.layers()[between]->image->virtual_size() : 0};
}

}  // namespace

StreamCopier::StreamCopier(WritableImage& top, std::shared_ptr<const LayerStack> below,
                           uint32_t between, std::optional<ImageCompression> compression)
    : selection_(WhatIsBetween(*below, between)),
      source_(std::move(below)),
      sink_(WithCompression(std::make_unique<PopulateSink>(top), top, compression)),
      ranges_(source_, *sink_, selection_) {}

}  // namespace chainfs::jobs

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/stack_sources.h"

namespace chainfs {

StackSources::StackSources(const Layers& layers) {
  sources_.reserve(layers.size());
  first_.reserve(layers.size() + 1);
  for (uint32_t i = 0; i < layers.size(); ++i) {
    Image& image = *layers[i]->image;
    first_.push_back(static_cast<uint32_t>(sources_.size()));
    for (uint16_t number = 0; number < image.source_count(); ++number) {
      sources_.push_back({.bytes = &image.source(number), .layer = i, .number = number});
    }
  }
  first_.push_back(static_cast<uint32_t>(sources_.size()));
}

}  // namespace chainfs

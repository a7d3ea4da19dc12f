// SPDX-License-Identifier: Apache-2.0
//
// StackSources: the sources of all layers of a stack side by side, numbered from the top. A run of
// the merged index names its source by that number, which says the layer too; at depth 512 a read
// costs what it touches for the first time, so it must not go through layer and image for it.
//
// Threads: immutable after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "blocklayer/chain/layer.h"
#include "blocklayer/io/byte_source.h"

namespace chainfs {

class StackSources {
 public:
  struct Source {
    ByteSource* bytes = nullptr;
    uint32_t layer = 0;   // index from the top
    uint16_t number = 0;  // among the layer's own (Extent::source)
  };

  // `layers` top to base.
  explicit StackSources(const Layers& layers);

  size_t size() const { return sources_.size(); }
  const Source& operator[](uint32_t index) const { return sources_[index]; }
  // The index of a layer's first source, and how many it has.
  uint32_t FirstOf(uint32_t layer) const { return first_[layer]; }
  uint32_t CountOf(uint32_t layer) const { return first_[layer + 1] - first_[layer]; }

 private:
  std::vector<Source> sources_;
  std::vector<uint32_t> first_;  // of each layer, and the end
};

}  // namespace chainfs

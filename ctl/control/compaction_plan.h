// SPDX-License-Identifier: Apache-2.0
//
// Compaction: which layers of a chain that has too many are to be merged: the oldest that are this
// chain's alone.
//
// Terms: a layer is *ours* while nothing is built on it but the next layer of this chain, and so on
// up to the active one. Layers below the lowest that is ours are needed by other chains, and stay;
// so does the base of the chain, because merging it means copying all of it, unless one layer is
// all that may be left.
//
// Threads: values.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/chain/layer.h"

namespace chainfs::control {

struct Compaction {
  LayerPtr top;   // what lies between is merged into it
  LayerPtr base;  // stays; null: nothing does
};

// `layers`: of the chain, top to base. `most`: layers that are to be left; at least 1. Nothing when
// there are no more than that, or none can be merged; the result may leave more than `most`.
std::optional<Compaction> PlanCompaction(const Layers& layers, std::span<const LayerReport> reports,
                                         size_t most);

}  // namespace chainfs::control

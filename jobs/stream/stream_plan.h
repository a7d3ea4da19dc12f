// SPDX-License-Identifier: Apache-2.0
//
// StreamPlan: which layers a stream is about: the names of a request become layers.
//
// Threads: values; the functions call only the catalog and the disk.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/layer_claims.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

struct StreamPlan {
  LayerPtr top;    // is filled
  LayerPtr base;   // stays; null: nothing does
  Layers between;  // strictly between top and base; all below top when there is no base
  std::shared_ptr<const LayerStack> below;  // all below top; null when nothing is
  // Of what is copied; one that top can hold.
  std::optional<ImageCompression> compression;
  // What is to be copied first, in that order.
  std::vector<ChunkRange> trace;

  // Nothing is to be left out.
  bool nothing_to_do() const { return between.empty(); }
  // Bytes to walk.
  uint64_t length() const { return nothing_to_do() ? 0 : top->image->virtual_size(); }
  // Layers that are left out.
  uint32_t dropped() const { return static_cast<uint32_t>(between.size()); }
};

// `top` null: the active layer. kNotFound (layer), kInvalidArgument (order, raw top).
Result<StreamPlan> PlanStream(Catalog& catalog, const Disk& disk,
                              const std::optional<std::string>& top,
                              const std::optional<std::string>& base);

LayerClaims ClaimsOf(const StreamPlan& plan);

}  // namespace chainfs::jobs

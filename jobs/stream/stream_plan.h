// SPDX-License-Identifier: Apache-2.0
//
// StreamPlan: which layers a stream is about. The names of a request become layers, and two plans
// can be compared for conflict.
//
// Threads: values; the functions call only the catalog and the disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blocklayer/catalog/catalog.h"

namespace chainfs::jobs {

struct StreamPlan {
  LayerPtr top;    // is filled
  LayerPtr base;   // stays; null: nothing does
  Layers between;  // strictly between top and base; all below top when there is no base
  std::shared_ptr<const LayerStack> below;  // all below top; null when nothing is

  // Nothing is to be left out.
  bool nothing_to_do() const { return between.empty(); }
};

// `top` null: the active layer. kNotFound (layer), kInvalidArgument (order, raw top).
Result<StreamPlan> PlanStream(Catalog& catalog, const Disk& disk,
                              const std::optional<std::string>& top,
                              const std::optional<std::string>& base);

// Whether both plans name the same layers.
bool SameLayers(const StreamPlan& a, const StreamPlan& b);

// Whether two streams must not run at once: one fills a layer that the other fills or leaves out.
// Layers that both only read (linked clones have them in common) do no harm, nor does a base that
// the other fills: its contents stay the same.
bool Conflicts(const StreamPlan& a, const StreamPlan& b);

}  // namespace chainfs::jobs

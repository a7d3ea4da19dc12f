// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/compaction_plan.h"

#include <algorithm>
#include <string>
#include <vector>

namespace chainfs::control {
namespace {

// How many layers are ours, from the active one down. One that no report is about counts as
// somebody else's.
size_t CountOurs(const Layers& layers, std::span<const LayerReport> reports) {
  std::vector<std::string> above;
  size_t ours = 0;
  for (const LayerPtr& layer : layers) {
    const auto report = std::ranges::find(reports, layer->path, &LayerReport::path);
    if (report == reports.end() || report->built_on_by != above) break;
    above = {layer->path};
    ++ours;
  }
  return ours;
}

}  // namespace

std::optional<Compaction> PlanCompaction(const Layers& layers, std::span<const LayerReport> reports,
                                         size_t most) {
  if (layers.size() <= most) return std::nullopt;
  size_t end = CountOurs(layers, reports);  // of those that may be merged
  if (end == layers.size() && most > 1) --end;
  if (end < 2) return std::nullopt;
  const size_t dropped = std::min(layers.size() - most, end - 1);
  return Compaction{.top = layers[end - 1 - dropped],
                    .base = end < layers.size() ? layers[end] : nullptr};
}

}  // namespace chainfs::control

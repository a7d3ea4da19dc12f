// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/snapshot_holders.h"

namespace chainfs::jobs {
namespace {

Result<Layers::const_iterator> PositionOf(Catalog& catalog, const Disk& disk, const Layers& layers,
                                          const std::string& name) {
  CHAINFS_ASSIGN(const LayerPtr layer, catalog.FindLayer(disk, name));
  const auto place = std::ranges::find(layers, layer);
  if (place == layers.end()) {
    return Fail(
        ErrorKind::kNotFound,
        EscapeText(fmt::format("'{}' is not in the chain of {} any more", name, disk.name())));
  }
  return place;
}

}  // namespace

Result<StreamPlan> PlanStream(Catalog& catalog, const Disk& disk,
                              const std::optional<std::string>& top,
                              const std::optional<std::string>& base) {
  const ChainPtr chain = disk.chain();
  const Layers layers = chain->AllLayers();
  auto top_at = layers.begin();
  auto base_at = layers.end();
  if (top) {
    CHAINFS_ASSIGN(top_at, PositionOf(catalog, disk, layers, *top));
  }
  StreamPlan plan;
  plan.top = *top_at;
  if (base) {
    CHAINFS_ASSIGN(base_at, PositionOf(catalog, disk, layers, *base));
    if (base_at <= top_at) {
      return Fail(ErrorKind::kInvalidArgument,
                  EscapeText(fmt::format("the base {} is not below {} in the chain of {}",
                                         (*base_at)->path, plan.top->path, disk.name())));
    }
    plan.base = *base_at;
  }
  if (plan.top->image->format() == ImageFormat::kRaw) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: raw images have no backing file, there is nothing to "
                                       "stream",
                                       plan.top->path)));
  }
  if (plan.top->image->writer() == nullptr) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{}: cannot be filled: {}", plan.top->path,
                                       plan.top->image->read_only_reason())));
  }
  plan.between.assign(top_at + 1, base_at);
  if (!plan.between.empty()) {
    CHAINFS_TRY(CheckHoldNoSnapshots(std::span(&plan.top, 1), "a stream"));
    CHAINFS_TRY(CheckHoldNoSnapshots(plan.between, "a stream"));
  }
  if (top_at + 1 != layers.end()) {
    plan.below = chain->below;
    if (top_at != layers.begin()) {
      // All of them are backed by `chain` meanwhile.
      CHAINFS_ASSIGN(plan.below,
                     LayerStack::Make(Layers(top_at + 1, layers.end()), catalog.context()));
    }
  }
  return plan;
}

// The base and what is below it are read for the parts of clusters that come from there.
LayerClaims ClaimsOf(const StreamPlan& plan) {
  LayerClaims claims{.reads = {}, .fills = {plan.top}, .writes = {}, .drops = plan.between};
  if (plan.below == nullptr) return claims;
  const Layers& below = plan.below->layers();
  claims.reads.assign(below.begin() + static_cast<ptrdiff_t>(plan.between.size()), below.end());
  return claims;
}

}  // namespace chainfs::jobs

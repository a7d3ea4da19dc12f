// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/roots.h"
#include "blocklayer/catalog/snapshot_holders.h"

namespace chainfs::jobs {
namespace {

using Place = Layers::const_iterator;

// One line for people.
template <typename... Values>
std::unexpected<Error> RefusedCommit(ErrorKind kind, fmt::format_string<Values...> text,
                                     Values&&... values) {
  return Fail(kind, EscapeText(fmt::format(text, std::forward<Values>(values)...)));
}

Result<Place> FindInChain(Catalog& catalog, const Disk& disk, const Layers& layers,
                          const std::string& name) {
  CHAINFS_ASSIGN(const LayerPtr layer, catalog.FindLayer(disk, name));
  const auto place = std::ranges::find(layers, layer);
  if (place == layers.end()) {
    return RefusedCommit(ErrorKind::kNotFound, "'{}' is not in the chain of {} any more", name,
                         disk.name());
  }
  return place;
}

Result<Place> FindTop(Catalog& catalog, const Disk& disk, const Layers& layers,
                      const CommitRequest& request) {
  if (request.above) {
    CHAINFS_ASSIGN(const Place above, FindInChain(catalog, disk, layers, *request.above));
    if (above + 1 != layers.end()) return above + 1;
    return RefusedCommit(ErrorKind::kInvalidArgument, "{}: nothing lies below it", (*above)->path);
  }
  return request.top ? FindInChain(catalog, disk, layers, *request.top)
                     : Result<Place>(layers.begin());
}

// Whether an earlier daemon has made the last step, but could not record that.
bool IsOver(const Result<Place>& top, Place base) {
  return top ? *top == base : top.error().kind == ErrorKind::kNotFound;
}

Status CheckOrder(const Disk& disk, Place top, Place base) {
  if (top == base) {
    return RefusedCommit(ErrorKind::kInvalidArgument,
                         "{}: top and base are one layer; a layer cannot be committed into itself",
                         (*base)->path);
  }
  if (base < top) {
    return RefusedCommit(ErrorKind::kInvalidArgument,
                         "the base {} is not below {} in the chain of {}", (*base)->path,
                         (*top)->path, disk.name());
  }
  return {};
}

Status CheckBase(const Layer& base) {
  if (base.image->writer() != nullptr) return {};
  return RefusedCommit(ErrorKind::kReadOnly, "{}: cannot be written: {}", base.path,
                       base.ReadOnlyReason());
}

}  // namespace

Layers CommitPlan::Spoilt() const {
  Layers spoilt(merged.begin() + 1, merged.end());
  spoilt.push_back(base);
  return spoilt;
}

Result<CommitPlan> PlanCommit(Catalog& catalog, const Disk& disk, const CommitRequest& request) {
  const ChainPtr chain = disk.chain();
  const Layers layers = chain->AllLayers();
  CHAINFS_ASSIGN(const Place base, FindInChain(catalog, disk, layers, request.base));
  CommitPlan plan;
  plan.base = *base;
  plan.taken_up = request.taken_up;
  Result<Place> found = FindTop(catalog, disk, layers, request);
  if (request.taken_up && IsOver(found, base)) return plan;
  if (!found) return std::unexpected(std::move(found).error());
  const Place top = *found;
  CHAINFS_TRY(CheckOrder(disk, top, base));
  CHAINFS_TRY(CheckBase(*plan.base));
  plan.top = *top;
  plan.merged.assign(top, base);
  CHAINFS_TRY(CheckHoldNoSnapshots(plan.merged, "a commit"));
  if (base + 1 != layers.end()) {
    CHAINFS_ASSIGN(plan.below, LayerStack::Make(Layers(base + 1, layers.end()), catalog.context()));
  }
  if (top != layers.begin()) {
    plan.above = *(top - 1);
    CHAINFS_TRY(CheckHoldNoSnapshots(std::span(&plan.above, 1), "a commit"));
    // All of them are backed by `chain` meanwhile.
    CHAINFS_ASSIGN(plan.source, LayerStack::Make(Layers(top, layers.end()), catalog.context()));
  }
  return plan;
}

// What is below the base is read for the parts of clusters that come from there.
LayerClaims ClaimsOf(const CommitPlan& plan) {
  if (plan.nothing_to_do()) return {.reads = {plan.base}, .fills = {}, .writes = {}, .drops = {}};
  LayerClaims claims{.reads = {}, .fills = {}, .writes = {plan.base}, .drops = plan.merged};
  if (plan.above) claims.fills.push_back(plan.above);
  if (plan.below) claims.reads = plan.below->layers();
  return claims;
}

Status CheckNobodyElse(Catalog& catalog, const DiskPtr& disk, const CommitPlan& plan,
                       const std::string& job) {
  if (plan.nothing_to_do()) return {};
  Layers layers = {plan.base};
  if (!plan.active()) layers.push_back(plan.top);
  layers.insert(layers.end(), plan.merged.begin() + 1, plan.merged.end());
  // Whoever is built on a layer is built on base, too; but who is not in view is looked for beside
  // the layer.
  std::set<std::string> looked_at;
  for (const LayerPtr& layer : layers) {
    if (!looked_at.insert(DirectoryOf(layer->path)).second) continue;
    CHAINFS_ASSIGN(const std::vector<std::string> users,
                   catalog.moves().UsersOf(disk, *layer, plan.whole(), job));
    if (users.empty()) continue;
    return RefusedCommit(
        ErrorKind::kBusy,
        "{}: cannot be merged into {}: {}: {}; a commit would change what it shows", plan.top->path,
        plan.base->path, layer->path, fmt::join(users, ", "));
  }
  return {};
}

}  // namespace chainfs::jobs

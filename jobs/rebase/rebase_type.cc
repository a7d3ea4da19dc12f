// SPDX-License-Identifier: Apache-2.0
#include "jobs/rebase/rebase_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "ctl/verbs/verb_table.h"
#include "jobs/rebase/rebase_estimate.h"
#include "jobs/rebase/rebase_work.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kRebase = "rebase";

// What `top` stands on; null: nothing.
Result<std::shared_ptr<const LayerStack>> StackBelow(Catalog& catalog, const Disk& disk,
                                                     const LayerPtr& top) {
  const ChainPtr chain = disk.chain();
  if (top == chain->active) return chain->below;
  const Layers layers = chain->AllLayers();
  const auto at = std::ranges::find(layers, top);
  if (at == layers.end() || at + 1 == layers.end()) return std::shared_ptr<const LayerStack>();
  // All of them are backed by `chain` meanwhile.
  return LayerStack::Make(Layers(at + 1, layers.end()), catalog.context());
}

Result<RebasePlan> PlanRebase(Catalog& catalog, const DiskPtr& disk,
                              const verbs::Arguments& arguments) {
  RebasePlan plan;
  plan.top = disk->chain()->active;
  if (const auto name = arguments.Text("top")) {
    CHAINFS_ASSIGN(plan.top, catalog.FindLayer(*disk, *name));
  }
  const Image& top = *plan.top->image;
  if (top.format() != ImageFormat::kQcow2) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: {} images stand on nothing", plan.top->path,
                                       top.format().name())));
  }
  CHAINFS_ASSIGN(plan.unsafe, arguments.Switch("unsafe", false));
  RebaseRequest request{.top = plan.top,
                        .base = arguments.Text("base").value_or(""),
                        .format = {},
                        .unsafe = plan.unsafe};
  if (const auto word = arguments.Text("format")) {
    request.format = ParseImageFormat(*word);
    if (!request.format) {
      return Fail(ErrorKind::kInvalidArgument,
                  EscapeText(fmt::format("format={}: known are {}", *word,
                                         FormatRegistry::BuiltIn().Names())));
    }
  }
  CHAINFS_ASSIGN(plan.now, StackBelow(catalog, *disk, plan.top));
  CHAINFS_ASSIGN(plan.base, catalog.rebases().Open(disk, request));
  return plan;
}

LayerClaims ClaimsOfRebase(const RebasePlan& plan) {
  LayerClaims claims{.reads = plan.base.layers, .fills = {plan.top}, .writes = {}, .drops = {}};
  if (plan.now != nullptr) {
    const Layers& now = plan.now->layers();
    claims.reads.insert(claims.reads.end(), now.begin(), now.end());
  }
  return claims;
}

Result<JobPlan> PlanRebaseJob(Catalog& catalog, const JobCommand& command) {
  CHAINFS_ASSIGN(const RebasePlan plan, PlanRebase(catalog, command.disk, command.arguments));
  if (!command.privileged && command.taken_up.empty()) {
    CHAINFS_TRY(catalog.moves().CheckMayWrite(*command.disk, {plan.top}));
  }
  verbs::Arguments again;
  again.Set("base", plan.base.location.path);
  again.Set("format", std::string(plan.base.layers.front()->image->format().name()));
  again.Set("top", plan.top->path);
  if (plan.unsafe) again.Set("unsafe", "yes");
  JobPlan job{.claims = ClaimsOfRebase(plan),
              .command = std::move(again),
              .warning = {},
              .other_disks = {},
              .work = {},
              .estimate = {}};
  job.work = [&catalog, disk = command.disk, plan](const std::string& /*id*/) {
    return std::make_unique<RebaseWork>(catalog, disk, plan);
  };
  job.estimate = [plan] { return std::make_unique<RebaseEstimate>(plan); };
  return job;
}

}  // namespace

JobType RebaseType() {
  return {.name = kRebase,
          .keys = verbs::FindVerb(verbs::Verbs(), kRebase)->keys,
          .plan = &PlanRebaseJob};
}

}  // namespace chainfs::jobs

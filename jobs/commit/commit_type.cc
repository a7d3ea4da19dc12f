// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_type.h"

#include <fmt/format.h>

#include <span>
#include <utility>
#include <vector>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/verbs/verb_table.h"
#include "jobs/commit/active_commit_work.h"
#include "jobs/commit/commit_estimate.h"
#include "jobs/commit/commit_plan.h"
#include "jobs/commit/commit_space.h"
#include "jobs/commit/commit_work.h"
#include "jobs/commit/finished_commit.h"
#include "jobs/copy/compress_key.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kCommit = "commit";

MergedFate FateOf(const JobCommand& command) {
  const std::string word = command.arguments.Text("delete").value_or("no");
  if (word == "empty") return MergedFate::kEmpty;
  if (word != "yes") return MergedFate::kKeep;
  return command.privileged ? MergedFate::kRemoveAnywhere : MergedFate::kRemoveInSources;
}

// In records only.
constexpr std::string_view kAbove = "above";

// With which the same would be planned again. What a record names is needed, so one that names top
// would keep top from being removed at the end; the layer above it stays.
verbs::Arguments RecordOf(const CommitPlan& plan, const verbs::Arguments& given) {
  verbs::Arguments command;
  if (plan.above) {
    command.Set(kAbove, plan.above->path);
  } else if (plan.top) {
    command.Set("top", plan.top->path);
  } else {
    command.SetIf(kAbove, given.Text(kAbove)).SetIf("top", given.Text("top"));
  }
  command.Set("base", plan.base->path);
  command.SetIf("delete", given.Text("delete")).SetIf("reclaim", given.Text("reclaim"));
  command.SetIf("then", given.Text("then"));
  command.SetIf("compress", given.Text("compress"));
  return command;
}

// What the disk would be told at its end.
std::optional<std::string> SizeWarning(const CommitPlan& plan) {
  const uint64_t top = plan.top->image->virtual_size();
  const uint64_t base = plan.base->image->virtual_size();
  if (!plan.active() || base <= top) return std::nullopt;
  return EscapeText(
      fmt::format("{} is longer than the disk, which will have its {} bytes instead of {} and show "
                  "there what {} has",
                  plan.base->path, base, top, plan.base->name));
}

Status CheckDisk(const Disk& disk, const CommitPlan& plan) {
  if (!plan.active() || !disk.read_only()) return {};
  return Fail(
      ErrorKind::kReadOnly,
      EscapeText(fmt::format("{}: its active layer cannot be committed: it is read-only: {}",
                             disk.name(), disk.ReadOnlyReason())));
}

Status CheckMayWrite(Catalog& catalog, const JobCommand& command, const CommitPlan& plan,
                     bool reclaim) {
  if (command.privileged || !command.taken_up.empty()) return {};
  Layers written = {plan.base};
  if (plan.above) written.push_back(plan.above);
  const bool gives_back = reclaim || FateOf(command) == MergedFate::kEmpty;
  if (gives_back) written.insert(written.end(), plan.merged.begin(), plan.merged.end());
  return catalog.moves().CheckMayWrite(*command.disk, written);
}

std::unexpected<Error> RefuseHold() {
  return Fail(ErrorKind::kInvalidArgument,
              "then=hold is for a commit of the active layer, where the disk goes on in base");
}

Result<JobPlan> PlanCommitJob(Catalog& catalog, const JobCommand& command) {
  const verbs::Arguments& arguments = command.arguments;
  const DiskPtr& disk = command.disk;
  CHAINFS_ASSIGN(CommitPlan plan, PlanCommit(catalog, *disk,
                                             {.top = arguments.Text("top"),
                                              .above = arguments.Text(kAbove),
                                              .base = arguments.Text("base").value_or(""),
                                              .taken_up = !command.taken_up.empty()}));
  JobPlan job{.claims = ClaimsOf(plan),
              .command = RecordOf(plan, arguments),
              .warning = std::nullopt,
              .other_disks = {},
              .work = {},
              .estimate = {}};
  if (plan.nothing_to_do()) {
    job.work = [&catalog, disk, base = plan.base](const std::string& /*id*/) {
      return std::make_unique<FinishedCommit>(catalog, disk, base);
    };
    return job;
  }
  CHAINFS_ASSIGN(plan.compression, CompressionWanted(arguments));
  CHAINFS_TRY(CheckCompression(*plan.base, plan.compression));
  CHAINFS_ASSIGN(const bool reclaim, arguments.Switch("reclaim", false));
  const bool holds = arguments.Text("then") == "hold";
  if (holds && !plan.active()) return RefuseHold();
  CHAINFS_TRY(CheckDisk(*disk, plan));
  CHAINFS_TRY(CheckMayWrite(catalog, command, plan, reclaim));
  CHAINFS_TRY(CheckNobodyElse(catalog, disk, plan, command.taken_up));
  job.warning = SizeWarning(plan);
  if (!job.warning && !reclaim) job.warning = CommitSpaceWarning(plan);
  job.estimate = [&catalog, disk, plan] {
    LeftOutLayers left_out;
    if (!plan.active()) left_out.unneeded = catalog.Unneeded(*plan.above, plan.merged);
    return std::make_unique<CommitEstimate>(catalog, disk, plan, std::move(left_out),
                                            ProbeDirectory(catalog, plan.base->path));
  };
  const CommitChoices choices{.fate = FateOf(command), .reclaim = reclaim};
  job.work = [&catalog, disk, choices, holds,
              plan = std::move(plan)](const std::string& id) -> std::unique_ptr<ChunkWork> {
    if (plan.active()) {
      return std::make_unique<ActiveCommitWork>(catalog, disk, id, plan, choices, holds);
    }
    return std::make_unique<CommitWork>(catalog, disk, id, plan, choices);
  };
  return job;
}

}  // namespace

JobType CommitType() {
  static const std::vector<verbs::Key> keys = [] {
    const std::span<const verbs::Key> given = verbs::FindVerb(verbs::Verbs(), kCommit)->keys;
    std::vector<verbs::Key> all(given.begin(), given.end());
    all.push_back({.name = kAbove,
                   .type = verbs::KeyType::kLayer,
                   .help = "Layer above top",
                   .otherwise = "",
                   .words = {},
                   .required = false});
    return all;
  }();
  return {.name = kCommit, .keys = keys, .plan = &PlanCommitJob};
}

}  // namespace chainfs::jobs

// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/backup_type.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/verbs/verb_table.h"
#include "jobs/backup/backup_estimate.h"
#include "jobs/backup/backup_plan.h"
#include "jobs/backup/backup_work.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kBackup = "backup";

Result<BackupBegun> BegunBy(Catalog& catalog, const JobCommand& command) {
  BackupBegun begun{.taken_up = !command.taken_up.empty(), .frozen = {}};
  if (!begun.taken_up) return begun;
  CHAINFS_ASSIGN(const std::optional<FrozenPoint> point,
                 catalog.moves().FrozenFor(command.disk, command.taken_up));
  if (point) begun.frozen = point->frozen;
  return begun;
}

Result<BackupPlan> PlanIt(Catalog& catalog, const JobCommand& command) {
  CHAINFS_ASSIGN(const BackupBegun begun, BegunBy(catalog, command));
  Result<BackupPlan> plan =
      PlanBackup(catalog, command.disk, command.arguments, begun, command.privileged);
  if (plan || !command.to_undo) return plan;
  // Where there is no place for a target any more, there is none to remove.
  verbs::Arguments held;
  held.Set("then", "hold");
  return PlanBackup(catalog, command.disk, held, begun, command.privileged);
}

Status CheckNew(const JobCommand& command, const BackupPlan& plan) {
  if (!command.taken_up.empty() || !plan.hold || !command.disk->read_only()) return {};
  return Fail(ErrorKind::kReadOnly,
              EscapeText(fmt::format("{} is read-only ({}), so it is a point in time by itself; "
                                     "leave then=hold out",
                                     command.disk->name(), command.disk->ReadOnlyReason())));
}

Result<JobPlan> PlanBackupJob(Catalog& catalog, const JobCommand& command) {
  CHAINFS_ASSIGN(BackupPlan plan, PlanIt(catalog, command));
  CHAINFS_TRY(CheckNew(command, plan));
  const BackupOrigin origin = command.taken_up.empty() ? BackupOrigin::kCommand
                              : command.to_undo        ? BackupOrigin::kRecordToUndo
                                                       : BackupOrigin::kRecord;
  JobPlan job{.claims = ClaimsOf(plan),
              .command = CommandOf(plan),
              .warning = {},
              .other_disks = {},
              .freeze = {},
              .work = {},
              .estimate = {}};
  // What cannot be written is a point in time by itself.
  if (origin == BackupOrigin::kCommand && !command.disk->read_only()) {
    job.freeze = FreezeRequest{.id = {}, .target = plan.overlay, .anywhere = plan.anywhere};
  }
  job.work = [&catalog, disk = command.disk, plan, origin](const std::string& id) {
    return std::make_unique<BackupWork>(catalog, disk, plan, id, origin);
  };
  job.estimate = [&catalog, disk = command.disk, plan = std::move(plan)] {
    return std::make_unique<BackupEstimate>(catalog, disk, plan);
  };
  return job;
}

}  // namespace

JobType BackupType() {
  return {.name = kBackup,
          .keys = verbs::FindVerb(verbs::Verbs(), kBackup)->keys,
          .plan = &PlanBackupJob,
          .undoes = true,
          .companions = kTargetRecordPrefix};
}

}  // namespace chainfs::jobs

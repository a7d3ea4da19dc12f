// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/transaction_command.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/control/name_list.h"
#include "ctl/control/snapshot_command.h"
#include "ctl/verbs/verb_table.h"
#include "jobs/engine/chain_generation.h"
#include "jobs/job_types.h"

namespace chainfs::control {
namespace {

std::unexpected<Error> BadAction(const std::string& action, std::string_view why) {
  return Fail(ErrorKind::kInvalidArgument, EscapeText(fmt::format("\"{}\": {}", action, why)));
}

Error InAction(Error error, const Disk& disk, std::string_view verb) {
  return WithContext(std::move(error), fmt::format("{} of {}", verb, disk.name()));
}

}  // namespace

Status TransactionCommand::AddAction(const std::string& text, bool privileged,
                                     Actions& actions) const {
  // Neither names of disks nor verbs have a slash.
  const size_t first = text.find('/');
  if (first == std::string::npos) return BadAction(text, "is not of the form DISK/VERB/ARGUMENTS");
  const size_t second = text.find('/', first + 1);
  const std::string verb = text.substr(first + 1, second - first - 1);
  const std::string value = second == std::string::npos ? "" : text.substr(second + 1);
  const DiskPtr disk = catalog_.Find(text.substr(0, first));
  if (disk == nullptr) {
    return Fail(ErrorKind::kNotFound,
                EscapeText(fmt::format("there is no disk {}", text.substr(0, first))));
  }
  const verbs::Verb* const row = verbs::FindVerb(verbs::Verbs(), verb);
  const bool starts = row != nullptr && jobs::FindJobType(jobs::JobTypes(), verb) != nullptr;
  if (!starts && verb != "snapshot") {
    return BadAction(text,
                     "only snapshots and commands that start a job can be part of a "
                     "transaction");
  }
  CHAINFS_ASSIGN(const verbs::Arguments arguments, verbs::Arguments::Parse(value, row->keys));
  for (const char* const key : {"dry-run", "disks", "existing"}) {
    if (arguments.Has(key)) return BadAction(text, fmt::format("{}= belongs elsewhere", key));
  }
  CHAINFS_ASSIGN(const std::optional<uint64_t> generation, arguments.Number("generation"));
  CHAINFS_TRY(jobs::CheckGeneration(*disk, generation));
  if (starts) {
    actions.starts.push_back({.type = verb,
                              .disk = disk,
                              .arguments = arguments,
                              .privileged = privileged,
                              .paused = true});
    return {};
  }
  if (arguments.Has("id")) return BadAction(text, "a snapshot of a transaction has no id");
  CHAINFS_ASSIGN(SnapshotRequest request, SnapshotCommand::RequestOf(arguments, privileged));
  actions.snapshots.push_back({.disk = disk, .request = std::move(request)});
  return {};
}

Result<TransactionCommand::Actions> TransactionCommand::Parse(const std::string& text,
                                                              bool privileged) const {
  Actions actions;
  for (const std::string& action : SplitList(text)) {
    CHAINFS_TRY(AddAction(action, privileged, actions));
  }
  return actions;
}

Status TransactionCommand::TakeSnapshots(const std::vector<GroupMember>& members, bool dry_run) {
  if (members.empty()) return {};
  std::vector<jobs::Reservation> reservations;
  for (const GroupMember& member : members) {
    CHAINFS_ASSIGN(jobs::Reservation reservation,
                   jobs_.ReserveDisk(*member.disk, "snapshot", "", false));
    reservations.push_back(std::move(reservation));
  }
  if (dry_run) {
    CHAINFS_TRY(catalog_.moves().PlanTogether(members));
  } else {
    CHAINFS_TRY(catalog_.moves().SnapshotTogether(members));
  }
  return {};
}

void TransactionCommand::CancelAll(const std::vector<Started>& started) {
  for (const Started& job : started) {
    if (Status cancelled = jobs_.Cancel(job.disk, job.id); !cancelled) {
      spdlog::warn("job {} of disk {}, of a transaction that failed, goes on: {}", job.id,
                   job.disk->name(), cancelled.error().message);
    }
  }
}

Status TransactionCommand::Run(const std::string& text, bool privileged, bool dry_run) {
  if (catalog_.options().read_only && !dry_run) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  CHAINFS_ASSIGN(Actions actions, Parse(text, privileged));
  // What can be told to fail does so before anything is done.
  CHAINFS_TRY(TakeSnapshots(actions.snapshots, true));
  std::vector<Started> started;
  for (jobs::JobCommand& command : actions.starts) {
    if (dry_run) command.arguments.Set("dry-run", "yes");
    Result<std::string> id = jobs_.Start(command);
    if (!id) {
      CancelAll(started);
      return std::unexpected(InAction(std::move(id).error(), *command.disk, command.type));
    }
    started.push_back({.disk = command.disk, .id = *std::move(id)});
  }
  if (dry_run) return {};
  if (Status taken = TakeSnapshots(actions.snapshots, false); !taken) {
    CancelAll(started);
    return taken;
  }
  for (const Started& job : started) {
    // It may have been resumed, or cancelled, by somebody else.
    (void)jobs_.Resume(job.disk, job.id);
  }
  return {};
}

}  // namespace chainfs::control

// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/transaction_command.h"

#include <fmt/format.h>

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
    actions.starts.push_back(
        {.type = verb, .disk = disk, .arguments = arguments, .privileged = privileged});
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

Status TransactionCommand::Run(const std::string& text, bool privileged, bool dry_run) {
  if (catalog_.options().read_only && !dry_run) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  CHAINFS_ASSIGN(const Actions actions, Parse(text, privileged));
  // Estimates are for read-only mounts, too.
  if (!catalog_.options().read_only || !actions.snapshots.empty()) {
    CHAINFS_TRY(jobs_.CheckTogether(actions.starts, actions.snapshots));
  }
  if (!dry_run) return jobs_.StartTogether(actions.starts, actions.snapshots);
  for (jobs::JobCommand command : actions.starts) {
    command.arguments.Set("dry-run", "yes");
    CHAINFS_TRY(jobs_.Start(command));
  }
  return {};
}

}  // namespace chainfs::control

// SPDX-License-Identifier: Apache-2.0
//
// snapshot and flush. Both fsync first: what programs wrote through the page cache before the
// command is then in the frozen layer, not in the new one.
#include <fmt/core.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/command_value.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

// The daemon's answer to a command that is done at once: by the job it leaves behind.
Status WaitUntilTaken(const DiskPath& disk, const std::string& id) {
  WaitSignals signals;
  Result<WaitOutcome> outcome =
      WaitForJob(disk, id, signals, {.timeout = {}, .progress = {.quiet = true, .percent_fd = {}}});
  if (!outcome) {
    // No job of that id: it was done before setxattr returned, and left none.
    if (outcome.error().sys_errno == ESRCH) return {};
    return std::unexpected(outcome.error());
  }
  if (ExitCodeOf(outcome->job) == ExitCode::kDone) return {};
  return FailMounted(EIO, fmt::format("{}: {}", disk.shown,
                                      outcome->job.error.value_or("the snapshot was not made")));
}

Result<std::string> SnapshotValue(const SnapshotOptions& options, const std::string& id) {
  CommandValue value;
  value.AddIf("target", options.target);
  for (const std::string& list : options.format_options) {
    CHAINFS_ASSIGN(const auto pairs, SplitOptions(list));
    for (const auto& [key, text] : pairs) value.Add(key, text);
  }
  if (options.generation) value.Add("generation", std::to_string(*options.generation));
  if (options.dry_run) value.Add("dry-run", "yes");
  return value.Add("id", id).text();
}

}  // namespace

Result<ExitCode> RunSnapshot(const SnapshotOptions& options, const CommonOptions& common) {
  CHAINFS_TRY(CheckJobId(options.id));
  const std::string id = options.id.value_or(NewJobId("snapshot"));
  CHAINFS_ASSIGN(const std::string value, SnapshotValue(options, id));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const json before, ReadJsonAttribute(disk.path, "info"));
  if (!options.dry_run) CHAINFS_TRY(SyncDisk(disk));
  CHAINFS_TRY(Send(disk, {.verb = "snapshot", .value = value, .verbose = common.verbose}));
  if (options.dry_run) {
    Print(common.json
              ? OneLine({{"disk", TextOf(before, "name")},
                         {"active", TextOf(before, "active")},
                         {"dry-run", true}}) +
                    "\n"
              : fmt::format("{}: nothing was done: a snapshot can be made; {} would be frozen\n",
                            disk.shown, SafeText(TextOf(before, "active"))));
    return ExitCode::kDone;
  }
  CHAINFS_TRY(WaitUntilTaken(disk, id));
  CHAINFS_ASSIGN(const json after, ReadJsonAttribute(disk.path, "info"));
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")},
                   {"active", TextOf(after, "active")},
                   {"frozen", TextOf(before, "active")},
                   {"generation", NumberOf(after, "generation")}}) +
          "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: active layer is now {}; {} is frozen\n", disk.shown,
                      SafeText(TextOf(after, "active")), SafeText(TextOf(before, "active"))));
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunFlush(const std::string& path, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(path));
  CHAINFS_TRY(SyncDisk(disk));
  CHAINFS_TRY(Send(disk, {.verb = "flush", .value = "", .verbose = common.verbose}));
  if (common.json) {
    Print(OneLine({{"disk", disk.path}, {"flushed", true}}) + "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: all cached data and metadata is in the images\n", disk.shown));
  }
  return ExitCode::kDone;
}

}  // namespace chainfs::chainctl

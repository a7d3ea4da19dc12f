// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_snapshot.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "ctl/chainctl/job_id.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

struct SnapshotOptions {
  std::string disk;
  verbs::Arguments arguments;
  std::vector<std::string> format_options;  // KEY=VALUE[,KEY=VALUE]
};

// Those of the keys that say how the new image is made.
std::vector<verbs::Key> FormatKeysOfSnapshot() {
  std::vector<verbs::Key> keys;
  for (const verbs::Key& key : verbs::FormatKeys()) {
    if (verbs::FindKey(CommandOf("snapshot").keys, key.name) != nullptr) keys.push_back(key);
  }
  return keys;
}

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

Result<verbs::Arguments> ArgumentsOf(const SnapshotOptions& options) {
  CHAINFS_ASSIGN(verbs::Arguments arguments, AsSent(options.arguments, CommandOf("snapshot").keys));
  const std::vector<verbs::Key> keys = FormatKeysOfSnapshot();
  CHAINFS_ASSIGN(const verbs::Arguments format, FormatOptionsAsSent(options.format_options, keys));
  for (const verbs::Key& key : keys) arguments.SetIf(key.name, format.Text(key.name));
  if (!arguments.Has("id")) arguments.Set("id", NewJobId("snapshot"));
  return arguments;
}

Result<ExitCode> Snapshot(const SnapshotOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments, ArgumentsOf(options));
  const bool dry_run = arguments.Has("dry-run");
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const json before, ReadJsonAttribute(disk.path, "info"));
  if (!dry_run) CHAINFS_TRY(SyncDisk(disk));
  CHAINFS_TRY(
      Send(disk, {.verb = "snapshot", .value = arguments.Format(), .verbose = common.verbose}));
  if (dry_run) {
    Print(common.json
              ? OneLine({{"disk", TextOf(before, "name")},
                         {"active", TextOf(before, "active")},
                         {"dry-run", true}}) +
                    "\n"
              : fmt::format("{}: nothing was done: a snapshot can be made; {} would be frozen\n",
                            disk.shown, SafeText(TextOf(before, "active"))));
    return ExitCode::kDone;
  }
  CHAINFS_TRY(WaitUntilTaken(disk, arguments.Text("id").value_or("")));
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

}  // namespace

VerbRow SnapshotVerb() {
  return {.name = "snapshot",
          .help = CommandOf("snapshot").help,
          .examples =
              "chainctl snapshot vm1.raw\n"
              "chainctl snapshot vm1.raw --target /fast/vm1.qcow2 -o cluster_size=128k\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<SnapshotOptions>();
            AddDisk(verb, options->disk);
            AddKeyOptions(
                verb, CommandOf("snapshot"),
                {"cluster_size", "lazy_refcounts", "extended_l2", "compression_type", "disks"},
                options->arguments);
            AddFormatOptions(verb, FormatKeysOfSnapshot(), options->format_options);
            return [options](const CommonOptions& common) { return Snapshot(*options, common); };
          }};
}

}  // namespace chainfs::chainctl

// SPDX-License-Identifier: Apache-2.0
//
// stream: start the job, wait for it.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/command_value.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

Result<Command> StreamCommand(const StreamOptions& options, const std::string& id,
                              const CommonOptions& common) {
  CHAINFS_ASSIGN(const auto speed, SpeedInBytes(options.speed));
  CommandValue value;
  value.AddIf("base", options.base)
      .AddIf("top", options.top)
      .AddIf("speed", speed)
      .AddIf("on-error", options.on_error);
  if (options.generation) value.Add("generation", std::to_string(*options.generation));
  if (options.remove) value.Add("delete", "yes");
  if (options.dry_run) value.Add("dry-run", "yes");
  value.Add("id", id);
  return Command{.verb = "stream", .value = value.text(), .verbose = common.verbose};
}

// What became of the layers that were merged.
void ReportLeftOut(const JobReport& job) {
  for (const std::string& path : job.removed) Print(fmt::format("removed {}\n", SafeText(path)));
  for (const std::string& path : job.unneeded) {
    Print(fmt::format("no image in view needs {} any more\n", SafeText(path)));
  }
}

// The figure is right once the dry run has concluded, not before.
Result<ExitCode> ReportEstimate(const DiskPath& disk, const std::string& id, bool removes,
                                WaitSignals& signals, const CommonOptions& common) {
  const WaitOptions options{.timeout = {}, .progress = {.quiet = true, .percent_fd = {}}};
  CHAINFS_ASSIGN(const WaitOutcome outcome, WaitForJob(disk, id, signals, options));
  const JobReport& estimate = outcome.job;
  if (outcome.end != WaitEnd::kConcluded || estimate.error) {
    Note(fmt::format("stream: {}: no estimate: {}", disk.shown,
                     estimate.error.value_or("interrupted")));
    return estimate.cancelled ? ExitCode::kCancelled : ExitCode::kFailed;
  }
  Print(common.json
            ? estimate.raw + "\n"
            : fmt::format("{}: estimate, nothing was done: the stream would copy up to {}\n",
                          disk.shown, FormatSize(estimate.total)));
  for (const std::string& path : common.json ? std::vector<std::string>() : estimate.unneeded) {
    Print(fmt::format("{} {}\n",
                      removes ? "it would remove" : "nobody would need any more:", SafeText(path)));
  }
  return ExitCode::kDone;
}

}  // namespace

Result<ExitCode> RunStream(const StreamOptions& options, const CommonOptions& common) {
  CHAINFS_TRY(CheckJobId(options.id));
  const std::string id = options.id.value_or(NewJobId("stream"));
  CHAINFS_ASSIGN(const Command command, StreamCommand(options, id, common));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  WaitSignals signals;
  CHAINFS_TRY(Send(disk, command));
  if (options.dry_run) {
    return ReportEstimate(disk, id, options.remove, signals, common);
  }
  if (options.waiting.background) {
    if (common.json) {
      CHAINFS_ASSIGN(const JobReport job, ReadJob(disk, id));
      Print(job.raw + "\n");
    } else {
      Print(id + "\n");
    }
    return ExitCode::kDone;
  }
  CHAINFS_ASSIGN(
      const ExitCode code,
      WaitAndReport("stream", disk, id, signals, OnInterrupt::kCancelJob, options.waiting, common));
  if (code == ExitCode::kDone && !common.json && !common.quiet) {
    const Result<JobReport> job = ReadJob(disk, id);
    if (job) ReportLeftOut(*job);
    if (job && options.remove && !job->warning.empty()) Note("stream: " + job->warning);
  }
  return code;
}

}  // namespace chainfs::chainctl

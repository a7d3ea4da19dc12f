// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_stream.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_id.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

struct StreamOptions {
  std::string disk;
  verbs::Arguments arguments;
  WaitingOptions waiting;
};

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

Result<ExitCode> Stream(const StreamOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(verbs::Arguments arguments, AsSent(options.arguments, CommandOf("stream").keys));
  const std::string id = arguments.Text("id").value_or(NewJobId("stream"));
  arguments.Set("id", id);
  const bool removes = arguments.Has("delete");
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  WaitSignals signals;
  CHAINFS_TRY(
      Send(disk, {.verb = "stream", .value = arguments.Format(), .verbose = common.verbose}));
  if (arguments.Has("dry-run")) return ReportEstimate(disk, id, removes, signals, common);
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
    if (job && removes && !job->warning.empty()) Note("stream: " + job->warning);
  }
  return code;
}

}  // namespace

VerbRow StreamVerb() {
  return {.name = "stream",
          .help = CommandOf("stream").help,
          .examples =
              "chainctl stream vm1.raw --base base.qcow2\n"
              "chainctl stream vm1.raw --speed 50M -b\n"
              "chainctl stream vm1.raw --dry-run\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<StreamOptions>();
            AddDisk(verb, options->disk);
            AddKeyOptions(verb, CommandOf("stream"), {"compress"}, options->arguments);
            AddWaiting(verb, options->waiting, "Print the id and return");
            return [options](const CommonOptions& common) { return Stream(*options, common); };
          }};
}

}  // namespace chainfs::chainctl

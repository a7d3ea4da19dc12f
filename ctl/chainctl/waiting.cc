// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/waiting.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {

Result<ExitCode> WaitAndReport(const std::string& verb, const DiskPath& disk, const std::string& id,
                               WaitSignals& signals, OnInterrupt on_interrupt,
                               const WaitingOptions& waiting, const CommonOptions& common) {
  const WaitOptions options{.timeout = waiting.timeout,
                            .on_interrupt = on_interrupt,
                            .until_ready = on_interrupt == OnInterrupt::kCancelJob,
                            .progress = {.quiet = common.quiet, .percent_fd = waiting.progress_fd}};
  CHAINFS_ASSIGN(const WaitOutcome outcome, WaitForJob(disk, id, signals, options));
  const JobReport& job = outcome.job;
  if (outcome.end == WaitEnd::kConcluded) return ReportEnd(verb, disk, job, common);
  if (common.json) Print(job.raw + "\n");
  if (outcome.end == WaitEnd::kReady) {
    if (!common.json && !common.quiet) {
      Print(fmt::format("{}: {} is ready, and goes on until `chainctl complete {} {}` ends it\n",
                        disk.shown, id, disk.shown, id));
    }
    return ExitCode::kDone;
  }
  Note(fmt::format("{}: {}: {} is still {} ({:.1f}%); `chainctl wait {} {}` waits for it", verb,
                   disk.shown, id, job.status, job.percent(), disk.shown, id));
  return ExitCode::kStillRunning;
}

ExitCode ReportEnd(const std::string& verb, const DiskPath& disk, const JobReport& job,
                   const CommonOptions& common) {
  if (common.json) Print(job.raw + "\n");
  const ExitCode code = ExitCodeOf(job);
  if (code == ExitCode::kDone) {
    if (!common.json && !common.quiet) {
      Print(fmt::format("{}: {} {}\n", disk.shown, job.id, DoneText(job)));
    }
  } else if (code == ExitCode::kCancelled) {
    Note(fmt::format("{}: {}: {} was cancelled", verb, disk.shown, job.id));
  } else {
    Note(fmt::format("{}: {}: {} failed: {}", verb, disk.shown, job.id,
                     job.error.value_or("unknown reason")));
  }
  return code;
}

void AddWaiting(CLI::App& verb, WaitingOptions& waiting, const std::string& background) {
  if (!background.empty()) verb.add_flag("-b,--background", waiting.background, background);
  verb.add_option("--timeout", waiting.timeout, "Give up waiting after SECONDS (exit 4)")
      ->type_name("SECONDS")
      ->check(CLI::NonNegativeNumber);
  verb.add_option("--progress", waiting.progress_fd, "Write N/100 lines to file descriptor FD")
      ->type_name("FD")
      ->check(CLI::NonNegativeNumber);
}

}  // namespace chainfs::chainctl

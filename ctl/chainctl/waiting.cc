// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/waiting.h"

#include <fmt/core.h>

#include "ctl/chainctl/command_value.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {

Result<ExitCode> WaitAndReport(const std::string& verb, const DiskPath& disk, const std::string& id,
                               WaitSignals& signals, OnInterrupt on_interrupt,
                               const WaitingOptions& waiting, const CommonOptions& common) {
  const WaitOptions options{.timeout = waiting.timeout,
                            .on_interrupt = on_interrupt,
                            .progress = {.quiet = common.quiet, .percent_fd = waiting.progress_fd}};
  CHAINFS_ASSIGN(const WaitOutcome outcome, WaitForJob(disk, id, signals, options));
  const JobReport& job = outcome.job;
  if (outcome.end == WaitEnd::kConcluded) return ReportEnd(verb, disk, job, common);
  if (common.json) Print(job.raw + "\n");
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

Status CheckJobId(const std::optional<std::string>& id) {
  if (!id || IsPlausibleJobId(*id)) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("job id '{}': must be a letter, then letters, digits, '.', '_' or '-'",
                          SafeText(*id)));
}

Result<std::optional<std::string>> SpeedInBytes(const std::optional<std::string>& limit) {
  if (!limit) return std::nullopt;
  CHAINFS_ASSIGN(const uint64_t bytes, ParseSize(*limit));
  return std::to_string(bytes);
}

}  // namespace chainfs::chainctl

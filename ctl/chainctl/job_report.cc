// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/job_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {

double JobReport::percent() const {
  if (total == 0) return concluded() && !error ? 100.0 : 0.0;
  if (current >= total) return 100.0;
  const double exact = 100.0 * static_cast<double>(current) / static_cast<double>(total);
  return std::min(exact, 99.9);  // 99.96 would print as 100.0 before it is true
}

bool JobReport::paused_by_error() const {
  return status == "paused" && !io_status.empty() && io_status != "ok";
}

JobReport JobFromJson(const nlohmann::json& object) {
  JobReport job;
  job.id = SafeText(TextOf(object, "id"));
  job.type = SafeText(TextOf(object, "type"));
  job.disk = SafeText(TextOf(object, "disk"));
  job.status = SafeText(TextOf(object, "status"));
  job.current = NumberOf(object, "current-progress");
  job.total = NumberOf(object, "total-progress");
  job.speed = NumberOf(object, "speed");
  job.rate = NumberOf(object, "rate");
  job.eta = MaybeNumberOf(object, "eta");
  job.space_needed = MaybeNumberOf(object, "space-needed");
  job.estimated_ms = MaybeNumberOf(object, "estimated-milliseconds");
  job.copied = MaybeNumberOf(object, "copied");
  job.dry_run = FlagOf(object, "dry-run");
  job.io_status = SafeText(TextOf(object, "io-status"));
  job.cancelled = FlagOf(object, "cancelled");
  if (std::string error = TextOf(object, "error"); !error.empty()) job.error = SafeText(error);
  job.ended = TextOf(object, "ended");
  job.unneeded = TextsOf(object, "unneeded");
  job.removed = TextsOf(object, "removed");
  job.warning = SafeText(TextOf(object, "warning"));
  job.raw = OneLine(object);
  return job;
}

Result<nlohmann::json> JobsOfMount(const std::string& mount) {
  Result<nlohmann::json> all = ReadJsonFile(mount, "jobs.json");
  if (all) return ArrayOf(*all, "jobs");
  if (all.error().sys_errno != EACCES) return all;
  return ReadJsonAttribute(mount, "jobs");
}

Result<JobReport> ReadJob(const DiskPath& disk, const std::string& id) {
  if (disk.path == disk.mount) {
    CHAINFS_ASSIGN(const nlohmann::json jobs, JobsOfMount(disk.mount));
    for (const nlohmann::json& job : jobs) {
      if (TextOf(job, "id") == id) return JobFromJson(job);
    }
    return FailMounted(ESRCH,
                       fmt::format("{}: there is no job {} on this mount; `chainctl jobs {}` "
                                   "lists its jobs",
                                   disk.shown, id, disk.shown));
  }
  Result<nlohmann::json> value = ReadJsonAttribute(disk.path, "job." + id);
  if (!value) {
    const int saved_errno = value.error().sys_errno;
    if (saved_errno != ENODATA && saved_errno != ESRCH) return std::unexpected(value.error());
  }
  if (!value || !value->is_object()) {
    return FailMounted(ESRCH, fmt::format("{}: there is no job {} on this disk; `chainctl jobs {}` "
                                          "lists its jobs",
                                          disk.shown, id, disk.shown));
  }
  return JobFromJson(*value);
}

Result<std::vector<JobReport>> ReadJobs(const DiskPath& disk) {
  CHAINFS_ASSIGN(const nlohmann::json all, ReadJsonAttribute(disk.path, "jobs"));
  std::vector<JobReport> jobs;
  for (const nlohmann::json& entry : all) {
    JobReport job = JobFromJson(entry);
    if (job.id.empty() || job.dry_run) continue;  // no id: {"truncated":true}
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::optional<JobReport> NewestUnfinished(const std::vector<JobReport>& jobs) {
  const auto found =
      std::ranges::find_if(jobs, [](const JobReport& job) { return !job.concluded(); });
  return found == jobs.end() ? std::nullopt : std::optional(*found);
}

std::optional<JobReport> LastFinished(const std::vector<JobReport>& jobs) {
  std::optional<JobReport> last;
  for (const JobReport& job : jobs) {
    if (job.concluded() && (!last || job.ended > last->ended)) last = job;
  }
  return last;
}

std::string DoneText(const JobReport& job) {
  if (job.total == 0) return "done";
  if (!job.copied) return fmt::format("done: {} scanned", FormatSize(job.current));
  return fmt::format("done: {} {}, {} scanned", FormatSize(*job.copied),
                     job.type == "rebase" ? "compared" : "copied", FormatSize(job.current));
}

std::string AdviceFor(const JobReport& job, const std::string& disk) {
  if (job.waits_to_be_taken_up()) {
    return fmt::format("{}; it begins by itself, or: chainctl cancel {} {}", *job.error, disk,
                       job.id);
  }
  const std::string remedy = job.io_status == "nospace" ? "free some" : "mend that";
  const std::string reason = job.error.value_or(
      job.io_status == "nospace" ? "no space left on the file system of the layer"
                                 : "an I/O error");
  return fmt::format("paused: {}; {}, then: chainctl resume {} {}", reason, remedy, disk, job.id);
}

ExitCode ExitCodeOf(const JobReport& job) {
  if (!job.concluded()) return ExitCode::kStillRunning;
  if (job.cancelled) return ExitCode::kCancelled;
  return job.error ? ExitCode::kFailed : ExitCode::kDone;
}

}  // namespace chainfs::chainctl

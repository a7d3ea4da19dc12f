// SPDX-License-Identifier: Apache-2.0
#include "ctl/job_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "ctl/json_access.h"
#include "ctl/output.h"

namespace chainfs {

double JobReport::percent() const {
  if (total == 0) return concluded() && !error ? 100.0 : 0.0;
  if (current >= total) return 100.0;
  const double exact = 100.0 * static_cast<double>(current) / static_cast<double>(total);
  return std::min(exact, 99.9);  // 99.96 would print as 100.0 before it is true
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
  job.cancelled = FlagOf(object, "cancelled");
  if (std::string error = TextOf(object, "error"); !error.empty()) job.error = SafeText(error);
  job.raw = OneLine(object);
  return job;
}

Result<JobReport> ReadJob(const DiskPath& disk, const std::string& id) {
  Result<nlohmann::json> value = ReadJsonAttribute(disk.path, id.empty() ? "job" : "job." + id);
  if (!value) {
    const int saved_errno = value.error().sys_errno;
    if (saved_errno != ENODATA && saved_errno != ESRCH) return std::unexpected(value.error());
    return FailMounted(
        ESRCH, id.empty()
                   ? fmt::format("{}: has had no job", disk.shown)
                   : fmt::format("{}: has no job {}; `chainctl jobs` lists them", disk.shown, id));
  }
  if (!value->is_object()) {
    return FailMounted(ESRCH, fmt::format("{}: has had no job", disk.shown));
  }
  return JobFromJson(*value);
}

ExitCode ExitCodeOf(const JobReport& job) {
  if (!job.concluded()) return ExitCode::kStillRunning;
  if (job.cancelled) return ExitCode::kCancelled;
  return job.error ? ExitCode::kFailed : ExitCode::kDone;
}

}  // namespace chainfs

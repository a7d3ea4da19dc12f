// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_info.h"

#include <nlohmann/json.hpp>

#include "blocklayer/base/timestamp.h"

namespace chainfs::jobs {

std::string JobToJson(const JobInfo& job) {
  nlohmann::ordered_json out = {
      {"id", job.id},
      {"type", job.type},
      {"disk", job.disk},
      {"status", JobStatusName(job.status)},
  };
  if (job.dry_run) out["dry-run"] = true;
  out["current-progress"] = job.current_progress;
  // An estimate that is not complete is no figure at all.
  if (!job.dry_run || job.status == JobStatus::kConcluded) {
    out["total-progress"] = job.total_progress;
  }
  out["copied"] = job.copied;
  out["speed"] = job.speed;
  out["rate"] = job.rate;
  out["priority"] = job.priority;
  out["io-status"] = job.io_status;
  if (job.eta_seconds) out["eta"] = *job.eta_seconds;
  if (job.cancelled) out["cancelled"] = true;
  if (job.error) out["error"] = *job.error;
  if (job.warning) out["warning"] = *job.warning;
  if (!job.unneeded.empty()) out["unneeded"] = job.unneeded;
  if (!job.removed.empty()) out["removed"] = job.removed;
  for (const auto& [key, value] : job.facts) {
    std::visit([&, &name = key](const auto& held) { out[name] = held; }, value);
  }
  out["started"] = FormatUtc(job.started);
  if (job.ended) out["ended"] = FormatUtc(*job.ended);
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace chainfs::jobs

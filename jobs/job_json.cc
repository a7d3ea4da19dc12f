// SPDX-License-Identifier: Apache-2.0
//
// JobToJson: a job as the status attributes and jobs.json show it.
#include <nlohmann/json.hpp>

#include "jobs/job_manager.h"
#include "jobs/timestamp.h"

namespace chainfs {

std::string JobToJson(const JobInfo& job) {
  nlohmann::ordered_json out = {
      {"id", job.id},
      {"type", job.type},
      {"disk", job.disk},
      {"status", JobStatusName(job.status)},
      {"current-progress", job.current_progress},
      {"total-progress", job.total_progress},
      {"copied", job.copied},
      {"speed", job.speed},
      {"rate", job.rate},
  };
  if (job.eta_seconds) out["eta"] = *job.eta_seconds;
  if (job.cancelled) out["cancelled"] = true;
  if (job.error) out["error"] = *job.error;
  out["started"] = FormatUtc(job.started);
  if (job.ended) out["ended"] = FormatUtc(*job.ended);
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace chainfs

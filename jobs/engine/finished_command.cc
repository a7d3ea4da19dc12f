// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/finished_command.h"

#include <utility>

#include "jobs/engine/job_events.h"

namespace chainfs::jobs {

FinishedCommand::FinishedCommand(std::string id, std::string type, std::string disk,
                                 uint64_t sequence) {
  info_.id = std::move(id);
  info_.type = std::move(type);
  info_.disk = std::move(disk);
  info_.status = JobStatus::kConcluded;
  info_.started = std::chrono::system_clock::now();
  info_.ended = info_.started;
  info_.sequence = sequence;
}

void FinishedCommand::Announce(EventLog& events) const {
  const JobEvents tell(events, {.id = info_.id, .type = info_.type, .disk = info_.disk});
  for (const JobStatus status :
       {JobStatus::kCreated, JobStatus::kRunning, JobStatus::kWaiting, JobStatus::kPending}) {
    tell.StatusChanged(status);
  }
  tell.Ended(JobEvents::End::kWell, {}, nullptr);
  tell.StatusChanged(JobStatus::kConcluded);
}

}  // namespace chainfs::jobs

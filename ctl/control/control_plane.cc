// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/control_plane.h"

#include <utility>

#include "jobs/job_types.h"

namespace chainfs::control {

ControlPlane::ControlPlane(Catalog& catalog, CommandAccess access, MountConfig config)
    : errors(disks),
      jobs(catalog, events, jobs::JobTypes(),
           {.failed = [this](const auto& disk, const auto& type,
                             const Error& error) { errors.JobFailed(disk, type, error); }}),
      commands(catalog, jobs, access, [this] { changes_.ReleaseEventReaders(); }),
      attributes(catalog, jobs, errors, std::move(config)),
      files(catalog, jobs, disks),
      changes_(catalog, disks, errors, events, jobs) {}

void ControlPlane::EndJobs() {
  if (jobs_ended_.exchange(true)) return;
  events.Publish("SHUTDOWN", {});
  jobs.Shutdown();
}

}  // namespace chainfs::control

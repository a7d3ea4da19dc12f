// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/control_plane.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/job_types.h"

namespace chainfs::control {

ControlPlane::ControlPlane(Catalog& catalog, CommandAccess access, MountConfig config)
    : errors(disks),
      jobs(catalog, events, jobs::JobTypes(),
           {.failed = [this](const auto& disk, const auto& type,
                             const Error& error) { errors.JobFailed(disk, type, error); }}),
      limits(catalog.records(), config.max_layers),
      compactor(catalog, jobs, limits),
      traces(catalog, events),
      commands(
          catalog, jobs, limits, traces, access,
          {.release_events = [this] { changes_.ReleaseEventReaders(); },
           .limits_changed = [this] { compactor.LookSoon(); },
           .take_in_changes = [this](const Disk& disk,
                                     uint64_t from) { return changes_.TakeInChanges(disk, from); },
           .kernel_keeps_sizes = config.writeback_cache}),
      attributes(catalog, jobs, errors, limits, traces, std::move(config)),
      files(catalog, jobs, disks, traces),
      changes_(catalog, disks, errors, events, jobs, compactor) {}

Status ControlPlane::CheckWriting(std::span<const DiskPtr> of, bool or_mount,
                                  const Caller& caller) const {
  if (or_mount && changes_.LetsWrite(nullptr, caller)) return {};
  if (of.empty()) {
    return Fail(ErrorKind::kPermission,
                "the mode of the mount point does not let you write, which commands need");
  }
  for (const DiskPtr& disk : of) {
    if (changes_.LetsWrite(disk.get(), caller)) continue;
    return Fail(ErrorKind::kPermission,
                EscapeText(fmt::format("{}: its mode does not let you write, which commands need",
                                       disk->name())));
  }
  return {};
}

void ControlPlane::BeginJobs() {
  jobs.ResumeRecorded();
  compactor.Start();
}

void ControlPlane::EndJobs() {
  if (jobs_ended_.exchange(true)) return;
  events.Publish("SHUTDOWN", {});
  compactor.Stop();
  jobs.Shutdown();
  traces.StopAll();
}

}  // namespace chainfs::control

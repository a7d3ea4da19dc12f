// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_manager.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/engine/finished_command.h"

namespace chainfs::jobs {

// A job that has concluded may have held what a waiting one needs.
JobManager::JobManager(Catalog& catalog, EventLog& events, std::span<const JobType> types,
                       JobManagerOptions options)
    : catalog_(catalog),
      events_(events),
      starter_(catalog, events, types, registry_, arena_,
               {.failed = std::move(options.failed),
                .released = {},
                .concluded = [this] { recorded_.RetrySoon(); }}),
      recorded_(catalog, registry_, starter_, arena_),
      arena_(options.threads) {}

JobManager::~JobManager() { Shutdown(); }

void JobManager::ResumeRecorded() { recorded_.ResumeAll(); }

void JobManager::RetryRecorded() { recorded_.RetrySoon(); }

Result<std::string> JobManager::Start(const JobCommand& command) { return starter_.Start(command); }

Status JobManager::StartTogether(const std::vector<JobCommand>& commands,
                                 const std::vector<GroupMember>& snapshots) {
  Status started = GroupStarter(catalog_, registry_, starter_).Start(commands, snapshots);
  // One that could not begin, or be undone, may be able to by now.
  recorded_.RetrySoon();
  return started;
}

Status JobManager::CheckTogether(const std::vector<JobCommand>& commands,
                                 const std::vector<GroupMember>& snapshots) {
  return GroupStarter(catalog_, registry_, starter_).Check(commands, snapshots);
}

Result<Reservation> JobManager::ReserveDisk(const Disk& disk, std::string_view type,
                                            std::string_view id, bool alone) {
  if (!id.empty()) CHAINFS_TRY(CheckNewJobId(id));
  return registry_.Reserve({.disk = disk.name(),
                            .id = std::string(id),
                            .type = std::string(type),
                            .freezes = disk.chain()->active,
                            .alone = alone});
}

void JobManager::ShowConcluded(Reservation command) {
  const uint64_t sequence = command.sequence();
  const auto finished =
      std::make_shared<FinishedCommand>(command.id(), command.type(), command.disk(), sequence);
  command.Accept(finished);
  registry_.Concluded(sequence);
  finished->Announce(events_);
  recorded_.RetrySoon();
}

Result<std::string> JobManager::ListedName(const DiskPtr& disk) const {
  if (disk == nullptr) return std::string();
  const DiskPtr shown = catalog_.Find(disk->name());
  if (shown == nullptr || shown == disk) return disk->name();
  return Fail(ErrorKind::kNotFound,
              EscapeText(fmt::format("the disk {} is gone, and another one has its name; name its "
                                     "job by id= on the mount point",
                                     disk->name())));
}

Result<std::shared_ptr<ListedJob>> JobManager::JobFor(const DiskPtr& disk,
                                                      std::string_view id) const {
  CHAINFS_ASSIGN(const std::string name, ListedName(disk));
  return registry_.ForVerb(name, id);
}

Status JobManager::Cancel(const DiskPtr& disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::string name, ListedName(disk));
  if (registry_.IsWaiting(name, id)) return recorded_.Cancel(name, id);
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, registry_.ForVerb(name, id));
  return job->Cancel();
}

Status JobManager::Pause(const DiskPtr& disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, JobFor(disk, id));
  return job->Pause();
}

Status JobManager::Resume(const DiskPtr& disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, JobFor(disk, id));
  return job->Resume();
}

Status JobManager::Complete(const DiskPtr& disk, std::string_view id,
                            const verbs::Arguments& arguments) {
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, JobFor(disk, id));
  return job->Complete(arguments);
}

Status JobManager::Change(const DiskPtr& disk, std::string_view id,
                          const verbs::Arguments& arguments) {
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, JobFor(disk, id));
  CHAINFS_TRY(job->Change(arguments));
  CHAINFS_ASSIGN(const std::optional<Priority> priority, PriorityIn(arguments));
  if (priority) registry_.SetPriority(job, *priority);
  return {};
}

Status JobManager::SetSpeed(const DiskPtr& disk, std::string_view id, uint64_t bytes_per_second) {
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, JobFor(disk, id));
  return job->SetSpeed(bytes_per_second);
}

Status JobManager::Dismiss(const DiskPtr& disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::string name, ListedName(disk));
  if (registry_.IsWaiting(name, id)) return recorded_.Forget(name, id);
  return registry_.Dismiss(name, id);
}

std::vector<JobInfo> JobManager::Jobs(std::string_view disk) const { return registry_.Jobs(disk); }

std::optional<JobInfo> JobManager::Find(std::string_view disk, std::string_view id) const {
  return registry_.Find(disk, id);
}

void JobManager::Shutdown() {
  const std::vector<std::shared_ptr<ListedJob>> jobs = registry_.ShutDown();
  for (const std::shared_ptr<ListedJob>& job : jobs) job->Stop();
  for (const std::shared_ptr<ListedJob>& job : jobs) job->WaitStopped();
  registry_.ReleaseAllLayers();
}

}  // namespace chainfs::jobs

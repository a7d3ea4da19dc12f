// SPDX-License-Identifier: Apache-2.0
//
// JobStarter: from a command, or a record, to a job that runs: it is planned, its claims are
// admitted, its work takes what it needs, its record is written, its work begins, and only then is
// it accepted.
//
// Threads: all methods, any thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "jobs/engine/job_arena.h"
#include "jobs/engine/job_options.h"
#include "jobs/engine/job_run.h"
#include "jobs/engine/job_type.h"
#include "jobs/engine/reservation.h"

namespace chainfs::jobs {

class JobStarter {
 public:
  // All outlive this. Of `hooks` those that every job gets; `concluded` comes after the job has
  // made room for others.
  JobStarter(Catalog& catalog, EventLog& events, std::span<const JobType> types,
             JobRegistry& registry, JobArena& arena, JobRunHooks hooks)
      : catalog_(catalog),
        events_(events),
        types_(types),
        registry_(registry),
        arena_(arena),
        hooks_(std::move(hooks)) {}

  // The id of the accepted job. Errors as JobManager::Start.
  Result<std::string> Start(const JobCommand& command);
  // Accepts the job that `record`, which was read from `found`, is about. Nothing has happened when
  // it fails.
  Status TakeUp(const JobRecord& record, const RecordStore::Record& found);
  // Whether the type is known and what its jobs did must be taken back (JobType::undoes).
  bool Undoes(std::string_view type) const;
  std::span<const JobType> types() const { return types_; }
  // Starts those that may run now.
  void StartQueued();

 private:
  // A plan and the claims that were admitted for it.
  struct Planned {
    JobPlan plan;
    Reservation reservation;
  };
  // kNotFound when no disk is shown by that name.
  Result<DiskPtr> FindDisk(const std::string& name) const;
  // That of a record; the error says how to have the job go on.
  Result<DiskPtr> DiskOf(const JobRecord& record) const;
  Result<const JobType*> TypeOf(const std::string& name) const;
  // Plans, reserves what the plan names, and makes sure that the chain was still the same when the
  // reservation began to protect it.
  Result<Planned> Plan(const JobType& type, const JobCommand& command, const Admission& wanted,
                       const JobOptions& options) const;
  Result<std::string> StartOnce(const JobType& type, const JobCommand& command,
                                const JobOptions& options);
  void Accept(Reservation reservation, JobSettings settings, std::unique_ptr<ChunkWork> work,
              std::unique_ptr<JobRecorder> recorder, const RecordStore::Record* found);

  Catalog& catalog_;
  EventLog& events_;
  const std::span<const JobType> types_;
  JobRegistry& registry_;
  JobArena& arena_;
  const JobRunHooks hooks_;
};

}  // namespace chainfs::jobs

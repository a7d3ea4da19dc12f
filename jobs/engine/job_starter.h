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
#include "jobs/engine/starting_job.h"

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
  Status TakeUp(JobRecord record, const RecordStore::Record& found);

  // ---- What Start consists of, for jobs that start together (group_starter.h).
  // What its Begin would hold, as JobPlan has it; with the id, if the command gives one.
  Result<std::optional<FreezeRequest>> PointOf(const JobCommand& command) const;
  // Planned, admitted, prepared and recorded; `group` as JobRecord has it. Errors as Start.
  Result<StartingJob> MakeReady(const JobCommand& command, const std::string& group);
  // One that has begun.
  void Accept(StartingJob job);
  // Its Begin has failed, or was undone: nothing of it is left, or its record as one to be undone.
  void GiveUp(StartingJob job, const Error& reason);
  // It is not accepted; what its record says is done later, as if another daemon had left it.
  void LeaveToRecord(StartingJob job);
  Result<RecordStore::Record> RecordOf(const StartingJob& job) const;

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
  // kNotFound also when another disk has the name of its disk by now.
  Result<const JobType*> TypeFor(const JobCommand& command) const;
  // Plans, reserves what the plan names, and makes sure that the chain was still the same when the
  // reservation began to protect it.
  Result<Planned> Plan(const JobType& type, const JobCommand& command, const Admission& wanted,
                       const JobOptions& options) const;
  Result<Planned> PlanNew(const JobType& type, const JobCommand& command,
                          const JobOptions& options) const;
  Result<std::string> Estimate(const JobType& type, const JobCommand& command,
                               const JobOptions& options);
  Result<StartingJob> Record(const JobType& type, const JobCommand& command,
                             const JobOptions& options, const std::string& group);
  // What became of the group of one that is taken up: where that has not happened, it is to be
  // undone.
  Status SettleGroup(JobRecord& record, const RecordStore::Record& found) const;
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

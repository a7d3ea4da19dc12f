// SPDX-License-Identifier: Apache-2.0
//
// The inside of JobManager: the list of jobs, who may start, what is remembered.
//
// Terms: an *entry* is a job from the moment its id and its layers are reserved. It is *accepted*
// once it has a run; only accepted ones are shown. It is *started* when it holds one of the places
// for running jobs.
// A *waiting* job is a record beside the images that could not be taken up yet.
//
// Invariants: ids are unique in the mount among all entries, and no new one is that of a waiting
// job. No two entries that are neither estimates nor ended have plans in conflict. At most
// kMaxRunning are started and not concluded.
//
// Locks: mu_ guards the list only. Nothing is called with it held: no run, no catalog, no event.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/engine/job_arena.h"
#include "jobs/engine/job_manager.h"
#include "jobs/engine/job_record.h"
#include "jobs/engine/job_run.h"
#include "jobs/stream/stream_plan.h"

namespace chainfs::jobs {

JobSettings SettingsOf(const JobRecord& record, std::optional<std::string> warning);

class JobManager::Impl {
 public:
  static constexpr size_t kMaxRunning = 16;
  static constexpr size_t kMaxQueued = 64;
  static constexpr size_t kHistory = 32;   // concluded jobs that are remembered, a disk
  static constexpr size_t kEstimates = 8;  // and dry runs, which take no other job's place

  Impl(Catalog& catalog, EventLog& events, JobManagerOptions options);

  // job_manager_waiting.cc
  void ResumeRecorded() EXCLUDES(mu_);
  void RetryWaiting() EXCLUDES(mu_);
  // `id` must not be empty for there to be one.
  bool IsWaiting(std::string_view disk, std::string_view id) const EXCLUDES(mu_);
  std::optional<JobInfo> FindWaiting(std::string_view disk, std::string_view id) const
      EXCLUDES(mu_);
  Status DropWaiting(std::string_view disk, std::string_view id) EXCLUDES(mu_);

  Result<std::string> Stream(const StreamRequest& request) EXCLUDES(mu_);
  Status Snapshot(const SnapshotCommand& command) EXCLUDES(mu_);
  Status Revert(const RevertCommand& command) EXCLUDES(mu_);
  // The run that a verb means; kShutdown, kNoSuchJob.
  Result<std::shared_ptr<JobRun>> ForVerb(std::string_view disk, std::string_view id,
                                          bool finished = false) EXCLUDES(mu_);
  Status Dismiss(std::string_view disk, std::string_view id) EXCLUDES(mu_);
  std::vector<JobInfo> Jobs(std::string_view disk) const EXCLUDES(mu_);
  std::shared_ptr<JobRun> FindRun(std::string_view disk, std::string_view id) const EXCLUDES(mu_);
  void Shutdown() EXCLUDES(mu_);

 private:
  struct Entry {
    uint64_t sequence = 0;
    std::string id;
    std::string disk;
    std::optional<StreamPlan> plan;  // until the layers are free again
    std::shared_ptr<JobRun> run;     // once accepted
    bool alone = false;              // no other job of the disk meanwhile
    bool queues = false;
    bool started = false;
    bool concluded = false;
    bool dismissed = false;  // to be forgotten as soon as it has concluded
  };
  // Sequence number and id of a reservation, given back unless it is accepted.
  class Reservation;
  // A waiting job that was taken in hand; put down by the destructor, however it ends.
  class Hand;
  using Entries = std::vector<std::unique_ptr<Entry>>;  // oldest first
  struct Waiting {
    std::shared_ptr<const Catalog::Record> record;
    std::string id;              // as the record's name has it
    Result<JobRecord> contents;  // the error says why they make no sense
    std::string reason = {};     // why it was not taken up
    bool in_hand = false;        // somebody tries it, or removes it (Hand)
    bool again = false;          // something has changed since that began
    uint64_t round = 0;          // of TryWaiting, in which it was last looked at
    std::chrono::system_clock::time_point since = {};
  };

  struct Wanted {
    std::string disk;
    std::string id;  // empty: TYPE-N
    std::string type;
    std::optional<StreamPlan> plan = std::nullopt;
    bool alone = false;     // as in Entry
    bool queues = false;    // takes a place in the queue
    bool taken_up = false;  // its id is that of a waiting job: its own
  };
  Result<DiskPtr> FindDisk(const std::string& name, std::optional<uint64_t> generation) const;
  Status Reserve(Wanted wanted, Reservation& reservation) EXCLUDES(mu_);
  // kBusy when one of the two wants to be alone.
  Status CheckAlone(const Wanted& wanted) const REQUIRES(mu_);
  void GiveBack(uint64_t sequence) EXCLUDES(mu_);
  Result<StreamPlan> ReserveStream(const Disk& disk, const StreamRequest& request,
                                   Reservation& reservation, bool taken_up = false) EXCLUDES(mu_);
  Result<std::string> StartStream(const DiskPtr& disk, const StreamRequest& request) EXCLUDES(mu_);
  Status Resume(const Catalog::Record& record) EXCLUDES(mu_);
  void TryWaiting() EXCLUDES(mu_);
  // Keeps the reason why it was not taken up.
  Status TryOne(const Catalog::Record& record) EXCLUDES(mu_);
  void TakeInHand(Waiting& waiting) REQUIRES(mu_);
  // Whether it is to be tried again.
  bool PutDown(const Catalog::Record& record) EXCLUDES(mu_);
  void AddWaiting(Catalog::Record record) EXCLUDES(mu_);
  void EraseWaiting(const Catalog::Record& record) REQUIRES(mu_);
  Waiting* WaitingOf(const Catalog::Record& record) REQUIRES(mu_);
  const Waiting* LookupWaiting(std::string_view disk, std::string_view id) const REQUIRES(mu_);
  static JobInfo InfoOf(const Waiting& waiting);
  std::shared_ptr<JobRun> MakeRun(const Reservation& reservation, JobSettings settings,
                                  std::unique_ptr<ChunkWork> work) EXCLUDES(mu_);
  void StartQueued() EXCLUDES(mu_);
  void LayersReleased(uint64_t sequence) EXCLUDES(mu_);
  void Concluded(uint64_t sequence) EXCLUDES(mu_);

  Entry* EntryOf(uint64_t sequence) REQUIRES(mu_);
  const Entry* Lookup(std::string_view disk, std::string_view id) const REQUIRES(mu_);
  bool HasEntry(std::string_view id) const REQUIRES(mu_);
  bool IdInUse(std::string_view id) const REQUIRES(mu_);
  std::string FreshId(std::string_view type) REQUIRES(mu_);
  void TrimHistory(std::string_view disk, bool estimates) REQUIRES(mu_);
  // Accepted ones, newest first.
  std::vector<std::shared_ptr<JobRun>> Runs(std::string_view disk) const REQUIRES(mu_);

  Catalog& catalog_;
  EventLog& events_;
  const JobManagerOptions options_;

  mutable Mutex mu_;
  CondVar idle_;  // no reservation, nothing in hand
  Entries entries_ GUARDED_BY(mu_);
  std::vector<Waiting> waiting_ GUARDED_BY(mu_);
  uint64_t next_sequence_ GUARDED_BY(mu_) = 1;
  uint64_t next_number_ GUARDED_BY(mu_) = 1;  // of ids that we give
  size_t reserving_ GUARDED_BY(mu_) = 0;      // reservations that are alive
  size_t in_hand_ GUARDED_BY(mu_) = 0;        // waiting jobs that somebody tries or removes
  uint64_t rounds_ GUARDED_BY(mu_) = 0;       // of TryWaiting
  bool shut_down_ GUARDED_BY(mu_) = false;

  // Last, so that it goes first: its tasks use all of the above.
  JobArena arena_;
};

}  // namespace chainfs::jobs

// SPDX-License-Identifier: Apache-2.0
//
// JobRegistry: which jobs there are, under one lock, and who is admitted: no two with one id, no
// two whose claims conflict, none beside one that wants to be alone on its disk.
//
// It keeps JOB-9 to JOB-11 of README.md.
//
// Threads: all methods, any thread. Nothing is called with mu_ held: no job, no catalog, no event.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/engine/job_list.h"
#include "jobs/engine/waiting_jobs.h"

namespace chainfs::jobs {

// What a job, or a short command on a disk, wants to be admitted for.
struct Admission {
  std::string disk;
  std::string id;  // empty: TYPE-N
  std::string type;
  std::vector<std::string> other_disks = {};  // that it is about as well
  std::optional<LayerClaims> claims = std::nullopt;
  // An active layer that a snapshot is to freeze: no job may be about to leave it out.
  LayerPtr freezes = {};
  Priority priority = Priority::kNormal;
  bool alone = false;     // no unfinished or waiting job of its disks beside it, and none meanwhile
  bool queues = false;    // takes a place in the queue
  bool taken_up = false;  // its id is that of a waiting job: its own
};

class Reservation;

class JobRegistry {
 public:
  static constexpr size_t kMaxRunning = 16;
  static constexpr size_t kMaxQueued = 64;

  // ---- Admission.
  // kShutdown, kExists (id), kBusy (claims, alone, too many).
  Result<Reservation> Reserve(Admission wanted) EXCLUDES(mu_);
  // Those that may start now; nobody else gets them.
  std::vector<std::shared_ptr<ListedJob>> TakePlaces() EXCLUDES(mu_);
  // The job of that number holds no layer any more.
  void LayersReleased(uint64_t sequence) EXCLUDES(mu_);
  void Concluded(uint64_t sequence) EXCLUDES(mu_);

  // ---- Looking.
  // The job that a verb means: `id` empty: the newest that has finished, or has not; no dry run if
  // there is another. kShutdown, kNoSuchJob.
  Result<std::shared_ptr<ListedJob>> ForVerb(std::string_view disk, std::string_view id,
                                             bool finished = false) const EXCLUDES(mu_);
  Status Dismiss(std::string_view disk, std::string_view id) EXCLUDES(mu_);
  // By which it gets a place to run, unless it has one.
  void SetPriority(const std::shared_ptr<ListedJob>& job, Priority priority) EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    for (const auto& entry : list_.entries()) {
      if (entry->job == job) entry->priority = priority;
    }
  }
  // Newest first, then those that wait.
  std::vector<JobInfo> Jobs(std::string_view disk) const EXCLUDES(mu_);
  std::optional<JobInfo> Find(std::string_view disk, std::string_view id) const EXCLUDES(mu_);

  // ---- Waiting jobs.
  void AddWaiting(RecordStore::Record record) EXCLUDES(mu_);
  void EraseWaiting(const RecordStore::Record& record) EXCLUDES(mu_);
  // Whether there is one, `id` not empty, and no other job of that id.
  bool IsWaiting(std::string_view disk, std::string_view id) const EXCLUDES(mu_);
  bool AnyWaiting() const EXCLUDES(mu_);  // and no end of the daemon
  uint64_t NextRound() EXCLUDES(mu_);
  // As WaitingJobs says. Null also at the end of the daemon.
  std::shared_ptr<const RecordStore::Record> TakeNextWaiting(uint64_t round) EXCLUDES(mu_);
  // kShutdown; kBusy when somebody has it in hand.
  Result<std::shared_ptr<const RecordStore::Record>> TakeWaiting(std::string_view disk,
                                                                 std::string_view id) EXCLUDES(mu_);
  // Whether it is to be tried again.
  bool PutDown(const RecordStore::Record& record) EXCLUDES(mu_);
  // Whether the reason is a new one.
  bool SetReason(const RecordStore::Record& record, const std::string& reason) EXCLUDES(mu_);
  void ReplaceWaiting(RecordStore::Record record) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    waiting_.Replace(std::move(record));
  }

  // ---- The end of the daemon.
  // Nothing is admitted from now on. Waits until no reservation is alive and no waiting job in
  // hand; all that were accepted.
  std::vector<std::shared_ptr<ListedJob>> ShutDown() EXCLUDES(mu_);
  void ReleaseAllLayers() EXCLUDES(mu_);

 private:
  friend class Reservation;
  Status CheckId(const Admission& wanted) const REQUIRES(mu_);
  Status CheckAlone(const Admission& wanted) const REQUIRES(mu_);
  Status CheckClaims(const Admission& wanted) const REQUIRES(mu_);
  std::string FreshId(std::string_view type) REQUIRES(mu_);
  void GiveBack(uint64_t sequence) EXCLUDES(mu_);
  void Accept(uint64_t sequence, std::shared_ptr<ListedJob> job, const RecordStore::Record* record)
      EXCLUDES(mu_);

  mutable Mutex mu_;
  CondVar idle_;  // no reservation, nothing in hand
  JobList list_ GUARDED_BY(mu_);
  WaitingJobs waiting_ GUARDED_BY(mu_);
  uint64_t next_number_ GUARDED_BY(mu_) = 1;  // of ids that we give
  size_t reserving_ GUARDED_BY(mu_) = 0;      // reservations that are alive
  bool shut_down_ GUARDED_BY(mu_) = false;
};

}  // namespace chainfs::jobs

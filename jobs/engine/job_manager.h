// SPDX-License-Identifier: Apache-2.0
//
// JobManager: all background work of one mount. A command is planned, recorded durably where it
// must outlive the daemon, and accepted; the work runs as chunks on a oneTBB task arena, several in
// flight per job, several jobs at once. See README.md for the life of a job.
//
// Threads: all methods, any thread. No method waits for a job's work, except Shutdown.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/engine/group_starter.h"
#include "jobs/engine/job_starter.h"
#include "jobs/engine/recorded_jobs.h"

namespace chainfs::jobs {

struct JobManagerOptions {
  int threads = 0;  // of the arena; 0: one per core, at least 2
  // A job of the disk failed, or stands still until somebody resumes it. Quick, any thread, called
  // with locks of the jobs held.
  std::function<void(const std::string& disk, const std::string& type, const Error& error)> failed =
      {};
};

class JobManager {
 public:
  // All must outlive the manager. `types` are the kinds of job that there are.
  JobManager(Catalog& catalog, EventLog& events, std::span<const JobType> types,
             JobManagerOptions options);
  ~JobManager();

  // Starts again what a record beside the images says was not finished. Call once, after the
  // catalog is open. A record that cannot be taken up now is kept and shown as a job that is
  // waiting, with the reason as its error; Cancel and Dismiss, with its id, remove it.
  void ResumeRecorded();
  // Tries those again, soon and in the background: call it when a disk has appeared or may be
  // written again. Cheap, any thread, also with locks held.
  void RetryRecorded();

  // The id of the accepted job. kUnsupported (type), kInvalidArgument, kExists (id), kNotFound
  // (disk, layer), kBusy (another job writes one of the layers), kStale, kReadOnly (read-only mount
  // or top image).
  Result<std::string> Start(const JobCommand& command);
  // As GroupStarter has them.
  Status StartTogether(const std::vector<JobCommand>& commands,
                       const std::vector<GroupMember>& snapshots);
  Status CheckTogether(const std::vector<JobCommand>& commands,
                       const std::vector<GroupMember>& snapshots);

  // For a short command that changes the chain of a disk and is no job: held while it is carried
  // out, it has the id, so that no job gets it. kInvalidArgument and kExists (id), kShutdown; kBusy
  // when it wants to be `alone` and an unfinished or waiting job of the disk is there (no job is
  // accepted beside it then), or a job merges the active layer into another one.
  Result<Reservation> ReserveDisk(const Disk& disk, std::string_view type, std::string_view id,
                                  bool alone);
  // The command was carried out: the history shows it as a concluded job of its id.
  void ShowConcluded(Reservation command);

  // `disk` null: any, also one that is not shown. `id` empty: the newest job that has not finished
  // (for Dismiss: that has), no dry run if there is another. kNoSuchJob; kNotFound when another
  // disk has its name by now, for the jobs of both are listed by it; kInvalidArgument naming the
  // state when the verb is not legal in it.
  Status Cancel(const DiskPtr& disk, std::string_view id);
  Status Pause(const DiskPtr& disk, std::string_view id);
  Status Resume(const DiskPtr& disk, std::string_view id);
  // `arguments`: the keys of the verb that do not say which job.
  Status Complete(const DiskPtr& disk, std::string_view id, const verbs::Arguments& arguments);
  Status Change(const DiskPtr& disk, std::string_view id, const verbs::Arguments& arguments);
  Status SetSpeed(const DiskPtr& disk, std::string_view id, uint64_t bytes_per_second);
  Status Dismiss(const DiskPtr& disk, std::string_view id);

  // Newest first; `disk` empty: of all disks. Running ones and the last 32 concluded per disk.
  std::vector<JobInfo> Jobs(std::string_view disk) const;
  std::optional<JobInfo> Find(std::string_view disk, std::string_view id) const;

  // Brings every job to a consistent point, leaves its record, waits for its chunks. Jobs stay
  // resumable by the next daemon. No verb is accepted afterwards (kShutdown).
  void Shutdown();

 private:
  // What the list knows jobs of `disk` by.
  Result<std::string> ListedName(const DiskPtr& disk) const;
  Result<std::shared_ptr<ListedJob>> JobFor(const DiskPtr& disk, std::string_view id) const;

  Catalog& catalog_;
  EventLog& events_;
  JobRegistry registry_;
  JobStarter starter_;
  RecordedJobs recorded_;
  // Last, so that it goes first: its tasks use all of the above.
  JobArena arena_;
};

}  // namespace chainfs::jobs

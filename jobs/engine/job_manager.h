// SPDX-License-Identifier: Apache-2.0
//
// JobManager: all background work of one mount. A verb validates, records the job durably where it
// must outlive the daemon, and returns; the work runs as chunks on a oneTBB task arena, several in
// flight a job, several jobs at once. See README.md for the life of a job.
//
// Threads: all methods, any thread. No method waits for a job's work, except Shutdown.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job.h"

namespace chainfs::jobs {

struct JobManagerOptions {
  int threads = 0;  // of the arena; 0: one a core, at least 2
  // A job of the disk failed, or stands still until somebody resumes it. Quick, any thread, called
  // with locks of the jobs held.
  std::function<void(const std::string& disk, const std::string& type, const Error& error)> failed =
      {};
};

class JobManager {
 public:
  // Both must outlive the manager.
  JobManager(Catalog& catalog, EventLog& events, JobManagerOptions options);
  ~JobManager();

  // Starts again what a record beside the images says was not finished. Call once, after the
  // catalog is open. A record that cannot be taken up now is kept and shown as a job that is
  // waiting, with the reason as its error; Cancel and Dismiss, with its id, remove it.
  void ResumeRecorded();
  // Tries those again, soon and in the background: call it when a disk has appeared or may be
  // written again. Cheap, any thread, also with locks held.
  void RetryRecorded();

  // The id of the accepted job. kInvalidArgument, kExists (id), kNotFound (disk, layer), kBusy
  // (another job writes one of the layers), kStale, kReadOnly (read-only mount or top image).
  Result<std::string> Stream(const StreamRequest& request);
  // Synchronous and short; still leaves a concluded job of type "snapshot" when `id` is given.
  // kExists, kAccess...
  struct SnapshotCommand {
    std::string disk = {};
    std::string id = {};
    SnapshotRequest request = {};
    std::optional<uint64_t> generation = {};
    bool dry_run = false;
  };
  Status Snapshot(const SnapshotCommand& command);

  // The disk goes back to an older layer, the newer ones are removed. Synchronous and short.
  // kBusy while a job of the disk is there that has not finished.
  struct RevertCommand {
    std::string disk = {};
    std::string to = {};    // as for streams
    bool anywhere = false;  // the caller may have files outside the sources removed (root)
    std::optional<uint64_t> generation = {};
    bool dry_run = false;
  };
  Status Revert(const RevertCommand& command);

  // `disk` empty: any. `id` empty: the newest job that has not finished (for Dismiss: that has), no
  // dry run if there is another. kNoSuchJob; kInvalidArgument naming the state when the verb is not
  // legal in it.
  Status Cancel(std::string_view disk, std::string_view id);
  Status Pause(std::string_view disk, std::string_view id);
  Status Resume(std::string_view disk, std::string_view id);
  Status SetSpeed(std::string_view disk, std::string_view id, uint64_t bytes_per_second);
  Status Dismiss(std::string_view disk, std::string_view id);

  // Newest first; `disk` empty: of all disks. Running ones and the last 32 concluded a disk.
  std::vector<JobInfo> Jobs(std::string_view disk) const;
  std::optional<JobInfo> Find(std::string_view disk, std::string_view id) const;

  // Brings every job to a consistent point, leaves its record, waits for its chunks. Jobs stay
  // resumable by the next daemon. No verb is accepted afterwards (kShutdown).
  void Shutdown();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

// {"id":...,"type":...}: a job as users see it, keys named as in QEMU; one line.
std::string JobToJson(const JobInfo& job);

}  // namespace chainfs::jobs

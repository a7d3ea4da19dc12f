// SPDX-License-Identifier: Apache-2.0
//
// StartedJobs: jobs that a client has started and that are to be forgotten once they have
// concluded, as QEMU does unless auto-dismiss is false. Each ends with a JOB_STATUS_CHANGE to
// "null". Jobs that others have started stay until somebody dismisses them.
//
// Invariant: QMP-4 (README.md).
//
// Threads: all methods, any thread. sweep_mu_ is held while jobs are listed and while they are
// dismissed, so that none is seen between the two; it comes before the locks of jobs/engine and
// before mu_, a leaf.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::qmp {

class StartedJobs {
 public:
  // Both outlive this.
  StartedJobs(jobs::JobManager& jobs, jobs::EventLog& events) : jobs_(jobs), events_(events) {}

  // The job of that id, which has just been accepted, is to go by itself.
  void Add(const std::string& id) EXCLUDES(sweep_mu_, mu_);
  // All jobs, and the one of that id, without those that have concluded and are about to go.
  std::vector<jobs::JobInfo> Jobs() EXCLUDES(sweep_mu_, mu_);
  std::optional<jobs::JobInfo> Find(std::string_view id) EXCLUDES(sweep_mu_, mu_);
  // Whether that job goes by itself.
  bool GoesByItself(const jobs::JobInfo& job) const EXCLUDES(mu_);
  // Dismisses those that have concluded. Call it when there are events.
  void Sweep() EXCLUDES(sweep_mu_, mu_);

 private:
  // Not there any more, for a client.
  bool IsLeaving(const jobs::JobInfo& job) const REQUIRES(sweep_mu_) EXCLUDES(mu_);

  jobs::JobManager& jobs_;
  jobs::EventLog& events_;
  Mutex sweep_mu_;
  mutable Mutex mu_;
  std::map<std::string, uint64_t, std::less<>> sequences_ GUARDED_BY(mu_);  // by id
};

// Tells that the job of that id was forgotten.
void PublishDismissed(jobs::EventLog& events, std::string_view id, std::string_view disk);

}  // namespace chainfs::qmp

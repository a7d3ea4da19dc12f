// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/started_jobs.h"

#include <optional>

namespace chainfs::qmp {

void StartedJobs::Add(const std::string& id) {
  // Gone already: somebody was quick to dismiss it.
  const std::optional<jobs::JobInfo> job = jobs_.Find("", id);
  if (!job) return;
  {
    const MutexLock lock(mu_);
    sequences_[id] = job->sequence;
  }
  Sweep();
}

bool StartedJobs::GoesByItself(const jobs::JobInfo& job) const {
  const MutexLock lock(mu_);
  const auto found = sequences_.find(job.id);
  return found != sequences_.end() && found->second == job.sequence;
}

bool StartedJobs::IsLeaving(const jobs::JobInfo& job) const {
  return job.status == jobs::JobStatus::kConcluded && GoesByItself(job);
}

std::vector<jobs::JobInfo> StartedJobs::Jobs() {
  const MutexLock sweeping(sweep_mu_);
  std::vector<jobs::JobInfo> jobs = jobs_.Jobs("");
  std::erase_if(jobs, [&](const jobs::JobInfo& job) REQUIRES(sweep_mu_) { return IsLeaving(job); });
  return jobs;
}

std::optional<jobs::JobInfo> StartedJobs::Find(std::string_view id) {
  const MutexLock sweeping(sweep_mu_);
  std::optional<jobs::JobInfo> job = jobs_.Find("", id);
  if (job && IsLeaving(*job)) return std::nullopt;
  return job;
}

void StartedJobs::Sweep() {
  const MutexLock sweeping(sweep_mu_);
  std::map<std::string, uint64_t, std::less<>> started;
  {
    const MutexLock lock(mu_);
    started = sequences_;
  }
  for (const auto& [id, sequence] : started) {
    const std::optional<jobs::JobInfo> job = jobs_.Find("", id);
    const bool same = job && job->sequence == sequence;
    if (same && job->status != jobs::JobStatus::kConcluded) continue;
    // Hidden until it is gone, so nobody sees it concluded.
    if (same && !jobs_.Dismiss(nullptr, id)) continue;
    {
      // Another job may have taken the id, and been added, meanwhile.
      const MutexLock lock(mu_);
      const auto found = sequences_.find(id);
      if (found == sequences_.end() || found->second != sequence) continue;
      sequences_.erase(found);
    }
    PublishDismissed(events_, id, job ? job->disk : "");
  }
}

void PublishDismissed(jobs::EventLog& events, std::string_view id, std::string_view disk) {
  events.Publish("JOB_STATUS_CHANGE", {jobs::TextField("status", "null"),
                                       jobs::TextField("disk", disk), jobs::TextField("id", id)});
}

}  // namespace chainfs::qmp

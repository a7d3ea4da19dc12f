// SPDX-License-Identifier: Apache-2.0
//
// FinishedCommand: a short command (a snapshot) that was carried out at once and was given a name:
// the history shows it as a concluded job, and whoever waits for the end of a job of that name
// finds its events.
//
// Threads: all methods, any thread.
#pragma once

#include "jobs/engine/event_log.h"
#include "jobs/engine/listed_job.h"

namespace chainfs::jobs {

class FinishedCommand final : public ListedJob {
 public:
  FinishedCommand(std::string id, std::string type, std::string disk, uint64_t sequence);

  // The events of a job that went well, from created to concluded. Once.
  void Announce(EventLog& events) const;

  const std::string& id() const override { return info_.id; }
  bool estimates() const override { return false; }
  JobInfo Info() const override { return info_; }
  bool Finished() const override { return true; }
  Status Cancel() override { return Check(JobVerb::kCancel); }
  Status Pause() override { return Check(JobVerb::kPause); }
  Status Resume() override { return Check(JobVerb::kResume); }
  Status SetSpeed(uint64_t /*bytes_per_second*/) override { return Check(JobVerb::kSetSpeed); }
  Status Complete(const verbs::Arguments& /*arguments*/) override {
    return Check(JobVerb::kComplete);
  }
  Status Change(const verbs::Arguments& /*arguments*/) override { return Check(JobVerb::kChange); }
  Status CheckDismiss() const override { return Check(JobVerb::kDismiss); }
  void Start() override {}
  void Stop() override {}
  void WaitStopped() override {}

 private:
  Status Check(JobVerb verb) const { return CheckJobVerb(info_.id, verb, JobStatus::kConcluded); }

  JobInfo info_;
};

}  // namespace chainfs::jobs

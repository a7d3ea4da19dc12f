// SPDX-License-Identifier: Apache-2.0
//
// JobState: where a job stands: its status, and what verbs and errors have asked of it. A change of
// status outside the table is a defect of ours, whatever the images hold, and ends the process.
//
// Threads: none; the owner locks.
#pragma once

#include <optional>
#include <string>

#include "jobs/engine/job_events.h"
#include "jobs/engine/job_info.h"

namespace chainfs::jobs {

class JobState {
 public:
  // `events` outlives this; it is told of each change of status.
  JobState(const JobEvents& events, std::string id, bool paused)
      : events_(events), id_(std::move(id)), user_paused_(paused) {}
  // An earlier daemon was undoing it: it was cancelled, or failed because of `reason`.
  void BeginUndone(const std::string& reason);

  JobStatus status() const { return status_; }
  void Set(JobStatus status);
  // kInvalidArgument naming the state when the verb is not legal in it.
  Status Check(JobVerb verb) const { return CheckJobVerb(id_, verb, status_); }
  // Concluded, or on the way there after an error or a cancel.
  bool Finished() const {
    return status_ == JobStatus::kConcluded || status_ == JobStatus::kAborting;
  }

  // ---- Verbs; errors as Check.
  Status Cancel();
  Status Pause();
  Status Resume();
  Status CheckComplete() const;
  void Complete() { complete_ = true; }

  // ---- Errors.
  // The job fails with the first.
  void Fail(const Error& error);
  // It goes on, and fails with the first of these when nothing is left to do.
  void Ignore(const Error& error);
  // It stands still until somebody resumes it; whether it did not already.
  bool PauseFor(const Error& error);

  // ---- What follows from all that.
  bool cancelled() const { return cancel_; }
  const std::optional<Error>& failure() const { return failure_; }
  bool user_paused() const { return user_paused_; }
  bool StandsStill() const { return user_paused_ || error_paused_; }
  bool MayWork() const { return !cancel_ && !failure_ && !StandsStill() && !end_waits_; }
  // Nothing is left to do: an error that was ignored is the job's now.
  void WorkDone();
  bool completed() const { return complete_; }
  // Work that gets ready has nothing to do just now; whether it was not ready before.
  bool BecomeReady();
  // Nothing is left to do, but it must not end yet, for that reason: it stands still.
  void WaitToEnd(const Error& reason);
  bool waits_to_end() const { return end_waits_.has_value(); }
  // It may end, or may look whether it may.
  void EndMayCome();
  // To the status in which it stands still, from the one in which it works; and back.
  void StandStill();
  void GoOn();
  // The end begins: waiting for the last flush, or aborting.
  void BeginEnd();
  // The last flush is over: pending, or, when something has asked for that meanwhile, aborting.
  // Whether the step that cannot be taken back may begin; cancel is refused from then on.
  bool BeginPivot();

  // What it did cannot be taken back yet; nothing: it may be tried.
  void UndoWaits(std::optional<Error> error) { undo_waits_ = std::move(error); }
  bool undo_waits() const { return undo_waits_.has_value(); }

  // Puts in what users see of it.
  void Describe(JobInfo& info) const;

 private:
  const JobEvents& events_;
  const std::string id_;
  JobStatus status_ = JobStatus::kUndefined;
  bool user_paused_;
  std::optional<Error> error_paused_;  // it stands still because of this
  std::optional<Error> end_waits_;     // nothing is left to do, but it must not end yet
  bool cancel_ = false;
  bool complete_ = false;
  bool pivoting_ = false;
  std::optional<Error> undo_waits_;
  std::optional<Error> failure_;  // ends the job
  std::optional<Error> ignored_;  // on-error=ignore: makes the end a failure
};

}  // namespace chainfs::jobs

// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_state.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "jobs/engine/on_error.h"

namespace chainfs::jobs {
namespace {

std::unexpected<Error> NotNow(std::string message) {
  return chainfs::Fail(ErrorKind::kInvalidArgument, std::move(message));
}

}  // namespace

void JobState::Set(JobStatus status) {
  if (!JobTransitionAllowed(status_, status)) {
    spdlog::critical("job {}: {} cannot follow {}", id_, JobStatusName(status),
                     JobStatusName(status_));
    std::abort();
  }
  status_ = status;
  events_.StatusChanged(status);
}

void JobState::BeginUndone(const std::string& reason) {
  user_paused_ = false;
  if (reason.empty()) {
    cancel_ = true;
  } else {
    Fail({ErrorKind::kIo, 0, reason});
  }
}

Status JobState::Cancel() {
  CHAINFS_TRY(Check(JobVerb::kCancel));
  if (pivoting_) {
    return NotNow(fmt::format("{} is about to finish and can no longer be cancelled", id_));
  }
  cancel_ = true;
  return {};
}

Status JobState::Pause() {
  CHAINFS_TRY(Check(JobVerb::kPause));
  if (StandsStill()) return NotNow(fmt::format("{} is already paused", id_));
  user_paused_ = true;
  return {};
}

Status JobState::Resume() {
  CHAINFS_TRY(Check(JobVerb::kResume));
  if (!StandsStill() && !end_waits_) return NotNow(fmt::format("{} is not paused", id_));
  user_paused_ = false;
  error_paused_.reset();
  return {};
}

Status JobState::CheckComplete() const {
  CHAINFS_TRY(Check(JobVerb::kComplete));
  if (cancel_) return NotNow(fmt::format("{} is being cancelled", id_));
  return {};
}

void JobState::Fail(const Error& error) {
  if (!failure_) failure_ = error;
}

void JobState::Ignore(const Error& error) {
  if (!ignored_) ignored_ = error;
}

bool JobState::PauseFor(const Error& error) {
  const bool first = !error_paused_;
  error_paused_ = error;
  return first;
}

void JobState::WorkDone() {
  if (!failure_) failure_ = ignored_;
}

bool JobState::BecomeReady() {
  if (status_ != JobStatus::kRunning) return false;
  Set(JobStatus::kReady);
  return true;
}

void JobState::WaitToEnd(const Error& reason) {
  end_waits_ = reason;
  StandStill();
}

void JobState::EndMayCome() {
  if (!end_waits_) return;
  end_waits_.reset();
  if (!StandsStill()) GoOn();
}

void JobState::StandStill() {
  if (status_ == JobStatus::kRunning) Set(JobStatus::kPaused);
  if (status_ == JobStatus::kReady) Set(JobStatus::kStandby);
}

void JobState::GoOn() {
  if (status_ == JobStatus::kPaused) Set(JobStatus::kRunning);
  if (status_ == JobStatus::kStandby) Set(JobStatus::kReady);
}

void JobState::BeginEnd() {
  if (status_ == JobStatus::kAborting) return;  // once more
  GoOn();
  Set(cancel_ || failure_ ? JobStatus::kAborting : JobStatus::kWaiting);
}

bool JobState::BeginPivot() {
  if (cancel_ || failure_) {
    Set(JobStatus::kAborting);
    return false;
  }
  Set(JobStatus::kPending);
  pivoting_ = true;
  return true;
}

void JobState::Describe(JobInfo& info) const {
  info.status = status_;
  info.cancelled = cancel_;
  if (Finished()) {
    if (cancel_) {
      info.error = "cancelled";
    } else if (failure_) {
      info.error = failure_->message;
    }
  }
  if (undo_waits_) {
    info.io_status = IoStatusName(*undo_waits_);
    info.error = fmt::format("what it did cannot be taken back yet: {}", undo_waits_->message);
  }
  if (end_waits_ && !info.error) info.error = end_waits_->message;
  if (error_paused_ && !info.error) {
    info.io_status = IoStatusName(*error_paused_);
    info.error = error_paused_->message;
  }
}

}  // namespace chainfs::jobs

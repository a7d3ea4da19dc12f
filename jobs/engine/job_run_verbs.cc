// SPDX-License-Identifier: Apache-2.0
//
// The other half of JobRun: verbs, status, events.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "jobs/engine/job_run.h"

namespace chainfs::jobs {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kProgressPeriod{1};
constexpr std::chrono::seconds kSavePeriod{10};

}  // namespace

Status JobRun::CheckVerb(JobVerb verb) const {
  if (JobVerbAllowed(verb, status_)) return {};
  const bool finished = status_ == JobStatus::kConcluded || status_ == JobStatus::kAborting;
  if (finished) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{} has already finished", settings_.id));
  }
  if (verb == JobVerb::kDismiss) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{} has not finished yet; wait for it or cancel it, then dismiss it",
                            settings_.id));
  }
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{} is {}; a job in this state takes no \"{}\"", settings_.id,
                          JobStatusName(status_), JobVerbName(verb)));
}

Status JobRun::Cancel() {
  MutexLock lock(mu_);
  CHAINFS_TRY(CheckVerb(JobVerb::kCancel));
  if (pivoting_) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{} is about to finish and can no longer be cancelled", settings_.id));
  }
  cancel_ = true;
  if (phase_ == Phase::kQueued) phase_ = Phase::kCopying;
  if (phase_ == Phase::kCopying) AddLanes(true);
  return {};
}

Status JobRun::Pause() {
  MutexLock lock(mu_);
  CHAINFS_TRY(CheckVerb(JobVerb::kPause));
  if (user_paused_ || error_paused_) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{} is already paused", settings_.id));
  }
  user_paused_ = true;
  if (phase_ == Phase::kCopying) AddLanes(true);
  SaveParametersSoon();
  return {};
}

Status JobRun::Resume() {
  MutexLock lock(mu_);
  CHAINFS_TRY(CheckVerb(JobVerb::kResume));
  if (!user_paused_ && !error_paused_) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{} is not paused", settings_.id));
  }
  user_paused_ = false;
  error_paused_.reset();
  if (phase_ == Phase::kCopying) {
    if (status_ == JobStatus::kPaused) SetStatus(JobStatus::kRunning);
    meter_.Restart(done_, copied_, Clock::now());
    AddLanes(true);
  }
  SaveParametersSoon();
  return {};
}

Status JobRun::SetSpeed(uint64_t bytes_per_second) {
  MutexLock lock(mu_);
  CHAINFS_TRY(CheckVerb(JobVerb::kSetSpeed));
  throttle_.SetSpeed(bytes_per_second, Clock::now());
  if (phase_ == Phase::kCopying) AddLanes(true);
  SaveParametersSoon();
  return {};
}

bool JobRun::Finished() const {
  MutexLock lock(mu_);
  return status_ == JobStatus::kConcluded || status_ == JobStatus::kAborting;
}

Status JobRun::CheckDismiss() const {
  MutexLock lock(mu_);
  return CheckVerb(JobVerb::kDismiss);
}

JobParameters JobRun::Parameters() const {
  return {.speed = throttle_.speed(), .paused = user_paused_, .progress = Current()};
}

// The write goes to the arena: a verb's caller does not wait for the disk. Several changes may end
// up in one write, and the daemon's end makes up for one that did not come to it.
void JobRun::SaveParametersSoon() {
  unsaved_ = true;
  bool submitted = false;
  try {
    submitted = arena_.Submit([self = shared_from_this()] { self->SaveParameters(); });
  } catch (const std::bad_alloc&) {
    submitted = false;
  }
  if (!submitted) spdlog::warn("job {}: its parameters were not recorded", settings_.id);
}

void JobRun::SaveParameters() {
  MutexLock record_lock(record_mu_);
  if (released_) return;
  ChunkWork* work = nullptr;
  JobParameters parameters;
  {
    MutexLock lock(mu_);
    if (!std::exchange(unsaved_, false)) return;
    work = work_.get();
    parameters = Parameters();
  }
  if (work != nullptr) work->SaveParameters(parameters);
}

std::optional<std::string> JobRun::ErrorText() const {
  if (cancel_) return "cancelled";
  if (failure_) return failure_->message;
  return std::nullopt;
}

uint64_t JobRun::Total() const { return estimates_ ? copied_ : length_; }
uint64_t JobRun::Current() const {
  if (estimates_) return 0;
  return std::max(done_, std::min(settings_.parameters.progress, length_));
}

JobInfo JobRun::Info() const {
  MutexLock lock(mu_);
  JobInfo info;
  info.id = settings_.id;
  info.type = settings_.type;
  info.disk = settings_.disk;
  info.status = status_;
  info.current_progress = Current();
  info.total_progress = Total();
  info.copied = estimates_ ? 0 : copied_;
  info.speed = throttle_.speed();
  if (status_ == JobStatus::kRunning) {
    info.rate = meter_.Rate();
    info.eta_seconds = meter_.Eta(length_ - done_);
  }
  info.cancelled = cancel_;
  if (status_ == JobStatus::kConcluded || status_ == JobStatus::kAborting) info.error = ErrorText();
  if (error_paused_ && !info.error) {
    info.io_status = error_paused_->kind == ErrorKind::kNoSpace ? "nospace" : "failed";
    info.error = error_paused_->message;
  }
  info.dry_run = estimates_;
  info.warning = settings_.warning;
  info.unneeded = left_out_.unneeded;
  info.removed = left_out_.removed;
  if (!left_out_.problem.empty()) info.warning = left_out_.problem;
  info.started = started_;
  info.ended = ended_;
  info.sequence = settings_.sequence;
  return info;
}

// A transition outside the table is a defect of ours, whatever the images hold.
void JobRun::SetStatus(JobStatus status) {
  if (!JobTransitionAllowed(status_, status)) {
    spdlog::critical("job {}: {} cannot follow {}", settings_.id, JobStatusName(status),
                     JobStatusName(status_));
    std::abort();
  }
  status_ = status;
  Announce("JOB_STATUS_CHANGE", {{"status", JobStatusName(status)}});
}

void JobRun::Announce(std::string_view event, std::initializer_list<Fact> facts) {
  try {
    std::vector<EventField> fields;
    for (const Fact& fact : facts) {
      fields.push_back(fact.number ? NumberField(fact.key, *fact.number)
                                   : TextField(fact.key, fact.text));
    }
    fields.push_back(TextField("disk", settings_.disk));
    fields.push_back(TextField("id", settings_.id));
    events_.Publish(event, fields);
  } catch (const std::bad_alloc&) {
    spdlog::error("job {}: no memory for an event", settings_.id);
  }
}

void JobRun::TellFailed(const Error& error) {
  if (!hooks_.failed) return;
  try {
    hooks_.failed(settings_.disk, settings_.type,
                  estimates_ ? WithContext(error, "dry run") : error);
  } catch (const std::bad_alloc&) {
    spdlog::error("job {}: no memory to tell why it failed", settings_.id);
  }
}

void JobRun::StandStill(const Error& error) {
  const bool first = !error_paused_;
  error_paused_ = error;
  if (!first) return;
  const bool no_space = error.kind == ErrorKind::kNoSpace;
  spdlog::warn("job {} of disk {} is paused: {}; {}, then: chainctl resume {} {}", settings_.id,
               settings_.disk, error.message, no_space ? "free some space" : "mend that",
               settings_.disk, settings_.id);
  TellFailed(error);
}

void JobRun::LogEnd() const {
  if (cancel_) {
    spdlog::info("job {} of disk {}: {} was cancelled", settings_.id, settings_.disk,
                 settings_.type);
  } else if (failure_) {
    spdlog::warn("job {} of disk {}: {} failed: {}", settings_.id, settings_.disk, settings_.type,
                 failure_->message);
  } else {
    spdlog::info("job {} of disk {}: {} has finished, {} bytes copied", settings_.id,
                 settings_.disk, settings_.type, copied_);
  }
}

void JobRun::AnnounceEnd() {
  if (failure_ && !cancel_) TellFailed(*failure_);
  // Nothing was done: whoever waits for the end of work must not take this for it.
  if (estimates_) return;
  LogEnd();
  const Fact type{"type", settings_.type};
  const Fact device{"device", settings_.disk};
  const Fact len{"len", {}, Total()};
  const Fact offset{"offset", {}, Current()};
  const Fact speed{"speed", {}, throttle_.speed()};
  if (cancel_) {
    Announce("BLOCK_JOB_CANCELLED", {type, device, len, offset, speed});
  } else if (failure_) {
    Announce("BLOCK_JOB_COMPLETED",
             {type, device, len, offset, speed, {"error", failure_->message}});
  } else {
    Announce("BLOCK_JOB_COMPLETED", {type, device, len, offset, speed});
  }
}

void JobRun::AnnounceProgress(Time now) {
  if (now - progress_announced_ < kProgressPeriod) return;
  progress_announced_ = now;
  Announce("JOB_PROGRESS", {{"type", settings_.type},
                            {"current-progress", {}, Current()},
                            {"total-progress", {}, Total()},
                            {"speed", {}, throttle_.speed()},
                            {"rate", {}, meter_.Rate()}});
  if (now - progress_saved_ < kSavePeriod || estimates_) return;
  progress_saved_ = now;
  SaveParametersSoon();
}

}  // namespace chainfs::jobs

// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_run.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <new>
#include <utility>

#include "blocklayer/base/sync_point.h"

namespace chainfs::jobs {
namespace {

using RunClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kProgressPeriod{1};
constexpr std::chrono::seconds kSavePeriod{10};
constexpr std::chrono::seconds kUndoPeriod{5};        // between tries to undo
constexpr std::chrono::milliseconds kEndPeriod{500};  // between looks whether the end may come

// Every kind of job has one; the rest is the work's.
verbs::Arguments WithoutPriority(const verbs::Arguments& arguments) {
  verbs::Arguments rest;
  for (const auto& [key, value] : arguments.items()) {
    if (key != "priority") rest.Set(key, value);
  }
  return rest;
}

Error OutOfMemory() { return {ErrorKind::kNoMemory, 0, "out of memory"}; }

}  // namespace

JobRun::JobRun(JobArena& arena, EventLog& events, JobSettings settings,
               std::unique_ptr<ChunkWork> work, std::unique_ptr<JobRecorder> recorder,
               JobRunHooks hooks)
    : arena_(arena),
      settings_(std::move(settings)),
      hooks_(std::move(hooks)),
      started_(std::chrono::system_clock::now()),
      work_(std::move(work), std::move(recorder)),
      estimates_(work_.work().estimates()),
      gets_ready_(work_.work().gets_ready()),
      events_(events, {.id = settings_.id,
                       .type = settings_.type,
                       .disk = settings_.disk,
                       .dry_run = estimates_}),
      lanes_(arena, *this,
             ChunkQueue(work_.work().source(), work_.work().unit(), work_.work().chunk_size()),
             settings_.priority),
      state_(events_, settings_.id, settings_.parameters.paused) {
  MutexLock lock(lanes_.mu);
  lanes_.queue.SetSpeed(settings_.parameters.speed, RunClock::now());
  if (settings_.undo) state_.BeginUndone(*settings_.undo);
}

void JobRun::AnnounceCreated() {
  MutexLock lock(lanes_.mu);
  if (state_.status() != JobStatus::kUndefined) return;
  state_.Set(JobStatus::kCreated);
  work_.work().source().SetNews([run = weak_from_this()] {
    const std::shared_ptr<LaneOwner> self = run.lock();
    if (self != nullptr) static_cast<JobRun&>(*self).SourceHasNews();
  });
}

void JobRun::Start() {
  MutexLock lock(lanes_.mu);
  if (phase_ != Phase::kQueued) return;
  phase_ = Phase::kCopying;
  state_.Set(JobStatus::kRunning);
  events_.Started();
  progress_saved_ = RunClock::now();
  lanes_.queue.RestartMeter(progress_saved_);
  lanes_.AddLanes(true);
}

// ---- Chunks.

void JobRun::ChunkEnded(ChunkRange chunk, const ChunkResult& result, Time began) {
  try {
    if (result) {
      ChunkDone(chunk, *result, began);
    } else {
      ChunkFailed(chunk, result.error());
    }
  } catch (const std::bad_alloc&) {
    state_.Fail(OutOfMemory());
  }
}

void JobRun::ChunkDone(ChunkRange chunk, uint64_t copied, Time began) {
  const Time now = RunClock::now();
  lanes_.queue.Done(chunk, copied, began, now);
  if (now - progress_announced_ < kProgressPeriod) return;
  progress_announced_ = now;
  events_.Progressed(Figures());
  if (now - progress_saved_ < kSavePeriod || estimates_) return;
  progress_saved_ = now;
  SaveParametersSoon();
}

void JobRun::ChunkFailed(ChunkRange chunk, const ChunkFailure& failure) {
  const ErrorAction action = ActionOn(settings_.on_error, failure.error);
  events_.ChunkFailed(chunk.offset, failure.writing, ErrorActionName(action), failure.error);
  if (action == ErrorAction::kIgnore) {
    state_.Ignore(failure.error);
    lanes_.queue.GiveUp(chunk);
  } else if (action == ErrorAction::kStop) {
    try {
      lanes_.queue.TryAgain(chunk);
      PauseFor(failure.error);
    } catch (const std::bad_alloc&) {
      state_.Fail(failure.error);
    }
  } else {
    state_.Fail(failure.error);
  }
}

// What the flags ask for, now that no chunk is in flight. The status changes here, under the same
// lock, so that no verb is accepted that would come too late.
Course JobRun::LastLaneLeft() {
  if (phase_ != Phase::kCopying) return Course::kNothing;
  if (!state_.cancelled() && !state_.failure()) {
    if (stop_) {
      phase_ = Phase::kEnding;
      return Course::kStop;
    }
    if (state_.StandsStill()) {
      state_.StandStill();
      return Course::kNothing;
    }
    if (state_.waits_to_end() && !MayEnd()) return Course::kNothing;
    if (lanes_.queue.WorkLeft()) {
      // Either the speed limit holds the job back and a timer was set, or something changed between
      // this lane's look and now; a timer costs little and makes sure.
      lanes_.WakeAt(lanes_.queue.ready_at());
      return Course::kNothing;
    }
    state_.WorkDone();
    if (gets_ready_ && !state_.completed() && !state_.failure()) {
      if (state_.BecomeReady()) events_.Ready(Figures());
      return Course::kNothing;
    }
    if (!state_.failure() && !MayEnd()) return Course::kNothing;
    if (!state_.failure() && lanes_.queue.WorkLeft()) {
      lanes_.WakeAt(lanes_.queue.ready_at());
      return Course::kNothing;
    }
  }
  phase_ = Phase::kEnding;
  state_.BeginEnd();
  return Course::kEnd;
}

bool JobRun::MayEnd() {
  std::optional<Error> reason;
  const Status asked = Guarded([&]() -> Status {
    reason = work_.work().EndMustWait();
    return {};
  });
  if (!asked) reason = asked.error();
  if (!reason) {
    state_.EndMayCome();
    return true;
  }
  if (!state_.waits_to_end()) events_.EndWaits(*reason);
  state_.WaitToEnd(*reason);
  lanes_.WakeAt(RunClock::now() + kEndPeriod);
  return false;
}

// ---- Verbs.

Status JobRun::Cancel() {
  MutexLock lock(lanes_.mu);
  CHAINFS_TRY(state_.Cancel());
  if (phase_ == Phase::kQueued) phase_ = Phase::kCopying;
  if (phase_ == Phase::kCopying) lanes_.AddLanes(true);
  return {};
}

Status JobRun::Pause() {
  MutexLock lock(lanes_.mu);
  CHAINFS_TRY(state_.Pause());
  if (phase_ == Phase::kCopying) lanes_.AddLanes(true);
  SaveParametersSoon();
  return {};
}

Status JobRun::Resume() {
  MutexLock lock(lanes_.mu);
  CHAINFS_TRY(state_.Resume());
  if (phase_ == Phase::kCopying) {
    state_.GoOn();
    lanes_.queue.RestartMeter(RunClock::now());
    lanes_.AddLanes(true);
  }
  SaveParametersSoon();
  return {};
}

Status JobRun::TellWork(JobVerb verb, const verbs::Arguments& arguments) {
  MutexLock lock(lanes_.mu);
  const bool complete = verb == JobVerb::kComplete;
  CHAINFS_TRY(complete ? state_.CheckComplete() : state_.Check(verb));
  if (gone_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  CHAINFS_ASSIGN(const std::optional<Priority> priority, PriorityIn(arguments));
  const verbs::Arguments of_work = WithoutPriority(arguments);
  const bool tells = !priority || !of_work.items().empty();
  if (tells) CHAINFS_TRY(complete ? work_.work().Complete(of_work) : work_.work().Change(of_work));
  if (complete) state_.Complete();
  if (priority) lanes_.SetPriority(*priority);
  for (const auto& [key, value] : arguments.items()) changed_.Set(key, value);
  if (!arguments.items().empty()) SaveParametersSoon();
  if (phase_ == Phase::kCopying) lanes_.AddLanes(true);
  return {};
}

// ---- Parameters that outlive the daemon.

// The write goes to the arena: a verb's caller does not wait for the disk. Several changes may end
// up in one write, and the daemon's end makes up for one that did not come to it.
void JobRun::SaveParametersSoon() {
  unsaved_ = true;
  bool submitted = false;
  try {
    submitted = arena_.Submit(
        [self = std::static_pointer_cast<JobRun>(shared_from_this())] { self->SaveParameters(); });
  } catch (const std::bad_alloc&) {
    submitted = false;
  }
  if (!submitted) spdlog::warn("job {}: its parameters were not recorded", settings_.id);
}

void JobRun::SaveParameters() {
  work_.Save([this]() -> std::optional<JobParameters> {
    MutexLock lock(lanes_.mu);
    if (!std::exchange(unsaved_, false)) return std::nullopt;
    return JobParameters{.speed = lanes_.queue.speed(),
                         .paused = state_.user_paused(),
                         .progress = Figures().current,
                         .changed = changed_};
  });
}

// ---- Status and figures.

JobEvents::Figures JobRun::Figures() const {
  const ChunkQueue& queue = lanes_.queue;
  JobEvents::Figures figures{.total = queue.total(),
                             .current = 0,
                             .speed = queue.speed(),
                             .rate = queue.Rate(),
                             .copied = queue.copied()};
  // An estimate has no progress; what it counts is its result.
  if (estimates_) {
    figures.total = queue.copied();
  } else {
    figures.current =
        std::max(queue.done(), std::min(settings_.parameters.progress, figures.total));
  }
  return figures;
}

JobInfo JobRun::Info() const {
  MutexLock lock(lanes_.mu);
  const JobEvents::Figures figures = Figures();
  JobInfo info;
  info.id = settings_.id;
  info.type = settings_.type;
  info.disk = settings_.disk;
  state_.Describe(info);
  info.current_progress = figures.current;
  info.total_progress = figures.total;
  info.copied = estimates_ ? 0 : figures.copied;
  info.speed = figures.speed;
  if (info.status == JobStatus::kRunning || info.status == JobStatus::kReady) {
    info.rate = figures.rate;
    info.eta_seconds = lanes_.queue.Eta();
  }
  info.dry_run = estimates_;
  info.priority = PriorityName(lanes_.priority());
  info.warning = settings_.warning;
  info.unneeded = left_out_.unneeded;
  info.removed = left_out_.removed;
  if (!left_out_.problem.empty()) info.warning = left_out_.problem;
  info.facts = gone_ ? last_facts_ : work_.work().Facts();
  info.started = started_;
  info.ended = ended_;
  info.sequence = settings_.sequence;
  return info;
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

// ---- Ends.

bool JobRun::SettleAndPivot() {
  Status status = work_.Settle();
  CHAINFS_SYNC_POINT("JobRun.SettleAndPivot.settled");
  {
    MutexLock lock(lanes_.mu);
    if (!status) state_.Fail(status.error());
    if (!state_.BeginPivot()) return false;
  }
  CHAINFS_SYNC_POINT("JobRun.SettleAndPivot.decided");
  status = work_.Pivot();
  MutexLock lock(lanes_.mu);
  if (status) return true;
  state_.Fail(status.error());
  state_.Set(JobStatus::kAborting);
  return false;
}

void JobRun::AnnounceEnd() {
  const Error* const failure = state_.failure() ? &*state_.failure() : nullptr;
  const JobEvents::End end = state_.cancelled() ? JobEvents::End::kCancelled
                             : failure          ? JobEvents::End::kFailed
                                                : JobEvents::End::kWell;
  if (end == JobEvents::End::kFailed) TellFailed(*failure);
  events_.Ended(end, Figures(), failure);
}

bool JobRun::Undone() {
  std::string reason;
  {
    MutexLock lock(lanes_.mu);
    if (!state_.cancelled()) reason = state_.failure()->message;
    state_.UndoWaits(std::nullopt);
  }
  const Status undone = work_.Undo(reason, [this] { return StopAsked(); });
  if (undone) return true;
  {
    MutexLock lock(lanes_.mu);
    if (!stop_) {
      spdlog::warn("job {} of disk {}: what it did cannot be taken back yet: {}", settings_.id,
                   settings_.disk, undone.error().message);
      state_.UndoWaits(undone.error());
      phase_ = Phase::kCopying;  // the next lane to come by is the last one, and tries again
      lanes_.WakeAt(RunClock::now() + kUndoPeriod);
      return false;
    }
  }
  StopHere();
  return false;
}

void JobRun::End() {
  bool aborting = false;
  {
    MutexLock lock(lanes_.mu);
    aborting = state_.status() == JobStatus::kAborting;
  }
  if (!aborting && SettleAndPivot()) {
    AskWhatIsLeftOut();
  } else if (settings_.undoes && !Undone()) {
    return;
  }
  const Status released = work_.Release();
  if (!released) spdlog::error("job {}: {}", settings_.id, released.error().message);
  LetGo();  // before anybody who waits for the end goes on
  if (hooks_.released) hooks_.released();
  {
    MutexLock lock(lanes_.mu);
    ended_ = std::chrono::system_clock::now();
    AnnounceEnd();
    state_.Set(JobStatus::kConcluded);
    phase_ = Phase::kConcluded;
    stopped_.NotifyAll();
  }
  if (hooks_.concluded) hooks_.concluded();
}

void JobRun::LetGo() {
  {
    MutexLock lock(lanes_.mu);
    Result<JobFacts> facts = Guarded([&]() -> Result<JobFacts> { return work_.work().Facts(); });
    if (facts) last_facts_ = *std::move(facts);
    gone_ = true;
    lanes_.queue.Close();
  }
  work_.Destroy();
}

void JobRun::Stop() {
  {
    MutexLock lock(lanes_.mu);
    stop_ = true;
    const bool idle = phase_ == Phase::kQueued ||
                      (phase_ == Phase::kCopying && lanes_.Idle() && !lanes_.AddLane());
    if (!idle) return;
    phase_ = Phase::kEnding;
  }
  StopHere();
}

void JobRun::StopHere() {
  bool began = false;
  {
    MutexLock lock(lanes_.mu);
    began = lanes_.queue.AnythingTaken();
    if (began && !estimates_) unsaved_ = true;
  }
  SaveParameters();
  work_.KeepRecord();
  if (began) {
    const Status status = work_.Settle();
    if (!status) {
      spdlog::warn("job {} of {} was stopped, but not all it copied is durable: {}", settings_.id,
                   settings_.disk, status.error().message);
    }
  }
  LetGo();
  MutexLock lock(lanes_.mu);
  phase_ = Phase::kStopped;
  stopped_.NotifyAll();
}

}  // namespace chainfs::jobs

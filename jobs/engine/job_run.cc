// SPDX-License-Identifier: Apache-2.0
//
// The scheduling half of JobRun: lanes and ends. Verbs and events are in job_run_verbs.cc.
#include "jobs/engine/job_run.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <new>
#include <utility>

#include "blocklayer/base/types.h"

namespace chainfs::jobs {
namespace {

using Clock = std::chrono::steady_clock;

// A chunk in flight is what a pause waits for: half of the 100 ms within which it must take effect.
constexpr std::chrono::milliseconds kSlowChunk{50};
constexpr std::chrono::milliseconds kQuickChunk{10};
constexpr std::chrono::milliseconds kRetryWithoutMemory{200};

ChunkResult ProcessGuarded(ChunkWork& work, uint64_t offset, uint64_t length) {
  Result<ChunkResult> result = Guarded([&]() -> Result<ChunkResult> {
    return Result<ChunkResult>(std::in_place, work.Process(offset, length));
  });
  if (!result) return std::unexpected(ChunkFailure{std::move(result).error(), false});
  return *std::move(result);
}

}  // namespace

JobRun::JobRun(JobArena& arena, EventLog& events, JobSettings settings,
               std::unique_ptr<ChunkWork> work, JobRunHooks hooks)
    : arena_(arena),
      events_(events),
      settings_(std::move(settings)),
      hooks_(std::move(hooks)),
      started_(std::chrono::system_clock::now()),
      length_(work->length()),
      unit_(work->unit()),
      largest_chunk_(std::max(work->chunk_size(), unit_)),
      estimates_(work->estimates()),
      work_(std::move(work)),
      user_paused_(settings_.parameters.paused),
      chunk_size_(largest_chunk_) {
  MutexLock lock(mu_);
  throttle_.SetSpeed(settings_.parameters.speed, Clock::now());
}

void JobRun::AnnounceCreated() {
  MutexLock lock(mu_);
  if (status_ == JobStatus::kUndefined) SetStatus(JobStatus::kCreated);
}

void JobRun::Start() {
  MutexLock lock(mu_);
  if (phase_ != Phase::kQueued) return;
  phase_ = Phase::kCopying;
  SetStatus(JobStatus::kRunning);
  if (!estimates_) {
    spdlog::info("job {} of disk {}: {} started", settings_.id, settings_.disk, settings_.type);
  }
  progress_saved_ = Clock::now();
  meter_.Restart(0, 0, progress_saved_);
  AddLanes(true);
}

void JobRun::RunToEndHere() {
  {
    MutexLock lock(mu_);
    phase_ = Phase::kEnding;
    SetStatus(JobStatus::kRunning);
    SetStatus(JobStatus::kWaiting);
  }
  End();
}

// ---- Lanes.

bool JobRun::AddLane() {
  bool submitted = false;
  try {
    submitted = arena_.Submit([self = shared_from_this()] { self->Lane(); });
  } catch (const std::bad_alloc&) {
    submitted = false;
  }
  if (submitted) ++lanes_;
  return submitted;
}

void JobRun::AddLanes(bool force) {
  const Time now = Clock::now();
  const bool useful = !Interrupted() && WorkLeft() && throttle_.MayStart(now);
  if (useful) {
    const uint64_t chunks_left = again_.size() + DivRoundUp(length_ - cursor_, chunk_size_);
    const uint64_t wanted = std::min(WantedLanes(), chunks_left + lanes_);
    while (lanes_ < wanted && AddLane()) {
    }
  }
  if (force && lanes_ == 0 && !AddLane()) WakeAt(now + kRetryWithoutMemory);
}

uint64_t JobRun::WantedLanes() const {
  if (hooks_.foreground_busy && hooks_.foreground_busy(settings_.disk)) return 1;
  return static_cast<uint64_t>(arena_.threads());
}

bool JobRun::Interrupted() const {
  return cancel_ || stop_ || failure_ || user_paused_ || error_paused_;
}

bool JobRun::WorkLeft() const { return !again_.empty() || cursor_ < length_; }

// Under a limit the chunks shrink, so that progress stays smooth and cancel quick.
uint64_t JobRun::NextLength() const {
  uint64_t length = chunk_size_;
  if (throttle_.speed() != 0) {
    length = std::min(length, std::max(unit_, RoundDown(throttle_.speed() / 10, unit_)));
  }
  return std::min(length, length_ - cursor_);
}

std::optional<JobRun::Range> JobRun::TakeChunk(Time now) {
  if (Interrupted() || !WorkLeft() || lanes_ > WantedLanes()) return std::nullopt;
  if (!throttle_.MayStart(now)) {
    WakeAt(throttle_.ready_at());
    return std::nullopt;
  }
  Range chunk;
  if (!again_.empty()) {
    chunk = again_.back();
    again_.pop_back();
  } else {
    chunk = {cursor_, NextLength()};
    cursor_ += chunk.length;
  }
  throttle_.Charge(chunk.length, now);
  return chunk;
}

void JobRun::Lane() {
  Course course = Course::kNothing;
  for (;;) {
    std::optional<Range> chunk;
    ChunkWork* work = nullptr;
    const Time began = Clock::now();
    {
      MutexLock lock(mu_);
      chunk = TakeChunk(began);
      work = work_.get();
      if (!chunk) {
        if (--lanes_ == 0) course = LastLaneLeft();
        break;
      }
    }
    ChunkResult result = ProcessGuarded(*work, chunk->offset, chunk->length);
    MutexLock lock(mu_);
    ChunkEnded(*chunk, std::move(result), began);
    AddLanes(false);
    // Other jobs wait for a thread: queue up behind them.
    if (arena_.Crowded() && AddLane()) {
      --lanes_;
      return;
    }
  }
  if (course == Course::kEnd) End();
  if (course == Course::kStop) StopHere();
}

void JobRun::WakeAt(Time time) {
  if (wake_ && *wake_ <= time) return;
  wake_ = time;
  bool armed = false;
  try {
    armed = arena_.At(time, [run = weak_from_this(), time] {
      if (const std::shared_ptr<JobRun> self = run.lock()) self->Wake(time);
    });
  } catch (const std::bad_alloc&) {
    armed = false;
  }
  if (armed) return;
  wake_.reset();
  failure_ = Error{ErrorKind::kNoMemory, 0, "out of memory"};
}

void JobRun::Wake(Time time) {
  MutexLock lock(mu_);
  if (wake_ == time) wake_.reset();
  if (phase_ == Phase::kCopying) AddLanes(true);
}

void JobRun::ChunkEnded(Range chunk, ChunkResult result, Time began) {
  throttle_.Refund(chunk.length - std::min(chunk.length, result.value_or(0)));
  try {
    if (result) {
      ChunkDone(chunk, *result, began);
    } else {
      ChunkFailed(chunk, result.error());
    }
  } catch (const std::bad_alloc&) {
    failure_ = Error{ErrorKind::kNoMemory, 0, "out of memory"};
  }
}

void JobRun::ChunkDone(Range chunk, uint64_t copied, Time began) {
  const Time now = Clock::now();
  done_ += chunk.length;
  copied_ += copied;
  meter_.Add(done_, copied_, now);
  if (now - began > kSlowChunk) {
    chunk_size_ = std::max(unit_, RoundDown(chunk_size_ / 2, unit_));
  } else if (now - began < kQuickChunk) {
    chunk_size_ = std::min(largest_chunk_, chunk_size_ * 2);
  }
  AnnounceProgress(now);
}

void JobRun::ChunkFailed(Range chunk, const ChunkFailure& failure) {
  const bool no_space = failure.error.kind == ErrorKind::kNoSpace;
  const bool pause =
      settings_.on_error == OnError::kStop || (settings_.on_error == OnError::kEnospc && no_space);
  const bool ignore = settings_.on_error == OnError::kIgnore;
  const std::string_view action = pause ? "stop" : ignore ? "ignore" : "report";
  spdlog::warn("{} {} of {}: at {}: {} (action: {})", estimates_ ? "dry run" : "job", settings_.id,
               settings_.disk, chunk.offset, failure.error.message, action);
  // Whoever watches for jobs in trouble must not take an estimate for one.
  if (!estimates_)
    Announce("BLOCK_JOB_ERROR", {{"device", settings_.disk},
                                 {"operation", failure.writing ? "write" : "read"},
                                 {"action", action},
                                 {"reason", failure.error.message}});
  if (ignore) {
    if (!ignored_) ignored_ = failure.error;
    done_ += chunk.length;
  } else if (pause) {
    try {
      again_.push_back(chunk);
      StandStill(failure.error);
    } catch (const std::bad_alloc&) {
      failure_ = failure.error;
    }
  } else if (!failure_) {
    failure_ = failure.error;
  }
}

// What the flags ask for, now that no chunk is in flight. The status changes here, under the same
// lock, so that no verb is accepted that would come too late.
JobRun::Course JobRun::LastLaneLeft() {
  if (phase_ != Phase::kCopying) return Course::kNothing;
  if (!cancel_ && !failure_) {
    if (stop_) {
      phase_ = Phase::kEnding;
      return Course::kStop;
    }
    if (user_paused_ || error_paused_) {
      if (status_ == JobStatus::kRunning) SetStatus(JobStatus::kPaused);
      return Course::kNothing;
    }
    if (WorkLeft()) {
      // Either the speed limit holds the job back and a timer was set, or something changed between
      // this lane's look and now; a timer costs little and makes sure.
      WakeAt(throttle_.ready_at());
      return Course::kNothing;
    }
    failure_ = ignored_;
  }
  phase_ = Phase::kEnding;
  if (status_ == JobStatus::kPaused) SetStatus(JobStatus::kRunning);
  SetStatus(cancel_ || failure_ ? JobStatus::kAborting : JobStatus::kWaiting);
  return Course::kEnd;
}

// ---- Ends.

bool JobRun::SettleAndPivot(ChunkWork& work) {
  Status status = Guarded([&] { return work.Settle(); });
  {
    MutexLock lock(mu_);
    if (!status) failure_ = std::move(status).error();
    if (cancel_ || failure_) {
      SetStatus(JobStatus::kAborting);
      return false;
    }
    SetStatus(JobStatus::kPending);
    pivoting_ = true;
  }
  status = Guarded([&] { return work.Pivot(); });
  MutexLock lock(mu_);
  if (status) return true;
  failure_ = std::move(status).error();
  SetStatus(JobStatus::kAborting);
  return false;
}

void JobRun::AskWhatIsLeftOut(ChunkWork& work) {
  LeftOutLayers left_out;
  const Status status = Guarded([&]() -> Status {
    left_out = work.LeftOut();
    return {};
  });
  // What the job was for is done.
  if (!status) left_out.problem = status.error().message;
  if (!left_out.problem.empty()) {
    spdlog::warn("job {} of disk {}: a layer that nobody needs was not removed: {}", settings_.id,
                 settings_.disk, left_out.problem);
  }
  MutexLock lock(mu_);
  left_out_ = std::move(left_out);
}

void JobRun::Release(ChunkWork& work) {
  MutexLock lock(record_mu_);
  released_ = true;
  const Status status = Guarded([&]() -> Status {
    work.Release();
    return {};
  });
  if (!status) spdlog::error("job {}: {}", settings_.id, status.error().message);
}

void JobRun::End() {
  ChunkWork* work = nullptr;
  bool aborting = false;
  {
    MutexLock lock(mu_);
    work = work_.get();
    aborting = status_ == JobStatus::kAborting;
  }
  if (!aborting && SettleAndPivot(*work)) AskWhatIsLeftOut(*work);
  Release(*work);
  std::unique_ptr<ChunkWork> gone;
  {
    MutexLock lock(mu_);
    gone = std::move(work_);
  }
  gone.reset();  // with it go the layers, before anybody who waits for the end goes on
  if (hooks_.released) hooks_.released();
  {
    MutexLock lock(mu_);
    ended_ = std::chrono::system_clock::now();
    AnnounceEnd();
    SetStatus(JobStatus::kConcluded);
    phase_ = Phase::kConcluded;
    stopped_.NotifyAll();
  }
  if (hooks_.concluded) hooks_.concluded();
}

void JobRun::Stop() {
  {
    MutexLock lock(mu_);
    stop_ = true;
    const bool idle =
        phase_ == Phase::kQueued || (phase_ == Phase::kCopying && lanes_ == 0 && !AddLane());
    if (!idle) return;
    phase_ = Phase::kEnding;
  }
  StopHere();
}

void JobRun::StopHere() {
  {
    MutexLock lock(mu_);
    if (cursor_ > 0 && !estimates_) unsaved_ = true;
  }
  SaveParameters();
  {
    MutexLock lock(record_mu_);
    released_ = true;
  }
  std::unique_ptr<ChunkWork> work;
  bool began = false;
  {
    MutexLock lock(mu_);
    began = cursor_ > 0;
    work = std::move(work_);
  }
  if (began) {
    const Status status = Guarded([&] { return work->Settle(); });
    if (!status) {
      spdlog::warn("job {} of {} was stopped, but not all it copied is durable: {}", settings_.id,
                   settings_.disk, status.error().message);
    }
  }
  work.reset();
  MutexLock lock(mu_);
  phase_ = Phase::kStopped;
  stopped_.NotifyAll();
}

void JobRun::WaitStopped() {
  MutexLock lock(mu_);
  while (phase_ != Phase::kConcluded && phase_ != Phase::kStopped) stopped_.Wait(mu_);
}

}  // namespace chainfs::jobs

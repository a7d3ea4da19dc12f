// SPDX-License-Identifier: Apache-2.0
//
// JobRun: one job's life: its chunks, its verbs, and its end. When its chunks run is the
// scheduler's business (lane_scheduler.h), where it stands is kept in its state (job_state.h): a
// verb sets a flag there and sees to it that a lane comes by, and every change of course happens in
// the last lane to leave.
//
// It keeps JOB-1, JOB-4 to JOB-7 and JOB-13 of README.md.
//
// Threads: all methods, any thread. The scheduler's lock guards the whole job; it is never held
// across I/O; under it only the event log, the work's source and the hooks are called, none of
// which may call back into jobs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "blocklayer/base/sync.h"
#include "jobs/engine/guarded_work.h"
#include "jobs/engine/job_events.h"
#include "jobs/engine/job_options.h"
#include "jobs/engine/job_state.h"
#include "jobs/engine/lane_scheduler.h"
#include "jobs/engine/listed_job.h"

namespace chainfs::jobs {

struct JobSettings {
  std::string id;
  std::string type;
  std::string disk;
  OnError on_error = OnError::kReport;
  Priority priority = Priority::kNormal;
  JobParameters parameters = {};
  bool undoes = false;                      // as JobType has it
  std::optional<std::string> undo = {};     // as JobRecord has it
  std::optional<std::string> warning = {};  // to be shown with it
  uint64_t sequence = 0;
};

struct JobRunHooks {
  // The job failed, or stands still because of `error`. Called with the run's lock held: it must
  // not call back into jobs.
  std::function<void(const std::string& disk, const std::string& type, const Error& error)> failed =
      {};
  // The job holds nothing any more; its last events come next. Called like `concluded`.
  std::function<void()> released;
  // The job has concluded. Called once, on a thread of the arena, with no lock held.
  std::function<void()> concluded;
};

class JobRun final : public LaneOwner, public ListedJob {
 public:
  // `arena` and `events` outlive the run. `recorder` null: nothing is recorded.
  JobRun(JobArena& arena, EventLog& events, JobSettings settings, std::unique_ptr<ChunkWork> work,
         std::unique_ptr<JobRecorder> recorder, JobRunHooks hooks);

  // The job is accepted: status created. Once, before anything else.
  void AnnounceCreated() EXCLUDES(lanes_.mu);
  // As ListedJob says.
  const std::string& id() const override { return settings_.id; }
  bool estimates() const override { return estimates_; }
  JobInfo Info() const override EXCLUDES(lanes_.mu);
  bool Finished() const override EXCLUDES(lanes_.mu) {
    MutexLock lock(lanes_.mu);
    return state_.Finished();
  }
  Status Cancel() override EXCLUDES(lanes_.mu);
  Status Pause() override EXCLUDES(lanes_.mu);
  Status Resume() override EXCLUDES(lanes_.mu);
  Status SetSpeed(uint64_t bytes_per_second) override EXCLUDES(lanes_.mu) {
    MutexLock lock(lanes_.mu);
    CHAINFS_TRY(state_.Check(JobVerb::kSetSpeed));
    lanes_.queue.SetSpeed(bytes_per_second, std::chrono::steady_clock::now());
    if (phase_ == Phase::kCopying) lanes_.AddLanes(true);
    SaveParametersSoon();
    return {};
  }
  // A job that is ready ends as soon as its source is empty.
  Status Complete(const verbs::Arguments& arguments) override {
    return TellWork(JobVerb::kComplete, arguments);
  }
  Status Change(const verbs::Arguments& arguments) override {
    return TellWork(JobVerb::kChange, arguments);
  }
  Status CheckDismiss() const override EXCLUDES(lanes_.mu) {
    MutexLock lock(lanes_.mu);
    return state_.Check(JobVerb::kDismiss);
  }
  void Start() override EXCLUDES(lanes_.mu);
  void Stop() override EXCLUDES(lanes_.mu);
  void WaitStopped() override EXCLUDES(lanes_.mu) {
    MutexLock lock(lanes_.mu);
    while (phase_ != Phase::kConcluded && phase_ != Phase::kStopped) stopped_.Wait(lanes_.mu);
  }

 private:
  enum class Phase : uint8_t { kQueued, kCopying, kEnding, kConcluded, kStopped };

  // As LaneOwner says.
  bool UnderWay() const override REQUIRES(lanes_.mu) { return phase_ == Phase::kCopying; }
  bool MayWork() const override REQUIRES(lanes_.mu) { return !stop_ && state_.MayWork(); }
  bool UsersWait() const override REQUIRES(lanes_.mu) {
    return UnderWay() && work_.work().UsersWait();  // the work lives until its end
  }
  void ChunkEnded(ChunkRange chunk, const ChunkResult& result, Time began) override
      REQUIRES(lanes_.mu);
  Course LastLaneLeft() override REQUIRES(lanes_.mu);
  void NoMemoryForTimer() override REQUIRES(lanes_.mu) {
    state_.Fail({ErrorKind::kNoMemory, 0, "out of memory"});
  }
  ChunkResult Process(ChunkRange chunk) override { return work_.Process(chunk); }
  void Follow(Course course) override EXCLUDES(lanes_.mu) {
    course == Course::kEnd ? End() : StopHere();
  }

  void SourceHasNews() EXCLUDES(lanes_.mu) {
    MutexLock lock(lanes_.mu);
    if (phase_ == Phase::kCopying && !state_.undo_waits()) lanes_.AddLanes(true);
  }
  void ChunkDone(ChunkRange chunk, uint64_t copied, Time began) REQUIRES(lanes_.mu);
  void ChunkFailed(ChunkRange chunk, const ChunkFailure& failure) REQUIRES(lanes_.mu);
  void PauseFor(const Error& error) REQUIRES(lanes_.mu) {
    if (!state_.PauseFor(error)) return;
    events_.StoodStill(error);
    TellFailed(error);
  }
  // What is accepted is part of the command from then on.
  Status TellWork(JobVerb verb, const verbs::Arguments& arguments) EXCLUDES(lanes_.mu);
  // The ends.
  // Whether the work lets the job end; else it is paused until it does.
  bool MayEnd() REQUIRES(lanes_.mu);
  void End() EXCLUDES(lanes_.mu);
  bool StopAsked() const EXCLUDES(lanes_.mu) {
    MutexLock lock(lanes_.mu);
    return stop_;
  }
  bool SettleAndPivot() EXCLUDES(lanes_.mu);
  void AskWhatIsLeftOut() EXCLUDES(lanes_.mu) {
    LeftOutLayers left_out = work_.LeftOut();
    if (!left_out.problem.empty()) events_.NotRemoved(left_out.problem);
    MutexLock lock(lanes_.mu);
    left_out_ = std::move(left_out);
  }
  // Whether it is; else it is tried again, or the job was left to the next daemon.
  bool Undone() EXCLUDES(lanes_.mu);
  void AnnounceEnd() REQUIRES(lanes_.mu);
  void StopHere() EXCLUDES(lanes_.mu);
  // The work goes, and with it the layers.
  void LetGo() EXCLUDES(lanes_.mu);
  // Calls the hook; a dry run's error says that it is one.
  void TellFailed(const Error& error) REQUIRES(lanes_.mu);
  void SaveParametersSoon() REQUIRES(lanes_.mu);
  void SaveParameters() EXCLUDES(lanes_.mu);
  JobEvents::Figures Figures() const REQUIRES(lanes_.mu);

  JobArena& arena_;
  const JobSettings settings_;
  const JobRunHooks hooks_;
  const std::chrono::system_clock::time_point started_;
  GuardedWork work_;
  const bool estimates_;
  const bool gets_ready_;
  const JobEvents events_;

  LaneScheduler lanes_;
  CondVar stopped_;
  JobState state_ GUARDED_BY(lanes_.mu);
  Phase phase_ GUARDED_BY(lanes_.mu) = Phase::kQueued;
  bool stop_ GUARDED_BY(lanes_.mu) = false;
  bool unsaved_ GUARDED_BY(lanes_.mu) = false;      // parameters that the record does not have yet
  verbs::Arguments changed_ GUARDED_BY(lanes_.mu);  // of the command, since it was recorded
  bool gone_ GUARDED_BY(lanes_.mu) = false;         // the work
  JobFacts last_facts_ GUARDED_BY(lanes_.mu);       // what it said when it went
  LeftOutLayers left_out_ GUARDED_BY(lanes_.mu);
  Time progress_announced_ GUARDED_BY(lanes_.mu);
  Time progress_saved_ GUARDED_BY(lanes_.mu);
  std::optional<std::chrono::system_clock::time_point> ended_ GUARDED_BY(lanes_.mu);
};

}  // namespace chainfs::jobs

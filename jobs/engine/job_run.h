// SPDX-License-Identifier: Apache-2.0
//
// JobRun: one job's life: its status, its verbs, and the scheduling of its chunks.
//
// Terms: a *lane* is one strand of work on the arena: it takes a chunk, processes it, takes the
// next. A job has several lanes while it copies. Every change of a job's course (pause, the end, an
// error) happens in the last lane to leave, so nothing is ever changed under a chunk in flight. A
// verb sets a flag and sees to it that at least one lane comes by.
//
// Invariants:
//  1. A chunk counts as progress once, when it is done; so progress never goes back nor past total.
//     A job that is taken up walks from 0, and shows what was told before until it has got there.
//  2. Pivot is called at most once, after every chunk and Settle succeeded, and not if a cancel was
//     accepted before; once Pivot has begun, cancel is refused.
//  3. Release is called exactly once for a job that ends, before its last events, and never for one
//     that was stopped for the next daemon.
//  4. No thread waits: a job that must wait (speed limit) leaves a timer and no lane.
//
// Threads: all methods, any thread. mu_ is never held across I/O; under it only the event log is
// called, whose news callback must therefore not call back into jobs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job.h"
#include "jobs/engine/job_arena.h"
#include "jobs/engine/throttle.h"

namespace chainfs::jobs {

struct JobSettings {
  std::string id;
  std::string type;
  std::string disk;
  OnError on_error = OnError::kReport;
  JobParameters parameters = {};
  std::optional<std::string> warning = {};  // to be shown with it
  uint64_t sequence = 0;
};

struct JobRunHooks {
  // The job failed, or stands still because of `error`. Called with the run's lock held: it must
  // not call back into jobs.
  std::function<void(const std::string& disk, const std::string& type, const Error& error)> failed =
      {};
  // Whether the disk's own users are busy: the job then goes on with one lane. Cheap, any thread.
  std::function<bool(const std::string& disk)> foreground_busy;
  // The job holds nothing any more; its last events come next. Called like `concluded`.
  std::function<void()> released;
  // The job has concluded. Called once, on a thread of the arena, with no lock held.
  std::function<void()> concluded;
};

class JobRun : public std::enable_shared_from_this<JobRun> {
 public:
  // `arena` and `events` outlive the run.
  JobRun(JobArena& arena, EventLog& events, JobSettings settings, std::unique_ptr<ChunkWork> work,
         JobRunHooks hooks);

  // The job is accepted: status created. Once, before anything else.
  void AnnounceCreated() EXCLUDES(mu_);
  // From created; nothing if the job was cancelled or stopped meanwhile.
  void Start() EXCLUDES(mu_);
  // For work without chunks that is quick: from created to concluded on this thread.
  void RunToEndHere() EXCLUDES(mu_);
  Status Cancel() EXCLUDES(mu_);
  Status Pause() EXCLUDES(mu_);
  Status Resume() EXCLUDES(mu_);
  Status SetSpeed(uint64_t bytes_per_second) EXCLUDES(mu_);
  // Whether its course is over: concluded, or on the way there after an error or a cancel.
  bool Finished() const EXCLUDES(mu_);
  bool estimates() const { return estimates_; }
  // Whether dismiss is legal now; the owner then forgets the job.
  Status CheckDismiss() const EXCLUDES(mu_);

  JobInfo Info() const EXCLUDES(mu_);
  const std::string& id() const { return settings_.id; }
  const std::string& disk() const { return settings_.disk; }

  // For the end of the daemon: no new chunk; settles what was copied; the record stays. Does not
  // wait. A job that is in its end completes it.
  void Stop() EXCLUDES(mu_);
  // Until the job has concluded or stopped.
  void WaitStopped() EXCLUDES(mu_);

 private:
  enum class Phase : uint8_t { kQueued, kCopying, kEnding, kConcluded, kStopped };
  enum class Course : uint8_t { kNothing, kEnd, kStop };
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  using Time = std::chrono::steady_clock::time_point;

  // Lanes.
  void Lane() EXCLUDES(mu_);
  bool AddLane() REQUIRES(mu_);
  // As many lanes as may work now; one when `force`, so that somebody looks at the flags.
  void AddLanes(bool force) REQUIRES(mu_);
  bool Interrupted() const REQUIRES(mu_);
  bool WorkLeft() const REQUIRES(mu_);
  uint64_t WantedLanes() const REQUIRES(mu_);
  std::optional<Range> TakeChunk(Time now) REQUIRES(mu_);
  uint64_t NextLength() const REQUIRES(mu_);
  void WakeAt(Time time) REQUIRES(mu_);
  void Wake(Time time) EXCLUDES(mu_);
  void ChunkEnded(Range chunk, ChunkResult result, Time began) REQUIRES(mu_);
  void ChunkDone(Range chunk, uint64_t copied, Time began) REQUIRES(mu_);
  void ChunkFailed(Range chunk, const ChunkFailure& failure) REQUIRES(mu_);
  Course LastLaneLeft() REQUIRES(mu_);
  // The ends.
  void End() EXCLUDES(mu_);
  bool SettleAndPivot(ChunkWork& work) EXCLUDES(mu_);
  void AskWhatIsLeftOut(ChunkWork& work) EXCLUDES(mu_);
  void Release(ChunkWork& work) EXCLUDES(mu_, record_mu_);
  void StopHere() EXCLUDES(mu_);
  // Verbs, status, events.
  Status CheckVerb(JobVerb verb) const REQUIRES(mu_);
  void SetStatus(JobStatus status) REQUIRES(mu_);
  // One field of an event, without memory of its own: nothing on these paths may throw.
  struct Fact {
    std::string_view key;
    std::string_view text;
    std::optional<uint64_t> number = std::nullopt;  // takes the place of `text`
  };
  // Disk and id come by themselves.
  void Announce(std::string_view event, std::initializer_list<Fact> facts) REQUIRES(mu_);
  // Calls the hook; a dry run's error says that it is one.
  void TellFailed(const Error& error) REQUIRES(mu_);
  void AnnounceEnd() REQUIRES(mu_);
  void LogEnd() const REQUIRES(mu_);
  void StandStill(const Error& error) REQUIRES(mu_);
  void AnnounceProgress(Time now) REQUIRES(mu_);
  JobParameters Parameters() const REQUIRES(mu_);
  void SaveParametersSoon() REQUIRES(mu_);
  void SaveParameters() EXCLUDES(mu_);
  std::optional<std::string> ErrorText() const REQUIRES(mu_);
  uint64_t Total() const REQUIRES(mu_);
  uint64_t Current() const REQUIRES(mu_);

  JobArena& arena_;
  EventLog& events_;
  const JobSettings settings_;
  const JobRunHooks hooks_;
  const std::chrono::system_clock::time_point started_;
  const uint64_t length_;
  const uint64_t unit_;
  const uint64_t largest_chunk_;
  const bool estimates_;

  // Serializes SaveParameters against Release, so that a record is never written after it was
  // removed. Taken before mu_; held across I/O.
  Mutex record_mu_;
  bool released_ GUARDED_BY(record_mu_) = false;  // also when stopped

  mutable Mutex mu_;
  CondVar stopped_;
  // Destroyed when the job concludes or stops, so that it lets go of its layers. Used without mu_
  // by lanes (it lives while there is one), by the one end, and under record_mu_ until released_.
  std::unique_ptr<ChunkWork> work_ GUARDED_BY(mu_);
  JobStatus status_ GUARDED_BY(mu_) = JobStatus::kUndefined;
  Phase phase_ GUARDED_BY(mu_) = Phase::kQueued;
  bool user_paused_ GUARDED_BY(mu_) = false;
  std::optional<Error> error_paused_ GUARDED_BY(mu_);  // it stands still because of this
  bool cancel_ GUARDED_BY(mu_) = false;
  bool stop_ GUARDED_BY(mu_) = false;
  bool pivoting_ GUARDED_BY(mu_) = false;
  bool unsaved_ GUARDED_BY(mu_) = false;          // parameters that the record does not have yet
  std::optional<Error> failure_ GUARDED_BY(mu_);  // ends the job
  std::optional<Error> ignored_ GUARDED_BY(mu_);  // on-error=ignore: makes the end a failure
  uint64_t lanes_ GUARDED_BY(mu_) = 0;
  uint64_t cursor_ GUARDED_BY(mu_) = 0;       // chunks below it were taken
  std::vector<Range> again_ GUARDED_BY(mu_);  // taken, failed, to be tried again
  uint64_t chunk_size_ GUARDED_BY(mu_);       // adapts to how fast the storage is
  uint64_t done_ GUARDED_BY(mu_) = 0;         // bytes of finished chunks
  uint64_t copied_ GUARDED_BY(mu_) = 0;
  LeftOutLayers left_out_ GUARDED_BY(mu_);
  Throttle throttle_ GUARDED_BY(mu_);
  RateMeter meter_ GUARDED_BY(mu_);
  std::optional<Time> wake_ GUARDED_BY(mu_);  // when the timer will come
  Time progress_announced_ GUARDED_BY(mu_);
  Time progress_saved_ GUARDED_BY(mu_);
  std::optional<std::chrono::system_clock::time_point> ended_ GUARDED_BY(mu_);
};

}  // namespace chainfs::jobs

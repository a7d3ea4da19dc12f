// SPDX-License-Identifier: Apache-2.0
//
// LaneScheduler: the lanes of one job on the arena. A *lane* is one strand of work: it takes a
// chunk, has it processed, takes the next, until the owner wants no more or the queue has none. A
// job has several lanes while it copies, one while the users of its disk wait or when its priority
// is low, none while it stands still. When threads are short, the lanes of all jobs take turns: a
// chunk each, those of high priority several.
//
// It keeps JOB-3, JOB-4 and JOB-11 of README.md: a change of the job's course happens in
// LastLaneLeft, so with no chunk in flight. A verb sets a flag of the owner's and calls
// AddLanes(true), which sees to it that a lane comes by. A job that must wait (speed limit) leaves
// a timer and no lane.
//
// Threads: all methods, any thread. `mu` is the lock of the whole job: what the owner keeps of it
// is guarded by the same lock, so that a flag and the lanes are never seen apart. It is never held
// across I/O.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "blocklayer/base/sync.h"
#include "jobs/engine/chunk_queue.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/job_arena.h"
#include "jobs/engine/job_options.h"

namespace chainfs::jobs {

// What is done once no lane is left.
enum class Course : uint8_t { kNothing, kEnd, kStop };

// The job that the lanes work for. Lanes and timers keep it alive or look whether it is.
class LaneOwner : public std::enable_shared_from_this<LaneOwner> {
 public:
  using Time = std::chrono::steady_clock::time_point;
  virtual ~LaneOwner() = default;

  // ---- With the scheduler's `mu` held.
  virtual bool UnderWay() const = 0;   // started, and its end has not begun
  virtual bool MayWork() const = 0;    // nothing asks the job to stand still or to end
  virtual bool UsersWait() const = 0;  // of the disk: one lane is enough
  virtual void ChunkEnded(ChunkRange chunk, const ChunkResult& result, Time began) = 0;
  virtual Course LastLaneLeft() = 0;
  virtual void NoMemoryForTimer() = 0;  // nobody would come by again: the job must end

  // ---- Without it, on a thread of the arena.
  virtual ChunkResult Process(ChunkRange chunk) = 0;
  virtual void Follow(Course course) = 0;  // unless it is kNothing; the lane's last act
};

class LaneScheduler {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `arena` outlives all; `owner` holds the scheduler.
  LaneScheduler(JobArena& arena, LaneOwner& owner, ChunkQueue queue,
                Priority priority = Priority::kNormal);

  // As many lanes as may work now; one when `force`, so that somebody looks at the flags.
  void AddLanes(bool force) REQUIRES(mu);
  // One, whatever the flags say. False: no memory.
  bool AddLane() REQUIRES(mu);
  bool Idle() const REQUIRES(mu) { return lanes_ == 0; }
  // How many lanes there are follows with their next chunks, or AddLanes.
  void SetPriority(Priority priority) REQUIRES(mu) { priority_ = priority; }
  Priority priority() const REQUIRES(mu) { return priority_; }
  // A lane comes by at that time, or earlier.
  void WakeAt(Time time) REQUIRES(mu);

  mutable Mutex mu;
  ChunkQueue queue GUARDED_BY(mu);

 private:
  void Lane() EXCLUDES(mu);
  std::optional<ChunkRange> Take(Time now) REQUIRES(mu);
  uint64_t WantedLanes() const REQUIRES(mu);
  // A job of low priority that keeps users waiting leaves them as much time as it took.
  void Rest(Time began) REQUIRES(mu);
  void Wake(Time time) EXCLUDES(mu);

  JobArena& arena_;
  LaneOwner& owner_;
  Priority priority_ GUARDED_BY(mu);
  uint64_t lanes_ GUARDED_BY(mu) = 0;
  std::optional<Time> wake_ GUARDED_BY(mu);  // when the timer will come
};

}  // namespace chainfs::jobs

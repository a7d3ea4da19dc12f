// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/lane_scheduler.h"

#include <algorithm>
#include <new>
#include <utility>

namespace chainfs::jobs {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRetryWithoutMemory{200};
constexpr std::chrono::milliseconds kShortestRest{2};
constexpr std::chrono::milliseconds kLongestRest{100};

// Chunks in a turn while others wait for a thread.
int TurnOf(Priority priority) { return priority == Priority::kHigh ? 4 : 1; }

}  // namespace

LaneScheduler::LaneScheduler(JobArena& arena, LaneOwner& owner, ChunkQueue chunks,
                             Priority priority)
    : queue(std::move(chunks)), arena_(arena), owner_(owner), priority_(priority) {}

bool LaneScheduler::AddLane() {
  bool submitted = false;
  try {
    submitted = arena_.Submit([this, owner = owner_.shared_from_this()] { Lane(); });
  } catch (const std::bad_alloc&) {
    submitted = false;
  }
  if (submitted) ++lanes_;
  return submitted;
}

void LaneScheduler::AddLanes(bool force) {
  const Time now = SteadyClock::now();
  if (owner_.MayWork() && queue.WorkLeft() && queue.MayStart(now)) {
    const uint64_t wanted = std::min(WantedLanes(), queue.ChunksLeft() + lanes_);
    while (lanes_ < wanted && AddLane()) {
    }
  }
  if (force && lanes_ == 0 && !AddLane()) WakeAt(now + kRetryWithoutMemory);
}

uint64_t LaneScheduler::WantedLanes() const {
  if (priority_ == Priority::kLow || owner_.UsersWait()) return 1;
  return static_cast<uint64_t>(arena_.threads());
}

std::optional<ChunkRange> LaneScheduler::Take(Time now) {
  if (!owner_.MayWork() || !queue.WorkLeft() || lanes_ > WantedLanes()) return std::nullopt;
  if (!queue.MayStart(now)) {
    WakeAt(queue.ready_at());
    return std::nullopt;
  }
  return queue.Take(now);
}

void LaneScheduler::Rest(Time began) {
  if (priority_ != Priority::kLow || !owner_.UsersWait()) return;
  const Time now = SteadyClock::now();
  queue.RestUntil(now + std::clamp<Time::duration>(now - began, kShortestRest, kLongestRest));
}

void LaneScheduler::Lane() {
  Course course = Course::kNothing;
  int taken = 0;
  for (;;) {
    std::optional<ChunkRange> chunk;
    const Time began = SteadyClock::now();
    {
      MutexLock lock(mu);
      chunk = Take(began);
      if (!chunk) {
        if (--lanes_ == 0) course = owner_.LastLaneLeft();
        break;
      }
    }
    const ChunkResult result = owner_.Process(*chunk);
    MutexLock lock(mu);
    queue.Refund(*chunk, result.value_or(0));
    owner_.ChunkEnded(*chunk, result, began);
    Rest(began);
    AddLanes(false);
    // Other jobs wait for a thread: queue up behind them.
    if (++taken % TurnOf(priority_) == 0 && arena_.Crowded() && AddLane()) {
      --lanes_;
      return;
    }
  }
  if (course != Course::kNothing) owner_.Follow(course);
}

void LaneScheduler::WakeAt(Time time) {
  if (wake_ && *wake_ <= time) return;
  wake_ = time;
  bool armed = false;
  try {
    armed = arena_.At(time, [this, owner = owner_.weak_from_this(), time] {
      if (const std::shared_ptr<LaneOwner> alive = owner.lock()) Wake(time);
    });
  } catch (const std::bad_alloc&) {
    armed = false;
  }
  if (armed) return;
  wake_.reset();
  owner_.NoMemoryForTimer();
}

void LaneScheduler::Wake(Time time) {
  MutexLock lock(mu);
  if (wake_ == time) wake_.reset();
  if (owner_.UnderWay()) AddLanes(true);
}

}  // namespace chainfs::jobs

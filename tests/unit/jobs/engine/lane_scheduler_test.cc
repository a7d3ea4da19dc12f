// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/lane_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kUnit = 4096;

// A job that only counts: it ends when no chunk is left, and stands still when it is told to.
class Counting final : public LaneOwner {
 public:
  Counting(JobArena& arena, uint64_t chunks, Priority priority = Priority::kNormal)
      : source_(chunks * kUnit), lanes(arena, *this, ChunkQueue(source_, kUnit, kUnit), priority) {}

  bool UnderWay() const override { return true; }
  bool MayWork() const override { return !still; }
  bool UsersWait() const override { return users_wait; }
  void ChunkEnded(ChunkRange chunk, const ChunkResult& result, Time began) override
      REQUIRES(lanes.mu) {
    lanes.queue.Done(chunk, result.value_or(0), began, began);
  }
  Course LastLaneLeft() override REQUIRES(lanes.mu) {
    EXPECT_EQ(in_flight, 0);
    ++last_left;
    if (still) return Course::kNothing;
    if (!lanes.queue.WorkLeft()) return Course::kEnd;
    lanes.WakeAt(lanes.queue.ready_at());
    return Course::kNothing;
  }
  void NoMemoryForTimer() override { FAIL(); }
  ChunkResult Process(ChunkRange chunk) override {
    const int now = ++in_flight;
    most = std::max(most.load(), now);
    std::this_thread::sleep_for(100us);
    --in_flight;
    return chunk.length;
  }
  void Follow(Course course) override {
    EXPECT_EQ(course, Course::kEnd);
    ended = true;
  }
  void Look() EXCLUDES(lanes.mu) {
    MutexLock lock(lanes.mu);
    lanes.AddLanes(true);
  }
  bool Idle() EXCLUDES(lanes.mu) {
    MutexLock lock(lanes.mu);
    return lanes.Idle();
  }
  uint64_t Done() EXCLUDES(lanes.mu) {
    MutexLock lock(lanes.mu);
    return lanes.queue.done();
  }

  std::atomic<bool> still = false;
  std::atomic<bool> users_wait = false;
  std::atomic<bool> ended = false;
  std::atomic<int> in_flight = 0;
  std::atomic<int> most = 0;
  std::atomic<int> last_left = 0;

 private:
  CursorSource source_;

 public:
  LaneScheduler lanes;
};

void Await(const std::function<bool()>& condition) {
  const auto guard = std::chrono::steady_clock::now() + 120s;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), guard);
    std::this_thread::sleep_for(1ms);
  }
}

TEST(LaneScheduler, TheLastLaneEndsTheJobOnce) {
  JobArena arena(4);
  const auto job = std::make_shared<Counting>(arena, 200);
  job->Look();
  Await([&] { return job->ended.load(); });
  EXPECT_EQ(job->Done(), 200 * kUnit);
  EXPECT_EQ(job->last_left, 1);
  EXPECT_TRUE(job->Idle());
}

TEST(LaneScheduler, OneLaneWhileUsersWait) {
  JobArena arena(4);
  const auto job = std::make_shared<Counting>(arena, 100);
  job->users_wait = true;
  job->Look();
  Await([&] { return job->ended.load(); });
  EXPECT_EQ(job->most, 1);
}

TEST(LaneScheduler, ALowPriorityHasOneLane) {
  JobArena arena(4);
  const auto job = std::make_shared<Counting>(arena, 100, Priority::kLow);
  job->Look();
  Await([&] { return job->ended.load(); });
  EXPECT_EQ(job->most, 1);
}

TEST(LaneScheduler, ALowPriorityRestsWhileUsersWait) {
  JobArena arena(2);
  const auto job = std::make_shared<Counting>(arena, 20, Priority::kLow);
  job->users_wait = true;
  const auto began = std::chrono::steady_clock::now();
  job->Look();
  Await([&] { return job->ended.load(); });
  // At least 2 ms after each chunk but the last, without a lane.
  EXPECT_GE(std::chrono::steady_clock::now() - began, 19 * 2ms);
  EXPECT_GE(job->last_left, 10);
  EXPECT_EQ(job->Done(), 20 * kUnit);
}

// Of one thread, for which all wait, each gets by its priority.
TEST(LaneScheduler, AHighPriorityGetsSeveralTurns) {
  JobArena arena(1);
  const auto high = std::make_shared<Counting>(arena, 2000, Priority::kHigh);
  const auto normal = std::make_shared<Counting>(arena, 2000);
  normal->Look();
  high->Look();
  Await([&] { return high->ended.load(); });
  EXPECT_LT(normal->Done(), 1000 * kUnit);
  EXPECT_GT(normal->Done(), 100 * kUnit);
  Await([&] { return normal->ended.load(); });
}

TEST(LaneScheduler, ALookAtAJobThatStandsStillLeavesNoLane) {
  JobArena arena(2);
  const auto job = std::make_shared<Counting>(arena, 10);
  job->still = true;
  job->Look();
  Await([&] { return job->last_left == 1 && job->Idle(); });
  EXPECT_EQ(job->Done(), 0u);
  job->still = false;
  job->Look();
  Await([&] { return job->ended.load(); });
}

TEST(LaneScheduler, ASpeedLimitLeavesATimerAndNoLane) {
  JobArena arena(2);
  const auto job = std::make_shared<Counting>(arena, 4);
  {
    MutexLock lock(job->lanes.mu);
    job->lanes.queue.SetSpeed(20 * kUnit, std::chrono::steady_clock::now());
  }
  job->Look();
  Await([&] { return job->Done() > 0 && job->Idle(); });
  EXPECT_FALSE(job->ended);
  Await([&] { return job->ended.load(); });
  EXPECT_EQ(job->Done(), 4 * kUnit);
}

TEST(LaneScheduler, ATimerDoesNotKeepAJobAlive) {
  JobArena arena(2);
  auto job = std::make_shared<Counting>(arena, 1000);
  {
    MutexLock lock(job->lanes.mu);
    job->lanes.WakeAt(std::chrono::steady_clock::now() + 1h);
  }
  const std::weak_ptr<Counting> left = job;
  job.reset();
  EXPECT_TRUE(left.expired());
}

}  // namespace
}  // namespace chainfs::jobs

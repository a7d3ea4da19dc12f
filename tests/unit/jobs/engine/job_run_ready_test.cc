// SPDX-License-Identifier: Apache-2.0
//
// Work that guests add to: ready, standby, complete.
#include "tests/unit/jobs/engine/job_run_fixture.h"

namespace chainfs::jobs {
namespace {

class JobRunReadyTest : public JobRunTest {
 protected:
  static constexpr uint64_t kSize = 1 << 20;

  Job MakeReady(Script script = {}, OnError on_error = OnError::kReport) {
    script.length = kSize;
    script.dirty = dirty_;
    dirty_->Mark(0, kSize);
    return Make(std::move(script), on_error);
  }
  uint64_t Progress(const Job& job) { return job->Info().current_progress; }

  const std::shared_ptr<DirtySet> dirty_ = std::make_shared<DirtySet>(kSize, kUnit);
};

TEST_F(JobRunReadyTest, GoesOnWithWhatIsAddedUntilItIsCompleted) {
  const Job job = MakeReady();
  EXPECT_EQ(KindOf(job->Complete()), ErrorKind::kInvalidArgument);
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  EXPECT_EQ(Progress(job), kSize);
  for (uint64_t round = 1; round <= 3; ++round) {
    dirty_->Mark(0, kUnit);
    WaitFor([&] { return Progress(job) == kSize + round * kUnit; }, "what was added");
    EXPECT_EQ(job.status(), JobStatus::kReady);
    EXPECT_EQ(job->Info().total_progress, kSize + round * kUnit);
  }
  EXPECT_EQ(job.trace->settled, 0);
  ASSERT_TRUE(job->Complete());
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "ready", "BLOCK_JOB_READY", "waiting",
                               "pending", "BLOCK_JOB_COMPLETED", "concluded"}));
  EXPECT_EQ(job.trace->pivoted, 1);
  dirty_->Mark(0, kUnit);  // nobody listens any more
  EXPECT_EQ(KindOf(job->Complete()), ErrorKind::kInvalidArgument);
}

TEST_F(JobRunReadyTest, IsCompletedOnlyOnceNothingIsLeft) {
  std::atomic<bool> go_on = false;
  const Job job = MakeReady({.process = [&](uint64_t, uint64_t length) {
    while (!go_on && dirty_->total() > kSize) std::this_thread::yield();
    return ChunkResult(length);
  }});
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  dirty_->Mark(0, kUnit);
  WaitFor([&] { return job.trace->in_flight > 0; }, "a chunk");
  ASSERT_TRUE(job->Complete());
  EXPECT_EQ(job.status(), JobStatus::kReady);
  go_on = true;
  job.WaitEnd();
  EXPECT_EQ(job.trace->covered_bytes(), kSize + kUnit);
}

TEST_F(JobRunReadyTest, StandsByWhilePaused) {
  const Job job = MakeReady();
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  ASSERT_TRUE(job->Pause());
  job.WaitStatus(JobStatus::kStandby);
  dirty_->Mark(0, kUnit);
  ASSERT_TRUE(job->Complete());
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(job.status(), JobStatus::kStandby);
  EXPECT_EQ(Progress(job), kSize);
  ASSERT_TRUE(job->Resume());
  job.WaitEnd();
  EXPECT_EQ(Progress(job), kSize + kUnit);
  EXPECT_EQ(Story(job), (Words{"created", "running", "ready", "BLOCK_JOB_READY", "standby", "ready",
                               "waiting", "pending", "BLOCK_JOB_COMPLETED", "concluded"}));
}

TEST_F(JobRunReadyTest, CancelWhileStandingByGoesThroughReady) {
  const Job job = MakeReady();
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  ASSERT_TRUE(job->Pause());
  job.WaitStatus(JobStatus::kStandby);
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "ready", "BLOCK_JOB_READY", "standby", "ready",
                               "aborting", "BLOCK_JOB_CANCELLED", "concluded"}));
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRunReadyTest, AnErrorStopsItInStandby) {
  std::atomic<bool> broken = false;
  const Job job =
      MakeReady({.process = [&](uint64_t, uint64_t length) -> ChunkResult {
                  if (broken) {
                    return std::unexpected(ChunkFailure{Error{ErrorKind::kIo, 5, "broken"}, true});
                  }
                  return length;
                }},
                OnError::kStop);
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  broken = true;
  dirty_->Mark(0, kUnit);
  job.WaitStatus(JobStatus::kStandby);
  EXPECT_EQ(job->Info().io_status, "failed");
  broken = false;
  ASSERT_TRUE(job->Resume());
  WaitFor([&] { return Progress(job) == kSize + kUnit; }, "the chunk that failed");
  ASSERT_TRUE(job->Complete());
  job.WaitEnd();
}

TEST_F(JobRunReadyTest, IsLeftToTheNextDaemon) {
  const Job job = MakeReady();
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  job->Stop();
  job->WaitStopped();
  EXPECT_EQ(job.trace->settled, 1);
  EXPECT_EQ(job.trace->released, 0);
  EXPECT_EQ(job.trace->destroyed, 1);
}

TEST_F(JobRunReadyTest, GuestsAddFromManyThreads) {
  const Job job = MakeReady({.process = [](uint64_t, uint64_t length) {
    std::this_thread::sleep_for(50us);
    return ChunkResult(length);
  }});
  job->Start();
  std::vector<std::thread> guests;
  for (uint64_t guest = 0; guest < 3; ++guest) {
    guests.emplace_back([&, guest] {
      for (uint64_t i = 0; i < 2000; ++i) dirty_->Mark((i * 7 + guest) % 256 * kUnit, kUnit);
    });
  }
  for (std::thread& guest : guests) guest.join();
  job.WaitStatus(JobStatus::kReady);
  ASSERT_TRUE(job->Complete());
  job.WaitEnd();
  EXPECT_EQ(job->Info().current_progress, job->Info().total_progress);
  EXPECT_EQ(job.trace->covered_bytes(), dirty_->total());
}

}  // namespace
}  // namespace chainfs::jobs

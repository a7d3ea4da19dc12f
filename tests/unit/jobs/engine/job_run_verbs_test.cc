// SPDX-License-Identifier: Apache-2.0
//
// Pause, cancel, speed and the end of the daemon, at every moment of a job.
#include "tests/unit/jobs/engine/job_run_fixture.h"

namespace chainfs::jobs {
namespace {

using JobRunVerbsTest = JobRunTest;

TEST_F(JobRunVerbsTest, PauseHoldsAndResumeGoesOn) {
  const Job job = Make({.length = 1 << 30, .process = [](uint64_t, uint64_t length) {
                          std::this_thread::sleep_for(200us);
                          return ChunkResult(length);
                        }});
  job->Start();
  WaitFor([&] { return job.trace->processed > 0; }, "progress");
  ASSERT_TRUE(job->Pause());
  const auto asked = std::chrono::steady_clock::now();
  job.WaitStatus(JobStatus::kPaused);
  RecordProperty("pause_us", static_cast<int>((std::chrono::steady_clock::now() - asked) / 1us));
  const uint64_t before = job.trace->processed;
  EXPECT_EQ(job.trace->in_flight, 0);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(job.trace->processed, before);
  EXPECT_EQ(KindOf(job->Pause()), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(job->Resume());
  EXPECT_EQ(KindOf(job->Resume()), ErrorKind::kInvalidArgument);
  WaitFor([&] { return job.trace->processed > before; }, "progress after resume");
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  WaitFor(
      [&] {
        MutexLock lock(job.trace->mu);
        return !job.trace->saved.empty();
      },
      "parameters saved");
}

TEST_F(JobRunVerbsTest, CancelWhilePausedGoesThroughRunning) {
  const Job job = Make({.length = 1 << 30});
  ASSERT_TRUE(job->Pause());
  job->Start();
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "paused", "running", "aborting",
                               "BLOCK_JOB_CANCELLED", "concluded"}));
  EXPECT_TRUE(job->Info().cancelled);
  EXPECT_EQ(job->Info().error, "cancelled");
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRunVerbsTest, CancelBeforeTheStart) {
  const Job job = Make({});
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  job->Start();
  EXPECT_EQ(Story(job), (Words{"created", "aborting", "BLOCK_JOB_CANCELLED", "concluded"}));
  EXPECT_EQ(job.trace->processed, 0u);
}

TEST_F(JobRunVerbsTest, CancelDuringTheLastFlushStopsThePivot) {
  std::atomic<bool> settling = false;
  std::atomic<bool> go_on = false;
  const Job job = Make({.settle = [&]() -> Status {
    settling = true;
    WaitFor([&] { return go_on.load(); }, "the test to go on");
    return {};
  }});
  job->Start();
  WaitFor([&] { return settling.load(); }, "the last flush");
  EXPECT_EQ(job.status(), JobStatus::kWaiting);
  EXPECT_EQ(KindOf(job->Pause()), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(job->Cancel());
  go_on = true;
  job.WaitEnd();
  EXPECT_EQ(job.trace->pivoted, 0);
  EXPECT_TRUE(job->Info().cancelled);
}

TEST_F(JobRunVerbsTest, CancelDuringThePivotIsRefused) {
  std::atomic<bool> pivoting = false;
  std::atomic<bool> go_on = false;
  const Job job = Make({.pivot = [&]() -> Status {
    pivoting = true;
    WaitFor([&] { return go_on.load(); }, "the test to go on");
    return {};
  }});
  job->Start();
  WaitFor([&] { return pivoting.load(); }, "the pivot");
  EXPECT_EQ(job.status(), JobStatus::kPending);
  EXPECT_EQ(KindOf(job->Cancel()), ErrorKind::kInvalidArgument);
  go_on = true;
  job.WaitEnd();
  EXPECT_FALSE(job->Info().cancelled);
  EXPECT_FALSE(job->Info().error.has_value());
}

TEST_F(JobRunVerbsTest, AVerbInTheWrongStateIsRefusedInQemusWords) {
  const Job job = Make({});
  EXPECT_EQ(job->CheckDismiss().error().message,
            "job-1 has not finished yet; wait for it or cancel it, then dismiss it");
  job->Start();
  job.WaitEnd();
  EXPECT_TRUE(job->CheckDismiss());
  for (const Status& status : {job->Cancel(), job->Pause(), job->Resume(), job->SetSpeed(1)}) {
    EXPECT_EQ(KindOf(status), ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(job->SetSpeed(1).error().message, "job-1 has already finished");
}

// ---- Errors.

TEST_F(JobRunVerbsTest, ASpeedLimitIsKeptOnAverage) {
  constexpr uint64_t kSpeed = 4 << 20;
  const Job job = Make({.length = 1 << 20}, OnError::kReport, {.speed = kSpeed});
  const auto began = std::chrono::steady_clock::now();
  job->Start();
  job.WaitEnd();
  // All but the last chunk and the first slice have waited.
  EXPECT_GE(std::chrono::steady_clock::now() - began, 100ms);
  EXPECT_EQ(job->Info().speed, kSpeed);
}

TEST_F(JobRunVerbsTest, SkippedBytesAreNotCharged) {
  const Job job = Make({.length = 64ull << 30,
                        .chunk = 1 << 30,
                        .process = [](uint64_t, uint64_t) { return ChunkResult(0); }},
                       OnError::kReport, {.speed = 1 << 30});
  job->Start();
  job.WaitEnd();
}

TEST_F(JobRunVerbsTest, AJobThatWaitsForItsLimitObeysAtOnce) {
  const Job job = Make({.length = 1 << 30}, OnError::kReport, {.speed = 1});
  job->Start();
  WaitFor([&] { return job.trace->processed > 0; }, "the first chunk");
  ASSERT_TRUE(job->Pause());
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Resume());
  ASSERT_TRUE(job->SetSpeed(0));
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
}

TEST_F(JobRunVerbsTest, CancelOfAJobThatWaitsForItsLimit) {
  const Job job = Make({.length = 1 << 30}, OnError::kReport, {.speed = 1});
  job->Start();
  WaitFor([&] { return job.trace->processed > 0; }, "the first chunk");
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
}

// ---- Several jobs, stopping.

TEST_F(JobRunVerbsTest, StopSettlesAndReleasesNothing) {
  const Job running = Make({.length = UINT64_MAX / 2});
  const Job paused = Make({.length = 1 << 30});
  const Job queued = Make({});
  const Job limited = Make({.length = 1 << 30}, OnError::kReport, {.speed = 1});
  running->Start();
  limited->Start();
  ASSERT_TRUE(paused->Pause());
  paused->Start();
  paused.WaitStatus(JobStatus::kPaused);
  WaitFor([&] { return running.trace->processed > 0 && limited.trace->processed > 0; }, "progress");
  for (const Job* job : {&running, &paused, &queued, &limited}) (*job)->Stop();
  for (const Job* job : {&running, &paused, &queued, &limited}) {
    (*job)->WaitStopped();
    EXPECT_EQ(job->trace->released, 0);
    EXPECT_EQ(job->trace->pivoted, 0);
    EXPECT_EQ(job->trace->destroyed, 1);
    EXPECT_EQ(job->trace->settled, job->trace->processed > 0 ? 1 : 0);
    const Words story = Story(*job);
    EXPECT_EQ(std::ranges::find(story, "concluded"), story.end());
    EXPECT_EQ(std::ranges::find(story, "aborting"), story.end());
  }
}

TEST_F(JobRunVerbsTest, VerbsFromManyThreadsLeaveASoundStory) {
  const Job job = Make({.length = UINT64_MAX / 2});
  job->Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const bool ok = (i + t) % 2 == 0 ? job->Pause().has_value() : job->Resume().has_value();
        if (i % 50 == t && ok) {
          EXPECT_TRUE(job->SetSpeed(static_cast<uint64_t>(i) << 30));
        }
        (void)job->Info();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  const Words story = Story(job);
  for (size_t i = 1; i + 3 < story.size(); ++i) {
    EXPECT_EQ(story[i], i % 2 == 1 ? "running" : "paused") << i;
  }
}

}  // namespace
}  // namespace chainfs::jobs

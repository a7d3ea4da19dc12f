// SPDX-License-Identifier: Apache-2.0
//
// A job's way from created to concluded: lanes, progress, errors, ends.
#include "jobs/engine/job_manager.h"
#include "tests/unit/jobs/engine/job_run_fixture.h"

#include <new>
#include <set>

namespace chainfs::jobs {
namespace {

TEST_F(JobRunTest, ARunGoesThroughEveryStatusAndCoversEveryByteOnce) {
  const Job job = Make({.length = (1 << 20) + 512});
  EXPECT_EQ(job.status(), JobStatus::kCreated);
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED",
                               "concluded"}));
  const JobInfo info = job->Info();
  EXPECT_EQ(info.current_progress, (1u << 20) + 512);
  EXPECT_EQ(info.total_progress, (1u << 20) + 512);
  EXPECT_FALSE(info.error.has_value());
  EXPECT_TRUE(info.ended.has_value());
  EXPECT_EQ(job.trace->settled, 1);
  EXPECT_EQ(job.trace->pivoted, 1);
  MutexLock lock(job.trace->mu);
  EXPECT_EQ(job.trace->covered, (1u << 20) + 512);
  for (const auto& [offset, times] : job.trace->chunks) EXPECT_EQ(times, 1) << offset;
}

TEST_F(JobRunTest, WorkWithoutLengthCompletesAtOnce) {
  const Job job = Make({.length = 0});
  job->Start();
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
}

TEST_F(JobRunTest, TheCompletionEventHasTheFieldsOfQemu) {
  const Job job = Make({});
  job->Start();
  job.WaitEnd();
  for (const auto& event : Events()) {
    if (event["event"] != "BLOCK_JOB_COMPLETED") continue;
    EXPECT_EQ(event["type"], "stream");
    EXPECT_EQ(event["device"], "vm1");
    EXPECT_EQ(event["len"], 1 << 20);
    EXPECT_EQ(event["offset"], 1 << 20);
    EXPECT_EQ(event["speed"], 0);
    EXPECT_FALSE(event.contains("error"));
  }
}

TEST_F(JobRunTest, SeveralChunksAreInFlight) {
  std::atomic<int> inside = 0;
  const Job job = Make({.process = [&](uint64_t, uint64_t length) -> ChunkResult {
    ++inside;
    // The first two wait for each other.
    WaitFor([&] { return inside >= 2; }, "a second chunk in flight");
    return length;
  }});
  job->Start();
  job.WaitEnd();
  EXPECT_GE(job.trace->most_in_flight, 2);
  EXPECT_LE(job.trace->most_in_flight, arena_.threads());
}

TEST_F(JobRunTest, ABusyGuestLeavesOneChunkInFlight) {
  busy_ = true;
  const Job job = Make({.process = [](uint64_t, uint64_t length) -> ChunkResult {
    std::this_thread::sleep_for(1ms);
    return length;
  }});
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job.trace->most_in_flight, 1);
}

TEST_F(JobRunTest, ProgressNeverGoesBackNorPastTheTotal) {
  const Job job = Make({.length = 8 << 20, .process = [](uint64_t offset, uint64_t length) {
                          if (offset % 3 == 0) std::this_thread::sleep_for(1ms);
                          return ChunkResult(length / 2);
                        }});
  job->Start();
  uint64_t last = 0;
  while (job.status() != JobStatus::kConcluded) {
    const JobInfo info = job->Info();
    EXPECT_GE(info.current_progress, last);
    EXPECT_LE(info.current_progress, info.total_progress);
    last = info.current_progress;
  }
  job.WaitEnd();
  EXPECT_EQ(job->Info().current_progress, 8u << 20);
}

Script FailingAt(uint64_t bad, std::shared_ptr<std::atomic<int>> failures, ErrorKind kind,
                 bool writing) {
  return {.process = [=](uint64_t offset, uint64_t length) -> ChunkResult {
    if (offset <= bad && bad < offset + length && --*failures >= 0) {
      return std::unexpected(ChunkFailure{{kind, 0, "bad sector"}, writing});
    }
    return length;
  }};
}

TEST_F(JobRunTest, OnErrorReportEndsTheJob) {
  const Job job =
      Make(FailingAt(256 << 10, std::make_shared<std::atomic<int>>(1), ErrorKind::kIo, false));
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "BLOCK_JOB_ERROR", "aborting",
                               "BLOCK_JOB_COMPLETED", "concluded"}));
  EXPECT_EQ(job->Info().error, "bad sector");
  EXPECT_FALSE(job->Info().cancelled);
  EXPECT_EQ(job.trace->pivoted, 0);
  for (const auto& event : Events()) {
    if (event["event"] == "BLOCK_JOB_ERROR") {
      EXPECT_EQ(event["device"], "vm1");
      EXPECT_EQ(event["operation"], "read");
      EXPECT_EQ(event["action"], "report");
    }
    if (event["event"] == "BLOCK_JOB_COMPLETED") {
      EXPECT_EQ(event["error"], "bad sector");
      EXPECT_LT(event["offset"], event["len"]);
    }
  }
}

TEST_F(JobRunTest, OnErrorIgnoreGoesOnAndEndsAsAFailure) {
  const Job job =
      Make(FailingAt(256 << 10, std::make_shared<std::atomic<int>>(1), ErrorKind::kIo, true),
           OnError::kIgnore);
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job->Info().error, "bad sector");
  EXPECT_EQ(job->Info().current_progress, 1u << 20);
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRunTest, OnErrorStopPausesAndDoesTheChunkAgain) {
  const Job job =
      Make(FailingAt(256 << 10, std::make_shared<std::atomic<int>>(2), ErrorKind::kIo, true),
           OnError::kStop);
  job->Start();
  for (int i = 0; i < 2; ++i) {
    job.WaitStatus(JobStatus::kPaused);
    EXPECT_EQ(job->Info().error, "bad sector");
    EXPECT_EQ(job->Info().io_status, "failed");
    ASSERT_TRUE(job->Resume());
  }
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
  EXPECT_EQ(job.trace->pivoted, 1);
  MutexLock lock(job.trace->mu);
  EXPECT_EQ(job.trace->covered, 1u << 20);
}

TEST_F(JobRunTest, OnErrorEnospcPausesOnlyForSpace) {
  const Job full =
      Make(FailingAt(0, std::make_shared<std::atomic<int>>(1), ErrorKind::kNoSpace, true),
           OnError::kEnospc);
  full->Start();
  full.WaitStatus(JobStatus::kPaused);
  EXPECT_EQ(full->Info().io_status, "nospace");
  EXPECT_EQ(full->Info().error, "bad sector");
  EXPECT_EQ(failures_, 1);
  ASSERT_TRUE(full->Resume());
  full.WaitEnd();
  EXPECT_EQ(full->Info().io_status, "ok");
  EXPECT_FALSE(full->Info().error.has_value());
  const Job broken = Make(FailingAt(0, std::make_shared<std::atomic<int>>(1), ErrorKind::kIo, true),
                          OnError::kEnospc);
  broken->Start();
  broken.WaitEnd();
  EXPECT_EQ(broken->Info().error, "bad sector");
  EXPECT_EQ(failures_, 2);
}

TEST_F(JobRunTest, FailuresOfTheEndFailTheJob) {
  const auto fail = []() -> Status { return Fail(ErrorKind::kIo, "no luck"); };
  const Job unsettled = Make({.settle = fail});
  unsettled->Start();
  unsettled.WaitEnd();
  EXPECT_EQ(unsettled->Info().error, "no luck");
  EXPECT_EQ(unsettled.trace->pivoted, 0);
  const Job stuck = Make({.pivot = fail});
  stuck->Start();
  stuck.WaitEnd();
  EXPECT_EQ(stuck->Info().error, "no luck");
  EXPECT_EQ(Story(stuck), (Words{"created", "running", "waiting", "pending", "aborting",
                                 "BLOCK_JOB_COMPLETED", "concluded"}));
}

TEST_F(JobRunTest, NothingThatIsThrownEscapes) {
  const Job chunk =
      Make({.process = [](uint64_t, uint64_t) -> ChunkResult { throw std::bad_alloc(); }});
  chunk->Start();
  chunk.WaitEnd();
  EXPECT_NE(chunk->Info().error->find("out of memory"), std::string::npos);
  const Job pivot = Make({.pivot = []() -> Status { throw std::runtime_error("surprise"); }});
  pivot->Start();
  pivot.WaitEnd();
  EXPECT_NE(pivot->Info().error->find("surprise"), std::string::npos);
}

// ---- Speed.

TEST_F(JobRunTest, ManyJobsShareTheArena) {
  std::vector<Job> jobs;
  for (int i = 0; i < 12; ++i) jobs.push_back(Make({.length = 4 << 20}));
  for (const Job& job : jobs) job->Start();
  for (const Job& job : jobs) job.WaitEnd();
  WaitFor([&] { return concluded_ == 12; }, "every job tells its owner");
}

TEST_F(JobRunTest, ALongJobDoesNotHoldUpAnother) {
  const Job endless = Make(
      {.length = UINT64_MAX / 2, .process = [](uint64_t, uint64_t) { return ChunkResult(0); }});
  endless->Start();
  WaitFor([&] { return endless.trace->processed > 0; }, "the endless job");
  const Job brief = Make({});
  brief->Start();
  brief.WaitEnd();
  ASSERT_TRUE(endless->Cancel());
  endless.WaitEnd();
}

TEST_F(JobRunTest, AnEstimateOnlyCounts) {
  const Job job = Make({.estimates = true, .process = [](uint64_t, uint64_t length) {
                          return ChunkResult(length / 4);
                        }});
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job->Info().current_progress, 0u);
  EXPECT_EQ(job->Info().total_progress, (1u << 20) / 4);
  EXPECT_EQ(Story(job), (Words{"created", "running", "waiting", "pending", "concluded"}));
}

// Nobody must take it for a job that was to do something.
TEST_F(JobRunTest, AnEstimateThatFailsSaysThatItIsOne) {
  const Job job =
      Make({.estimates = true, .process = [](uint64_t, uint64_t) -> ChunkResult {
              return std::unexpected(ChunkFailure{Error{ErrorKind::kIo, 5, "a bad table"}, false});
            }});
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(last_failure_, "dry run: a bad table");
  EXPECT_EQ(job->Info().error, "a bad table");
  EXPECT_EQ(Story(job), (Words{"created", "running", "aborting", "concluded"}));
}

// The end is reached also when there is no memory to tell of it.
TEST_F(JobRunTest, AFailureThatCannotBeToldEndsTheJob) {
  hook_throws_ = true;
  const Job job = Make({.pivot = [] { return Status(Fail(ErrorKind::kIo, "no")); }});
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(failures_, 1);
}

// Whoever looks while it counts sees no figure rather than a wrong one.
TEST_F(JobRunTest, AnEstimateHasNoFigureBeforeItsEnd) {
  std::atomic<int> done = 0;
  std::atomic<bool> go_on = false;
  const Job job = Make({.estimates = true, .process = [&](uint64_t, uint64_t length) {
                          if (done++ > 0) {
                            while (!go_on) std::this_thread::yield();
                          }
                          return ChunkResult(length);
                        }});
  job->Start();
  WaitFor([&] { return job->Info().total_progress > 0; }, "the first chunk");
  const auto early = nlohmann::json::parse(JobToJson(job->Info()));
  EXPECT_FALSE(early.contains("total-progress")) << early;
  EXPECT_EQ(early["dry-run"], true);
  go_on = true;
  job.WaitEnd();
  EXPECT_EQ(nlohmann::json::parse(JobToJson(job->Info()))["total-progress"], 1 << 20);
}

TEST_F(JobRunTest, ProgressGoesOnFromWhereThePreviousDaemonWas) {
  const auto shown = [](const Job& job) { return job->Info().current_progress; };
  const Job stopped = Make({.length = 1 << 30, .chunk = 1 << 20}, OnError::kReport, {.speed = 1});
  stopped->Start();
  WaitFor([&] { return shown(stopped) > 0; }, "progress");
  stopped->Stop();
  stopped->WaitStopped();
  const uint64_t before = shown(stopped);
  {
    MutexLock lock(stopped.trace->mu);
    ASSERT_FALSE(stopped.trace->saved.empty());
    EXPECT_EQ(stopped.trace->saved.back().progress, before);
    EXPECT_EQ(stopped.trace->saved.back().speed, 1u);
  }
  constexpr uint64_t kBefore = 768 << 10;
  const Job taken_up = Make({}, OnError::kReport, {.progress = kBefore});
  EXPECT_EQ(shown(taken_up), kBefore);
  taken_up->Start();
  uint64_t seen = kBefore;
  WaitFor(
      [&] {
        const uint64_t now = shown(taken_up);
        EXPECT_GE(now, seen);
        seen = now;
        return taken_up.status() == JobStatus::kConcluded;
      },
      "the end");
  taken_up.WaitEnd();
  EXPECT_EQ(shown(taken_up), 1u << 20);
  {
    MutexLock lock(taken_up.trace->mu);
    EXPECT_EQ(taken_up.trace->covered, 1u << 20);  // all of it is walked
  }
  // A disk does not shrink, but a record may lie.
  EXPECT_EQ(shown(Make({}, OnError::kReport, {.progress = UINT64_MAX})), 1u << 20);
}

}  // namespace
}  // namespace chainfs::jobs

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
  EXPECT_EQ(KindOf(job->Complete({})), ErrorKind::kInvalidArgument);
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
  ASSERT_TRUE(job->Complete({}));
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "ready", "BLOCK_JOB_READY", "waiting",
                               "pending", "BLOCK_JOB_COMPLETED", "concluded"}));
  EXPECT_EQ(job.trace->pivoted, 1);
  dirty_->Mark(0, kUnit);  // nobody listens any more
  EXPECT_EQ(KindOf(job->Complete({})), ErrorKind::kInvalidArgument);
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
  ASSERT_TRUE(job->Complete({}));
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
  ASSERT_TRUE(job->Complete({}));
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
  ASSERT_TRUE(job->Complete({}));
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

// ---- What only the work understands.

TEST_F(JobRunReadyTest, TheWorkHearsHowItIsToBeCompletedAndTheRecordKeepsIt) {
  std::atomic<int> heard = 0;
  const Job job = MakeReady({.verb = [&](const verbs::Arguments& arguments) -> Status {
    ++heard;
    if (arguments.Text("then") == "pivot") return {};
    return Fail(ErrorKind::kInvalidArgument, "no such end");
  }});
  EXPECT_EQ(KindOf(job->Complete({})), ErrorKind::kInvalidArgument);
  EXPECT_EQ(heard, 0);
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  EXPECT_EQ(job->Complete(verbs::Arguments().Set("then", "keep")).error().message, "no such end");
  EXPECT_EQ(job.status(), JobStatus::kReady);
  ASSERT_TRUE(job->Pause());
  job.WaitStatus(JobStatus::kStandby);
  ASSERT_TRUE(job->Complete(verbs::Arguments().Set("then", "pivot")));
  WaitFor(
      [&] {
        MutexLock lock(job.trace->mu);
        return !job.trace->saved.empty() && job.trace->saved.back().changed.Text("then") == "pivot";
      },
      "the record");
  ASSERT_TRUE(job->Resume());
  job.WaitEnd();
}

TEST_F(JobRunReadyTest, TheWorkHearsWhatIsToBeChanged) {
  const Job job = MakeReady({.verb = [](const verbs::Arguments& arguments) -> Status {
    if (arguments.Text("copy-mode") == "write-blocking") return {};
    return Fail(ErrorKind::kInvalidArgument, "not back again");
  }});
  ASSERT_TRUE(job->Change(verbs::Arguments().Set("copy-mode", "write-blocking")));
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  EXPECT_EQ(KindOf(job->Change(verbs::Arguments().Set("copy-mode", "background"))),
            ErrorKind::kInvalidArgument);
  job->Stop();
  job->WaitStopped();
  {
    MutexLock lock(job.trace->mu);
    ASSERT_FALSE(job.trace->saved.empty());
    EXPECT_EQ(job.trace->saved.back().changed,
              verbs::Arguments().Set("copy-mode", "write-blocking"));
  }
  EXPECT_EQ(KindOf(job->Change(verbs::Arguments().Set("copy-mode", "write-blocking"))),
            ErrorKind::kShutdown);
  EXPECT_EQ(KindOf(job->Complete({})), ErrorKind::kShutdown);
}

TEST_F(JobRunReadyTest, AnOrdinaryJobHasNothingToChange) {
  const Job job = MakeReady();
  EXPECT_EQ(KindOf(job->Change(verbs::Arguments().Set("copy-mode", "background"))),
            ErrorKind::kInvalidArgument);
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  EXPECT_EQ(job->Complete(verbs::Arguments().Set("then", "keep")).error().message,
            "this type of job has one end only; leave then= out");
  ASSERT_TRUE(job->Complete({}));
  job.WaitEnd();
  EXPECT_EQ(KindOf(job->Change({})), ErrorKind::kInvalidArgument);
}

TEST_F(JobRunReadyTest, EveryJobHasAPriorityToChange) {
  std::vector<verbs::Arguments> heard;
  const Job job = MakeReady({.verb = [&heard](const verbs::Arguments& arguments) -> Status {
    heard.push_back(arguments);
    if (arguments.Text("copy-mode") == "write-blocking") return {};
    return Fail(ErrorKind::kInvalidArgument, "not back again");
  }});
  const auto priority = [&job] { return job->Info().priority; };
  EXPECT_EQ(priority(), "normal");
  ASSERT_TRUE(job->Change(verbs::Arguments().Set("priority", "high")));
  EXPECT_EQ(priority(), "high");
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  EXPECT_TRUE(heard.empty()) << "the work has nothing to do with it";
  EXPECT_EQ(KindOf(job->Change(verbs::Arguments().Set("priority", "urgent"))),
            ErrorKind::kInvalidArgument);
  // All that is asked, or nothing.
  EXPECT_FALSE(
      job->Change(verbs::Arguments().Set("copy-mode", "background").Set("priority", "low")));
  EXPECT_EQ(priority(), "high");
  const auto both = verbs::Arguments().Set("copy-mode", "write-blocking").Set("priority", "low");
  ASSERT_TRUE(job->Change(both));
  EXPECT_EQ(priority(), "low");
  EXPECT_EQ(heard.back(), verbs::Arguments().Set("copy-mode", "write-blocking"));
  job->Stop();
  job->WaitStopped();
  MutexLock lock(job.trace->mu);
  ASSERT_FALSE(job.trace->saved.empty());
  EXPECT_EQ(job.trace->saved.back().changed.Text("priority"), "low") << "for the next daemon";
}

TEST_F(JobRunReadyTest, FactsOfItsTypeAreShownToTheLast) {
  std::atomic<bool> synced = false;
  const Job job = MakeReady({.facts = [&] {
    return JobFacts{{"target", "/a \"b\""}, {"actively-synced", synced.load()}, {"left", 5u}};
  }});
  synced = true;
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  ASSERT_TRUE(job->Complete({}));
  job.WaitEnd();
  synced = false;
  const auto json = nlohmann::json::parse(JobToJson(job->Info()));
  EXPECT_EQ(json["target"], "/a \"b\"");
  EXPECT_EQ(json["actively-synced"], true);
  EXPECT_EQ(json["left"], 5);
}

// ---- An end that must wait.

class JobRunEndWaitsTest : public JobRunReadyTest {
 protected:
  Script Waiting() {
    return {.end_waits = [this]() -> std::optional<Error> {
      if (!read_) return std::nullopt;
      return Error{ErrorKind::kBusy, 0, "vm1@b is open"};
    }};
  }
  std::atomic<bool> read_ = true;
};

TEST_F(JobRunEndWaitsTest, ItIsPausedWithTheReasonAndEndsByItself) {
  const Job job = Make(Waiting());
  job->Start();
  job.WaitStatus(JobStatus::kPaused);
  EXPECT_EQ(job->Info().error, "vm1@b is open");
  EXPECT_EQ(job->Info().io_status, "ok");
  EXPECT_EQ(failures_, 0);
  EXPECT_EQ(job.trace->settled, 0);
  read_ = false;
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
  EXPECT_EQ(Story(job), (Words{"created", "running", "paused", "running", "waiting", "pending",
                               "BLOCK_JOB_COMPLETED", "concluded"}));
}

TEST_F(JobRunEndWaitsTest, CancelNeedNotWait) {
  const Job job = Make(Waiting());
  job->Start();
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  EXPECT_EQ(job->Info().error, "cancelled");
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRunEndWaitsTest, WhoPausesItResumesIt) {
  const Job job = Make(Waiting());
  job->Start();
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Resume());  // looks again, and finds the same
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Pause());
  read_ = false;
  std::this_thread::sleep_for(700ms);
  EXPECT_EQ(job.status(), JobStatus::kPaused);
  ASSERT_TRUE(job->Resume());
  job.WaitEnd();
}

TEST_F(JobRunEndWaitsTest, AReadyJobStandsByWithWhatIsAddedMeanwhile) {
  const Job job = MakeReady(Waiting());
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  EXPECT_FALSE(job->Info().error.has_value());
  ASSERT_TRUE(job->Complete({}));
  job.WaitStatus(JobStatus::kStandby);
  dirty_->Mark(0, kUnit);
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(Progress(job), kSize);
  read_ = false;
  job.WaitEnd();
  EXPECT_EQ(Progress(job), kSize + kUnit);
}

TEST_F(JobRunEndWaitsTest, IsLeftToTheNextDaemonMeanwhile) {
  const Job job = Make(Waiting());
  job->Start();
  job.WaitStatus(JobStatus::kPaused);
  job->Stop();
  job->WaitStopped();
  EXPECT_EQ(job.trace->released, 0);
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
  ASSERT_TRUE(job->Complete({}));
  job.WaitEnd();
  EXPECT_EQ(job->Info().current_progress, job->Info().total_progress);
  EXPECT_EQ(job.trace->covered_bytes(), dirty_->total());
}

}  // namespace
}  // namespace chainfs::jobs

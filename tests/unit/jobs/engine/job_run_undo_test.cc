// SPDX-License-Identifier: Apache-2.0
//
// Work whose beginning must be taken back when the job does not end well.
#include "tests/unit/jobs/engine/job_run_fixture.h"

namespace chainfs::jobs {
namespace {

class JobRunUndoTest : public JobRunTest {
 protected:
  std::vector<std::string> Reasons(const Job& job) {
    MutexLock lock(job.trace->mu);
    return job.trace->undo_reasons;
  }
  // Fails until the test lets it succeed.
  Status TryUndo(const std::function<bool()>& stop) {
    if (stop()) return Fail(ErrorKind::kShutdown, "stopped");
    if (!mended_) return Fail(ErrorKind::kNoSpace, "full");
    return {};
  }
  Script Undoing() {
    return {.undo = [this](const std::function<bool()>& stop) { return TryUndo(stop); }};
  }
  std::atomic<bool> mended_ = false;
};

TEST_F(JobRunUndoTest, OneThatEndsWellIsNotUndone) {
  const Job job = Make(Undoing());
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job.trace->undone, 0);
  EXPECT_EQ(Reasons(job), Words{});
}

TEST_F(JobRunUndoTest, ACancelledOneIsUndoneBeforeItsRecordGoes) {
  mended_ = true;
  Script script = Undoing();
  script.length = 1 << 30;
  const Job job = Make(script, OnError::kReport, {.speed = 1});
  job->Start();
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  EXPECT_EQ(job.trace->undone, 1);
  EXPECT_EQ(Reasons(job), Words{""});
  EXPECT_EQ(job->Info().error, "cancelled");
}

TEST_F(JobRunUndoTest, SoIsOneThatFailsAlsoInItsPivot) {
  mended_ = true;
  Script script = Undoing();
  script.pivot = [] { return Status(Fail(ErrorKind::kIo, "no luck")); };
  const Job job = Make(script);
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job.trace->undone, 1);
  EXPECT_EQ(Reasons(job), Words{"no luck"});
  EXPECT_EQ(job->Info().error, "no luck");
}

TEST_F(JobRunUndoTest, WhatCannotBeTakenBackYetIsTriedAgain) {
  Script script = Undoing();
  script.dirty = std::make_shared<DirtySet>(1 << 20, kUnit);
  const Job job = Make(script);
  job->Start();
  job.WaitStatus(JobStatus::kReady);
  ASSERT_TRUE(job->Cancel());
  WaitFor([&] { return job->Info().error == "what it did cannot be taken back yet: full"; },
          "the reason");
  EXPECT_EQ(job.status(), JobStatus::kAborting);
  EXPECT_EQ(job->Info().io_status, "nospace");
  EXPECT_EQ(KindOf(job->Cancel()), ErrorKind::kInvalidArgument);
  const int tried = job.trace->undone;
  script.dirty->Mark(0, kUnit);  // a guest who writes does not make it try more often
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(job.trace->undone, tried);
  EXPECT_EQ(job.trace->removed, 0);
  mended_ = true;
  job.WaitEnd();
  EXPECT_EQ(job->Info().error, "cancelled");
  EXPECT_EQ(Story(job), (Words{"created", "running", "ready", "BLOCK_JOB_READY", "aborting",
                               "BLOCK_JOB_CANCELLED", "concluded"}));
}

TEST_F(JobRunUndoTest, IsLeftToTheNextDaemonMeanwhile) {
  Script script = Undoing();
  script.length = 1 << 30;
  const Job job = Make(script, OnError::kReport, {.speed = 1});
  job->Start();
  ASSERT_TRUE(job->Cancel());
  WaitFor([&] { return job.trace->undone > 0; }, "a try");
  job->Stop();
  job->WaitStopped();
  EXPECT_EQ(job.trace->removed, 0);
  EXPECT_EQ(job.trace->released, 0);
  EXPECT_EQ(job.trace->destroyed, 1);
}

TEST_F(JobRunUndoTest, TheNextDaemonOnlyUndoesIt) {
  mended_ = true;
  for (const char* reason : {"", "no luck"}) {
    Script script = Undoing();
    script.undoing = reason;
    const Job job = Make(script, OnError::kReport, {.paused = true});
    job->Start();
    job.WaitEnd();
    EXPECT_EQ(job.trace->processed, 0u);
    EXPECT_EQ(job.trace->pivoted, 0);
    EXPECT_EQ(job.trace->undone, 1);
    EXPECT_EQ(job->Info().error, *reason == 0 ? "cancelled" : reason);
    EXPECT_EQ(Reasons(job), Words{reason});
  }
}

}  // namespace
}  // namespace chainfs::jobs

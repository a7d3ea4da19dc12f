// SPDX-License-Identifier: Apache-2.0
//
// Every verb in every status that a job can stand in: accepted where the table says so, refused
// with a sentence elsewhere, and the job ends as it must afterwards.
#include "tests/unit/jobs/engine/job_run_fixture.h"

namespace chainfs::jobs {
namespace {

constexpr std::array kStands = {JobStatus::kCreated, JobStatus::kRunning,  JobStatus::kPaused,
                                JobStatus::kReady,   JobStatus::kStandby,  JobStatus::kWaiting,
                                JobStatus::kPending, JobStatus::kAborting, JobStatus::kConcluded};
constexpr std::array kGiven = {JobVerb::kCancel,   JobVerb::kPause,    JobVerb::kResume,
                               JobVerb::kSetSpeed, JobVerb::kComplete, JobVerb::kChange,
                               JobVerb::kDismiss};

class JobRunTableTest : public JobRunTest {
 protected:
  // Blocks where the job is to stand, until it is let go.
  void Hold(JobStatus where) {
    if (where != stand_) return;
    WaitFor([&] { return go_on_.load(); }, "the test to go on");
  }
  Script Holding() {
    Script script;
    script.length = 4 * kUnit;
    script.chunk = kUnit;
    const bool ready = stand_ == JobStatus::kReady || stand_ == JobStatus::kStandby;
    if (ready) script.dirty = std::make_shared<DirtySet>(script.length, kUnit);
    script.process = [this](uint64_t, uint64_t length) -> ChunkResult {
      Hold(JobStatus::kRunning);
      return length;
    };
    script.settle = [this] {
      Hold(JobStatus::kWaiting);
      return Status();
    };
    script.pivot = [this] {
      Hold(JobStatus::kPending);
      return Status();
    };
    script.undo = [this](const std::function<bool()>& /*stop*/) {
      Hold(JobStatus::kAborting);
      return Status();
    };
    script.verb = [](const verbs::Arguments& /*arguments*/) { return Status(); };
    return script;
  }
  Job StandIn(JobStatus status) {
    stand_ = status;
    go_on_ = false;
    const Job job = Make(Holding());
    if (status == JobStatus::kCreated) return job;
    if (status == JobStatus::kPaused || status == JobStatus::kAborting) {
      EXPECT_TRUE(status == JobStatus::kPaused ? job->Pause() : job->Cancel());
    }
    job->Start();
    if (status == JobStatus::kStandby) {
      job.WaitStatus(JobStatus::kReady);
      EXPECT_TRUE(job->Pause());
    }
    job.WaitStatus(status);
    return job;
  }
  static Status Give(const Job& job, JobVerb verb) {
    switch (verb) {
      case JobVerb::kCancel:
        return job->Cancel();
      case JobVerb::kPause:
        return job->Pause();
      case JobVerb::kResume:
        return job->Resume();
      case JobVerb::kSetSpeed:
        return job->SetSpeed(1 << 30);
      case JobVerb::kComplete:
        return job->Complete({});
      case JobVerb::kChange:
        return job->Change({});
      default:
        return job->CheckDismiss();
    }
  }
  // Besides the table: what is done already cannot be done again, and a pivot cannot be taken back.
  static bool Accepted(JobVerb verb, JobStatus status) {
    const bool still = status == JobStatus::kPaused || status == JobStatus::kStandby;
    if (verb == JobVerb::kPause && still) return false;
    if (verb == JobVerb::kResume && !still) return false;
    if (verb == JobVerb::kCancel && status == JobStatus::kPending) return false;
    return JobVerbAllowed(verb, status);
  }
  // Whatever was asked of it, it can be brought to its end.
  void End(const Job& job) {
    go_on_ = true;
    job->Start();
    WaitFor(
        [&] {
          (void)job->Resume();
          (void)job->Cancel();
          return job.status() == JobStatus::kConcluded;
        },
        "the end");
    job.WaitEnd();
  }

  std::atomic<JobStatus> stand_ = JobStatus::kUndefined;
  std::atomic<bool> go_on_ = false;
};

TEST_F(JobRunTableTest, EveryVerbInEveryStatus) {
  for (const JobStatus status : kStands) {
    for (const JobVerb verb : kGiven) {
      SCOPED_TRACE(std::string(JobVerbName(verb)) + " in " + std::string(JobStatusName(status)));
      const Job job = StandIn(status);
      ASSERT_EQ(job.status(), status);
      const Status given = Give(job, verb);
      EXPECT_EQ(given.has_value(), Accepted(verb, status))
          << (given ? "accepted" : given.error().message);
      if (!given) {
        EXPECT_EQ(given.error().kind, ErrorKind::kInvalidArgument);
        EXPECT_TRUE(given.error().message.starts_with(job->id())) << given.error().message;
        EXPECT_EQ(job.status(), status) << "a refusal changes nothing";
      }
      End(job);
    }
  }
}

TEST_F(JobRunTableTest, AnAcceptedVerbDoesWhatItSays) {
  for (const JobStatus status : {JobStatus::kCreated, JobStatus::kRunning, JobStatus::kPaused,
                                 JobStatus::kReady, JobStatus::kStandby, JobStatus::kWaiting}) {
    SCOPED_TRACE(JobStatusName(status));
    const Job cancelled = StandIn(status);
    ASSERT_TRUE(cancelled->Cancel());
    go_on_ = true;
    cancelled.WaitEnd();
    EXPECT_TRUE(cancelled->Info().cancelled);
    EXPECT_EQ(cancelled.trace->pivoted, 0);
    EXPECT_EQ(cancelled.trace->undone, 1);
  }
  for (const JobStatus status : {JobStatus::kReady, JobStatus::kStandby}) {
    SCOPED_TRACE(JobStatusName(status));
    const Job completed = StandIn(status);
    ASSERT_TRUE(completed->Complete({}));
    if (status == JobStatus::kStandby) {
      ASSERT_TRUE(completed->Resume());
    }
    completed.WaitEnd();
    EXPECT_EQ(completed.trace->pivoted, 1);
    EXPECT_EQ(completed.trace->undone, 0);
  }
}

}  // namespace
}  // namespace chainfs::jobs

// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_state.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

class JobStateTest : public testing::Test {
 protected:
  void Run() {
    state_.Set(JobStatus::kCreated);
    state_.Set(JobStatus::kRunning);
  }
  std::string ErrorShown() {
    JobInfo info;
    state_.Describe(info);
    return info.error.value_or("");
  }

  EventLog log_;
  const JobEvents events_{log_, {.id = "j", .type = "toy", .disk = "vm"}};
  JobState state_{events_, "j", false};
};

TEST_F(JobStateTest, AVerbIsRefusedWithItsReason) {
  Run();
  EXPECT_EQ(state_.Resume().error().message, "j is not paused");
  ASSERT_TRUE(state_.Pause());
  EXPECT_EQ(state_.Pause().error().message, "j is already paused");
  EXPECT_EQ(state_.CheckComplete().error().message,
            "j is running; a job in this state takes no \"complete\"");
  ASSERT_TRUE(state_.Cancel());
  state_.BeginEnd();
  EXPECT_EQ(state_.Cancel().error().message, "j has already finished");
  EXPECT_EQ(ErrorShown(), "cancelled");
}

TEST_F(JobStateTest, WhoStandsStillGoesOnInTheSameStatus) {
  Run();
  ASSERT_TRUE(state_.Pause());
  state_.StandStill();
  EXPECT_EQ(state_.status(), JobStatus::kPaused);
  ASSERT_TRUE(state_.Resume());
  state_.GoOn();
  EXPECT_TRUE(state_.BecomeReady());
  EXPECT_FALSE(state_.BecomeReady());
  ASSERT_TRUE(state_.Pause());
  state_.StandStill();
  EXPECT_EQ(state_.status(), JobStatus::kStandby);
  EXPECT_FALSE(state_.MayWork());
  ASSERT_TRUE(state_.CheckComplete());
  state_.Complete();
  EXPECT_TRUE(state_.completed());
  state_.GoOn();
  EXPECT_EQ(state_.status(), JobStatus::kReady);
}

TEST_F(JobStateTest, TheFirstErrorIsTheJobs) {
  Run();
  state_.Ignore({ErrorKind::kIo, 5, "first"});
  state_.Ignore({ErrorKind::kIo, 5, "second"});
  EXPECT_TRUE(state_.MayWork());
  state_.WorkDone();
  state_.Fail({ErrorKind::kIo, 5, "third"});
  EXPECT_FALSE(state_.MayWork());
  state_.BeginEnd();
  EXPECT_EQ(state_.status(), JobStatus::kAborting);
  EXPECT_EQ(ErrorShown(), "first");
}

TEST_F(JobStateTest, AnErrorThatItWaitsForIsShownUntilResume) {
  Run();
  EXPECT_TRUE(state_.PauseFor({ErrorKind::kNoSpace, 28, "full"}));
  EXPECT_FALSE(state_.PauseFor({ErrorKind::kNoSpace, 28, "still full"}));
  JobInfo info;
  state_.Describe(info);
  EXPECT_EQ(info.io_status, "nospace");
  EXPECT_EQ(info.error, "still full");
  ASSERT_TRUE(state_.Resume());
  EXPECT_EQ(ErrorShown(), "");
}

TEST_F(JobStateTest, CancelIsForBeforeThePivot) {
  Run();
  state_.BeginEnd();
  EXPECT_EQ(state_.status(), JobStatus::kWaiting);
  ASSERT_TRUE(state_.BeginPivot());
  EXPECT_EQ(state_.Cancel().error().message, "j is about to finish and can no longer be cancelled");
}

TEST_F(JobStateTest, ACancelDuringTheLastFlushStopsThePivot) {
  Run();
  state_.BeginEnd();
  ASSERT_TRUE(state_.Cancel());
  EXPECT_FALSE(state_.BeginPivot());
  EXPECT_EQ(state_.status(), JobStatus::kAborting);
}

TEST_F(JobStateTest, NoStatusFollowsAnotherOutsideTheTable) {
  EXPECT_DEATH(state_.Set(JobStatus::kConcluded), "");
}

}  // namespace
}  // namespace chainfs::jobs

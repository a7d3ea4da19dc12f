// SPDX-License-Identifier: Apache-2.0
//
// Mirrors that another daemon takes up.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/jobs/mirror/mirror_fixture.h"

namespace chainfs::jobs {
namespace {

class MirrorResumeTest : public MirrorFixture {
 protected:
  void SetUp() override {
    MakeFive();
    OpenAll();
    BeginGuest("e");
  }
  std::string Ready(const Pairs& more = {}) {
    Pairs words = {{"target", "copy.qcow2"}};
    words.insert(words.end(), more.begin(), more.end());
    const std::string id = Mirror("e", words);
    WaitStatus("e", id, JobStatus::kReady);
    return id;
  }
};

TEST_F(MirrorResumeTest, CopiesOnlyWhatMayDiffer) {
  const std::string id = Ready();
  Write(3 * kMiB, 4096, 42);
  EndAll();
  OpenAll();
  EXPECT_EQ(catalog_->Find("copy"), nullptr) << "it is still a target";
  EXPECT_EQ(Records("intent-").size(), 1u);
  guest_ = Disk("e");
  jobs_->ResumeRecorded();
  // A region that is marked has 128 KiB here.
  EXPECT_LE(WaitStatus("e", id, JobStatus::kReady).copied, kMiB);
  Write(7 * kMiB, 4096, 43);
  Complete("e", id, "pivot");
  ExpectGuestSees("e");
  EndAll();
  ExpectOnDisk("copy.qcow2");
}

// A daemon that is killed at the end of a job may leave the log without the record of the job.
TEST_F(MirrorResumeTest, ALogWithoutItsJobGoes) {
  const std::string id = Ready();
  EndAll();
  ASSERT_TRUE(std::filesystem::copy_file(At(".chainfs/intent-" + id), At(".chainfs/intent-gone")));
  OpenAll();
  jobs_->ResumeRecorded();
  const std::vector<std::string> left = Records("intent-");
  EXPECT_EQ(left, std::vector<std::string>{"intent-" + id});
  WaitStatus("e", id, JobStatus::kReady);
  EXPECT_TRUE(jobs_->Cancel(Disk("e"), id));
  EndAll();
}

// Guests may be quicker than whoever takes the job up; then no mark tells of it.
TEST_F(MirrorResumeTest, CopiesAllWhenTheDiskWasWrittenUnseen) {
  const std::string id = Ready();
  EndAll();
  OpenAll();
  guest_ = Disk("e");
  Write(6 * kMiB, kMiB, 44);
  jobs_->ResumeRecorded();
  EXPECT_GT(WaitStatus("e", id, JobStatus::kReady).copied, 4 * kMiB);
  Complete("e", id, "keep");
  EndAll();
  ExpectOnDisk("copy.qcow2");
}

// The same across a daemon that could not take it up.
TEST_F(MirrorResumeTest, CopiesAllAfterADaemonThatCouldNotTakeItUp) {
  const std::string id = Ready();
  EndAll();
  std::filesystem::rename(At("copy.qcow2"), At("away"));
  OpenAll();
  guest_ = Disk("e");
  jobs_->ResumeRecorded();
  const auto waiting = jobs_->Find("e", id);
  ASSERT_TRUE(waiting);
  EXPECT_EQ(waiting->status, JobStatus::kWaiting);
  EXPECT_NE(waiting->error.value_or("").find("copy.qcow2"), std::string::npos);
  Write(6 * kMiB, kMiB, 45);
  EndAll();
  std::filesystem::rename(At("away"), At("copy.qcow2"));
  OpenAll();
  guest_ = Disk("e");
  jobs_->ResumeRecorded();
  EXPECT_GT(WaitStatus("e", id, JobStatus::kReady).copied, 4 * kMiB);
  Complete("e", id, "pivot");
  ExpectGuestSees("e");
}

TEST_F(MirrorResumeTest, AnotherFileOfTheTargetsNameIsLeftAlone) {
  const std::string id = Ready();
  EndAll();
  std::filesystem::remove(At("copy.qcow2"));
  Create("spare.qcow2", 8 * kMiB);
  Create("copy.qcow2", 8 * kMiB);
  Io("copy.qcow2", {"write -P 9 0 1M"});
  OpenAll();
  jobs_->ResumeRecorded();
  const auto waiting = jobs_->Find("e", id);
  ASSERT_TRUE(waiting);
  EXPECT_EQ(waiting->status, JobStatus::kWaiting);
  ASSERT_TRUE(jobs_->Dismiss(Disk("e"), id));
  EndAll();
  Io("copy.qcow2", {"read -P 9 0 1M"});
}

TEST_F(MirrorResumeTest, WhatIsCompletedGoesOnToItsEnd) {
  const std::string id = Ready({{"speed", "1"}, {"sync", "none"}});
  Write(0, kMiB, 46);
  EndAll();
  OpenAll();
  guest_ = Disk("e");
  jobs_->ResumeRecorded();
  ASSERT_TRUE(jobs_->SetSpeed(guest_, id, 0));
  WaitStatus("e", id, JobStatus::kReady);
  Complete("e", id, "pivot");
  EXPECT_EQ(ChainOf("e").front(), "copy.qcow2");
  ExpectGuestSees("e");
}

}  // namespace
}  // namespace chainfs::jobs

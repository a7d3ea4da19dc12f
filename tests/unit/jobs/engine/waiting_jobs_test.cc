// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/waiting_jobs.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

class WaitingJobsTest : public testing::Test {
 protected:
  RecordStore::Record Add(const std::string& id, const std::string& disk) {
    RecordStore::Record record{
        .source = "/s",
        .name = JobRecordName(id),
        .contents = FormatJobRecord({.id = id, .type = "toy", .disk = disk})};
    jobs_.Add(WaitingJobs::Make(record));
    return record;
  }

  WaitingJobs jobs_;
};

TEST_F(WaitingJobsTest, AreFoundByDiskAndId) {
  Add("a1", "a");
  Add("b1", "b");
  jobs_.Add(WaitingJobs::Make({.source = "/s", .name = "job-x", .contents = "nonsense"}));
  EXPECT_EQ(jobs_.Find("b", "")->id, "b1");
  EXPECT_EQ(jobs_.Find("a", "b1"), nullptr);
  EXPECT_EQ(jobs_.Find("", "x")->Info().type, "unknown");
  EXPECT_EQ(jobs_.Infos("a").size(), 1u);
  EXPECT_EQ(jobs_.Infos("").size(), 3u);
  EXPECT_TRUE(jobs_.Has("x"));
}

TEST_F(WaitingJobsTest, ARecordOfAnotherNameMakesNoSense) {
  const WaitingJob job =
      WaitingJobs::Make({.source = "/s",
                         .name = "job-other",
                         .contents = FormatJobRecord({.id = "this", .type = "toy", .disk = "a"})});
  ASSERT_FALSE(job.contents);
  EXPECT_EQ(job.contents.error().message, "it is about another job, this");
}

TEST_F(WaitingJobsTest, ARoundTakesEachOnce) {
  const auto first = Add("j1", "a");
  Add("j2", "a");
  const uint64_t round = jobs_.NextRound();
  EXPECT_EQ(jobs_.TakeNext(round)->name, "job-j1");
  EXPECT_EQ(jobs_.in_hand(), 1u);
  EXPECT_EQ(jobs_.TakeNamed("a", "j1"), nullptr);  // in hand
  EXPECT_EQ(jobs_.TakeNext(round)->name, "job-j2");
  EXPECT_EQ(jobs_.TakeNext(round), nullptr);
  EXPECT_FALSE(jobs_.PutDown(first));
  EXPECT_EQ(jobs_.in_hand(), 1u);
}

TEST_F(WaitingJobsTest, WhoHasOneInHandLooksAgainForWhoCameUponIt) {
  const auto record = Add("j1", "a");
  ASSERT_NE(jobs_.TakeNamed("a", "j1"), nullptr);
  EXPECT_EQ(jobs_.TakeNext(jobs_.NextRound()), nullptr);
  EXPECT_TRUE(jobs_.PutDown(record));
  EXPECT_NE(jobs_.TakeNext(jobs_.NextRound()), nullptr);
  jobs_.Erase(record);
  EXPECT_FALSE(jobs_.PutDown(record));
  EXPECT_EQ(jobs_.in_hand(), 0u);
}

TEST_F(WaitingJobsTest, AReasonIsNewOnce) {
  const auto record = Add("j1", "a");
  EXPECT_TRUE(jobs_.SetReason(record, "busy"));
  EXPECT_FALSE(jobs_.SetReason(record, "busy"));
  EXPECT_TRUE(jobs_.SetReason(record, "gone"));
  EXPECT_EQ(jobs_.Find("a", "j1")->Info().error, "waiting to be taken up: gone");
}

}  // namespace
}  // namespace chainfs::jobs

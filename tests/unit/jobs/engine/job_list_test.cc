// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_list.h"

#include <gtest/gtest.h>

#include "jobs/engine/finished_command.h"

namespace chainfs::jobs {
namespace {

class JobListTest : public testing::Test {
 protected:
  uint64_t Add(const std::string& disk, const std::string& id, bool accepted = true) {
    auto entry = std::make_unique<JobEntry>();
    entry->id = id;
    entry->disk = disk;
    entry->queues = true;
    if (accepted) entry->job = std::make_shared<FinishedCommand>(id, "toy", disk, 0);
    return list_.Add(std::move(entry));
  }
  std::vector<std::string> Shown(std::string_view disk) {
    std::vector<std::string> ids;
    for (const auto& job : list_.Shown(disk)) ids.push_back(job->id());
    return ids;
  }

  JobList list_;
};

TEST_F(JobListTest, OnlyAcceptedOnesAreShownNewestFirst) {
  Add("a", "1");
  Add("b", "2");
  const uint64_t reserved = Add("a", "3", false);
  Add("a", "4");
  EXPECT_EQ(Shown(""), (std::vector<std::string>{"4", "2", "1"}));
  EXPECT_EQ(Shown("a"), (std::vector<std::string>{"4", "1"}));
  EXPECT_EQ(list_.Newest("b", "")->id(), "2");
  EXPECT_EQ(list_.Newest("b", "1"), nullptr);
  EXPECT_TRUE(list_.Has("3"));  // its id is taken all the same
  EXPECT_NE(list_.Remove(reserved), nullptr);
  EXPECT_EQ(list_.Remove(reserved), nullptr);
  EXPECT_FALSE(list_.Has("3"));
  list_.Of(1)->dismissed = true;
  EXPECT_EQ(Shown("a"), std::vector<std::string>{"4"});
  EXPECT_FALSE(list_.Has("1")) << "also before its thread has told that it has concluded";
}

TEST_F(JobListTest, PlacesAreTakenOnceAndOldestFirst) {
  Add("a", "1");
  Add("a", "2", false);
  Add("a", "3");
  Add("a", "4");
  EXPECT_EQ(list_.queued(), 4u);
  const auto first = list_.TakePlaces(2);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0]->id(), "1");
  EXPECT_EQ(first[1]->id(), "3");
  EXPECT_TRUE(list_.TakePlaces(2).empty());
  EXPECT_EQ(list_.queued(), 2u);
  list_.Of(1)->concluded = true;
  ASSERT_EQ(list_.TakePlaces(2).size(), 1u);
}

TEST_F(JobListTest, PlacesGoToTheHighestPriorityFirst) {
  list_.Of(Add("a", "low"))->priority = Priority::kLow;
  Add("a", "first");
  list_.Of(Add("a", "high"))->priority = Priority::kHigh;
  Add("a", "second");
  std::vector<std::string> order;
  for (size_t places = 1; places <= 4; ++places) {
    for (const auto& job : list_.TakePlaces(places)) order.push_back(job->id());
  }
  EXPECT_EQ(order, (std::vector<std::string>{"high", "first", "second", "low"}));
}

TEST_F(JobListTest, TheHistoryOfEachDiskIsLimited) {
  for (size_t i = 0; i < JobList::kHistory + 3; ++i) {
    list_.Of(Add("a", "a" + std::to_string(i)))->concluded = true;
    list_.Of(Add("b", "b" + std::to_string(i)))->concluded = true;
  }
  Add("a", "runs");
  list_.Trim("a", false);
  EXPECT_EQ(Shown("a").size(), JobList::kHistory + 1);
  EXPECT_EQ(Shown("a").back(), "a3");
  EXPECT_EQ(Shown("b").size(), JobList::kHistory + 3);
}

}  // namespace
}  // namespace chainfs::jobs

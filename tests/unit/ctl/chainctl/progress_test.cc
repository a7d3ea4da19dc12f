// SPDX-License-Identifier: Apache-2.0
//
// The progress line: right numbers, never wider than the terminal, never 100% too early.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/progress_bar.h"

namespace chainfs::chainctl {
namespace {

JobReport Running() {
  JobReport job;
  job.id = "j2";
  job.type = "stream";
  job.status = "running";
  job.current = uint64_t{1200} << 20;
  job.total = uint64_t{2900} << 20;
  job.rate = 180 << 20;
  job.eta = 9;
  return job;
}

TEST(ProgressLineTest, SaysBytesPercentRateEta) {
  EXPECT_EQ(FormatProgress(Running(), 60),
            "stream j2   41.4%  1.2 GiB/2.8 GiB  180 MiB/s  eta 0:09");
}

TEST(ProgressLineTest, HasABarWhereThereIsRoom) {
  const std::string line = FormatProgress(Running(), 120);
  EXPECT_NE(line.find("[############------------------]"), std::string::npos) << line;
}

TEST(ProgressLineTest, NeverWiderThanAsked) {
  for (size_t width = 0; width < 130; ++width) {
    EXPECT_LE(FormatProgress(Running(), width).size(), width);
  }
}

TEST(ProgressLineTest, NamesAStateThatIsNotRunning) {
  JobReport job = Running();
  job.status = "paused";
  const std::string line = FormatProgress(job, 200);
  EXPECT_NE(line.find("paused"), std::string::npos) << line;
  EXPECT_EQ(line.find("eta"), std::string::npos) << line;
}

TEST(PercentTest, HundredOnlyWhenAllIsDone) {
  JobReport job = Running();
  job.total = 1'000'000;
  job.current = 999'999;
  EXPECT_LT(job.percent(), 99.95);
  job.current = job.total;
  EXPECT_EQ(job.percent(), 100.0);
}

TEST(PercentTest, NothingToDo) {
  JobReport job = Running();
  job.current = job.total = 0;
  EXPECT_EQ(job.percent(), 0.0);
  job.status = "concluded";
  EXPECT_EQ(job.percent(), 100.0);
  job.error = "x";
  EXPECT_EQ(job.percent(), 0.0);
}

TEST(JobReportTest, ReadsTheDaemonsObject) {
  const JobReport job = JobFromJson(nlohmann::json::parse(
      R"({"id":"s1","type":"stream","disk":"vm1","status":"concluded","current-progress":5,)"
      R"("total-progress":10,"speed":3,"rate":2,"eta":null,)"
      R"("error":"bad\u001b[2J","cancelled":true})"));
  EXPECT_EQ(job.id, "s1");
  EXPECT_EQ(job.disk, "vm1");
  EXPECT_TRUE(job.concluded());
  EXPECT_TRUE(job.cancelled);
  EXPECT_EQ(job.current, 5U);
  EXPECT_EQ(job.total, 10U);
  EXPECT_FALSE(job.eta.has_value());
  EXPECT_EQ(job.error, "bad?[2J");  // no escape sequence reaches a terminal
}

TEST(JobReportTest, ToleratesWhatIsMissingOrOdd) {
  const JobReport job = JobFromJson(nlohmann::json::parse(R"({"id":5,"total-progress":"many"})"));
  EXPECT_EQ(job.id, "");
  EXPECT_EQ(job.total, 0U);
  EXPECT_FALSE(job.concluded());
}

}  // namespace
}  // namespace chainfs::chainctl

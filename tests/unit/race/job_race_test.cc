// SPDX-License-Identifier: Apache-2.0
//
// A cancel against the end of a job: it is accepted and the job does not pivot, or refused and the
// job ends well; never accepted by a job that pivots.
#include <gtest/gtest.h>

#include "blocklayer/base/sync_point.h"
#include "tests/unit/jobs/engine/job_run_fixture.h"

namespace chainfs::jobs {
namespace {

using JobRaceTest = JobRunTest;

TEST_F(JobRaceTest, ACancelAfterSettlingKeepsTheJobFromPivoting) {
  const Job job = Make({});
  const SyncPointHook hook("JobRun.SettleAndPivot.settled", [&] { EXPECT_TRUE(job->Cancel()); });
  job->Start();
  job.WaitEnd();
  EXPECT_TRUE(job->Info().cancelled);
  EXPECT_EQ(job.trace->settled, 1);
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRaceTest, ACancelOnceThePivotIsDecidedIsRefused) {
  const Job job = Make({});
  const SyncPointHook hook("JobRun.SettleAndPivot.decided",
                           [&] { EXPECT_EQ(KindOf(job->Cancel()), ErrorKind::kInvalidArgument); });
  job->Start();
  job.WaitEnd();
  EXPECT_FALSE(job->Info().cancelled);
  EXPECT_FALSE(job->Info().error.has_value());
  EXPECT_EQ(job.trace->pivoted, 1);
}

}  // namespace
}  // namespace chainfs::jobs

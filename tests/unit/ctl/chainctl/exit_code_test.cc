// SPDX-License-Identifier: Apache-2.0
//
// Exit codes are an interface: scripts branch on them.
#include "ctl/chainctl/exit_code.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "ctl/chainctl/job_report.h"

namespace chainfs::chainctl {
namespace {

ExitCode CodeOf(int saved_errno) { return ExitCodeFor(FailMounted(saved_errno, "x").error()); }

TEST(ExitCodeTest, ErrnosOfTheMount) {
  EXPECT_EQ(CodeOf(EBUSY), ExitCode::kRefused);
  EXPECT_EQ(CodeOf(ECANCELED), ExitCode::kRefused);
  EXPECT_EQ(CodeOf(EEXIST), ExitCode::kRefused);
  EXPECT_EQ(CodeOf(ENOTCONN), ExitCode::kNotChainfs);
  EXPECT_EQ(CodeOf(ECONNABORTED), ExitCode::kNotChainfs);
  EXPECT_EQ(CodeOf(ESHUTDOWN), ExitCode::kNotChainfs);
  EXPECT_EQ(CodeOf(ENODATA), ExitCode::kNotChainfs);
  EXPECT_EQ(CodeOf(EPERM), ExitCode::kNotPermitted);
  EXPECT_EQ(CodeOf(EACCES), ExitCode::kNotPermitted);
  for (const int other : {EINVAL, ENOENT, ESRCH, EROFS, ENOSPC, EIO, EOPNOTSUPP, E2BIG}) {
    EXPECT_EQ(CodeOf(other), ExitCode::kFailed) << other;
  }
}

TEST(ExitCodeTest, OurOwnRefusalOfAnArgumentIsUsage) {
  EXPECT_EQ(ExitCodeFor(Fail(ErrorKind::kInvalidArgument, "x").error()), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeFor(Fail(ErrorKind::kExists, "x").error()), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeFor(Fail(ErrorKind::kIo, "x").error()), ExitCode::kFailed);
}

TEST(ExitCodeTest, HowAJobEnded) {
  JobReport job;
  job.status = "running";
  EXPECT_EQ(ExitCodeOf(job), ExitCode::kStillRunning);
  job.status = "concluded";
  EXPECT_EQ(ExitCodeOf(job), ExitCode::kDone);
  job.error = "no space";
  EXPECT_EQ(ExitCodeOf(job), ExitCode::kFailed);
  job.error = "cancelled";
  job.cancelled = true;
  EXPECT_EQ(ExitCodeOf(job), ExitCode::kCancelled);
}

TEST(ExitCodeTest, NumbersAreFixed) {
  EXPECT_EQ(static_cast<int>(ExitCode::kDone), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::kFailed), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kCancelled), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kStillRunning), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kRefused), 5);
  EXPECT_EQ(static_cast<int>(ExitCode::kNotChainfs), 6);
  EXPECT_EQ(static_cast<int>(ExitCode::kNotPermitted), 7);
}

}  // namespace
}  // namespace chainfs::chainctl

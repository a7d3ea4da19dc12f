// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/job_id.h"

#include <gtest/gtest.h>

#include "ctl/verbs/job_id.h"

namespace chainfs::chainctl {
namespace {

TEST(NewJobIdTest, MadeIdsAreLegalAndDistinct) {
  const std::string first = NewJobId("stream");
  EXPECT_TRUE(verbs::IsLegalJobId(first)) << first;
  EXPECT_NE(first, NewJobId("stream"));
}

}  // namespace
}  // namespace chainfs::chainctl

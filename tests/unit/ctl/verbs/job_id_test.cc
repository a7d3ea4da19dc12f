// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/job_id.h"

#include <gtest/gtest.h>

#include <string>

namespace chainfs::verbs {
namespace {

TEST(JobIdTest, LettersThenLettersDigitsAndThreeMarks) {
  for (const std::string& id : {std::string("a"), std::string("Z"), std::string("stream-1"),
                                std::string("Job_1.x-2"), std::string(128, 'x')}) {
    EXPECT_TRUE(IsLegalJobId(id)) << id;
    EXPECT_TRUE(CheckJobId(id)) << id;
  }
  for (const std::string& id :
       {std::string(), std::string("1a"), std::string("a b"), std::string("a,b"), std::string("-a"),
        std::string("a/b"), std::string("\xc3\xa4"), std::string(129, 'a')}) {
    EXPECT_FALSE(IsLegalJobId(id)) << id;
    EXPECT_EQ(CheckJobId(id).error().kind, ErrorKind::kInvalidArgument) << id;
  }
}

}  // namespace
}  // namespace chainfs::verbs

// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/on_error.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

const Error kFull{ErrorKind::kNoSpace, 28, "full"};
const Error kBroken{ErrorKind::kIo, 5, "broken"};

TEST(OnErrorPolicy, EveryWordIsThatOfItsPolicy) {
  for (const OnError policy :
       {OnError::kReport, OnError::kIgnore, OnError::kStop, OnError::kEnospc}) {
    EXPECT_EQ(ParseOnError(OnErrorName(policy)).value(), policy);
  }
  EXPECT_EQ(ParseOnError("panic").error().message,
            "on-error=panic is not one of report, ignore, stop, enospc");
}

TEST(OnErrorPolicy, TheActionIsThatOfQemu) {
  EXPECT_EQ(ActionOn(OnError::kReport, kFull), ErrorAction::kReport);
  EXPECT_EQ(ActionOn(OnError::kIgnore, kFull), ErrorAction::kIgnore);
  EXPECT_EQ(ActionOn(OnError::kStop, kBroken), ErrorAction::kStop);
  EXPECT_EQ(ActionOn(OnError::kEnospc, kFull), ErrorAction::kStop);
  EXPECT_EQ(ActionOn(OnError::kEnospc, kBroken), ErrorAction::kReport);
  EXPECT_EQ(ErrorActionName(ErrorAction::kReport), "report");
  EXPECT_EQ(ErrorActionName(ErrorAction::kIgnore), "ignore");
  EXPECT_EQ(ErrorActionName(ErrorAction::kStop), "stop");
  EXPECT_EQ(IoStatusName(kFull), "nospace");
  EXPECT_EQ(IoStatusName(kBroken), "failed");
}

}  // namespace
}  // namespace chainfs::jobs

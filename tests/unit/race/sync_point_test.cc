// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/sync_point.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(SyncPoint, CallsItsHookWhileThatLives) {
  int passed = 0;
  CHAINFS_SYNC_POINT("test.here");
  {
    const SyncPointHook hook("test.here", [&] { ++passed; });
    CHAINFS_SYNC_POINT("test.here");
    CHAINFS_SYNC_POINT("test.elsewhere");
    EXPECT_EQ(passed, 1);
  }
  CHAINFS_SYNC_POINT("test.here");
  EXPECT_EQ(passed, 1);
}

}  // namespace
}  // namespace chainfs

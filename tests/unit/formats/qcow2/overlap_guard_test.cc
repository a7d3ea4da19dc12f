// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/overlap_guard.h"

#include <gtest/gtest.h>

namespace chainfs::qcow2 {
namespace {

TEST(OverlapGuardTest, KnowsWhatHoldsMetadata) {
  OverlapGuard guard;
  EXPECT_FALSE(guard.Holds(0, 1000));
  guard.Add(10, 3);
  EXPECT_TRUE(guard.Holds(12, 1));
  EXPECT_TRUE(guard.Holds(0, 11));
  EXPECT_FALSE(guard.Holds(0, 10));
  EXPECT_FALSE(guard.Holds(13, 5));
  guard.Remove(10, 2);
  EXPECT_FALSE(guard.Holds(10, 2));
  EXPECT_TRUE(guard.Holds(12, 1));
}

TEST(OverlapGuardTest, WhatIsLearntTakesThePlaceOfAllElse) {
  OverlapGuard guard;
  guard.Add(10, 3);
  uint64_t overlap = 0;
  guard.Reset(*ClusterSet::Make({{.first = 20, .count = 1}}, overlap));
  EXPECT_FALSE(guard.Holds(10, 3));
  EXPECT_TRUE(guard.Holds(20, 1));
}

}  // namespace
}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/cut_count.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(CutCount, OneThatBeganBeforeOrAfterTheLookIsSeen) {
  CutCount cuts;
  const uint64_t before = cuts.Get();
  EXPECT_FALSE(cuts.AnySince(before));
  {
    const CutCount::Cut cut(cuts);
    EXPECT_TRUE(cuts.AnySince(before));
    EXPECT_TRUE(cuts.AnySince(cuts.Get()));
  }
  EXPECT_TRUE(cuts.AnySince(before));
  EXPECT_FALSE(cuts.AnySince(cuts.Get()));
}

TEST(CutCount, OneThatEndedAfterTheLookIsSeen) {
  CutCount cuts;
  uint64_t during = 0;
  {
    const CutCount::Cut cut(cuts);
    during = cuts.Get();
  }
  EXPECT_TRUE(cuts.AnySince(during));
}

}  // namespace
}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/reference_counts.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/random.h"

namespace chainfs::qcow2 {
namespace {

TEST(ReferenceCountsTest, CountsLikeAMap) {
  Random random(7);
  ReferenceCounts counts(uint64_t{1} << 54, 8u << 20);
  std::map<uint64_t, uint32_t> model;
  for (int i = 0; i < 50'000; ++i) {
    // Near each other, and in few places of a space that is far too large to be held.
    const uint64_t cluster = (random.Below(20) << 49) + random.Below(9'000);
    ASSERT_TRUE(counts.Add(cluster));
    ++model[cluster];
  }
  std::map<uint64_t, bool> blocks;
  for (const auto& [cluster, count] : model) {
    ASSERT_EQ(counts.Get(cluster), count) << cluster;
    blocks[cluster / 300] = true;
  }
  EXPECT_EQ(counts.Get(12'345), 0u);
  std::vector<uint64_t> expected;
  for (const auto& [block, used] : blocks) expected.push_back(block);
  EXPECT_EQ(counts.Quotients(300), expected);
}

TEST(ReferenceCountsTest, SaysWhenItsMemoryIsUsedUp) {
  ReferenceCounts counts(uint64_t{1} << 40, 1u << 20);
  uint64_t added = 0;
  while (added < 10'000 && counts.Add(added << 20)) ++added;
  EXPECT_GT(added, 1'000u);
  EXPECT_LT(added, 2'000u);
  EXPECT_EQ(counts.Get(added << 20), 0u);
}

TEST(ReferenceCountsTest, SaysWhenOneClusterCountsTooMuch) {
  ReferenceCounts counts(10, 1u << 20);
  for (uint64_t i = 0; i < ReferenceCounts::kMaxCount; ++i) ASSERT_TRUE(counts.Add(3));
  EXPECT_FALSE(counts.Add(3));
  EXPECT_EQ(counts.Get(3), ReferenceCounts::kMaxCount);
}

}  // namespace
}  // namespace chainfs::qcow2

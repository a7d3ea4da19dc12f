// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_set.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/random.h"

namespace chainfs::qcow2 {
namespace {

TEST(ClusterSet, SaysWhereRunsOverlap) {
  uint64_t overlap = 0;
  EXPECT_TRUE(ClusterSet::Make({{5, 2}, {0, 1}, {7, 1}}, overlap));
  EXPECT_FALSE(ClusterSet::Make({{5, 2}, {0, 1}, {6, 1}}, overlap));
  EXPECT_EQ(overlap, 6u);
  EXPECT_FALSE(ClusterSet::Make({{3, 1}, {3, 1}}, overlap));
  EXPECT_TRUE(ClusterSet::Make({}, overlap));
}

TEST(ClusterSet, KeepsNeighboursAsOneRun) {
  uint64_t overlap = 0;
  std::vector<ClusterSet::Run> runs;
  for (uint64_t i = 0; i < 1000; ++i) runs.push_back({999 - i, 1});
  const auto set = ClusterSet::Make(std::move(runs), overlap);
  ASSERT_TRUE(set);
  EXPECT_EQ(set->memory_bytes(), sizeof(ClusterSet::Run));
  EXPECT_TRUE(set->Contains(999, 1));
  EXPECT_FALSE(set->Contains(1000, 5));
}

TEST(ClusterSet, IsASet) {
  Random random;
  ClusterSet set;
  std::set<uint64_t> model;
  for (int round = 0; round < 20000; ++round) {
    const uint64_t first = random.Below(200);
    const uint64_t count = random.Below(12);
    switch (random.Below(3)) {
      case 0:
        set.Add(first, count);
        for (uint64_t i = 0; i < count; ++i) model.insert(first + i);
        break;
      case 1:
        set.Remove(first, count);
        for (uint64_t i = 0; i < count; ++i) model.erase(first + i);
        break;
      default: {
        const auto next = model.lower_bound(first);
        const bool expected = next != model.end() && *next < first + count;
        ASSERT_EQ(set.Contains(first, count), expected) << first << " " << count;
      }
    }
  }
}

}  // namespace
}  // namespace chainfs::qcow2

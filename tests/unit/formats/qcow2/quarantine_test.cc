// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/quarantine.h"

#include <gtest/gtest.h>

namespace chainfs::qcow2 {
namespace {

using Clusters = std::vector<uint64_t>;

// Q2-3.
TEST(QuarantineTest, LetsGoTwoEpochsLater) {
  Quarantine quarantine;
  quarantine.Add(Clusters{7, 5}, 3);
  EXPECT_FALSE(quarantine.empty());
  EXPECT_EQ(quarantine.TakeReleasable(3), Clusters());
  EXPECT_EQ(quarantine.TakeReleasable(4), Clusters());
  EXPECT_EQ(quarantine.TakeReleasable(5), (Clusters{5, 7})) << "sorted";
  EXPECT_TRUE(quarantine.empty());
  EXPECT_EQ(quarantine.TakeReleasable(9), Clusters()) << "and once";
}

TEST(QuarantineTest, EachReferenceCounts) {
  Quarantine quarantine;
  quarantine.Add(Clusters{8, 8}, 0);
  quarantine.Add(Clusters{8}, 1);
  EXPECT_EQ(quarantine.TakeReleasable(2), (Clusters{8, 8}));
  EXPECT_EQ(quarantine.TakeReleasable(3), (Clusters{8}));
}

}  // namespace
}  // namespace chainfs::qcow2

// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/cluster_keys.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

Result<ClusterKeys> Wanted(const std::string& size, const std::string& divided) {
  verbs::Arguments arguments;
  if (!size.empty()) arguments.Set("cluster_size", size);
  if (!divided.empty()) arguments.Set("extended_l2", divided);
  return ClustersWanted(arguments);
}

TEST(ClusterKeysTest, WhatIsNotSaidIsLeftOpen) {
  const auto nothing = Wanted("", "");
  ASSERT_TRUE(nothing);
  EXPECT_EQ(nothing->bits, 16u);
  EXPECT_EQ(nothing->subclusters, std::nullopt);
  EXPECT_EQ(Wanted("512", "")->bits, 9u);
  EXPECT_EQ(Wanted("2M", "")->bits, 21u);
  EXPECT_EQ(Wanted("16k", "on")->subclusters, true);
  EXPECT_EQ(Wanted("8k", "off")->subclusters, false);
}

TEST(ClusterKeysTest, WhatThereIsNotIsRefused) {
  for (const char* const size : {"256", "4M", "65000", "0"}) {
    const auto refused = Wanted(size, "");
    ASSERT_FALSE(refused) << size;
    EXPECT_EQ(refused.error().message, "cluster_size must be a power of two from 512 to 2M");
  }
  const auto refused = Wanted("8k", "on");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused.error().message, "extended_l2 needs a cluster_size of at least 16k");
}

}  // namespace
}  // namespace chainfs::jobs

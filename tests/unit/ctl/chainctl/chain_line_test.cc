// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/chain_line.h"

#include <gtest/gtest.h>

namespace chainfs::chainctl {
namespace {

TEST(ChainLineTest, BeginsWithTheBase) {
  EXPECT_EQ(ChainLine({}), "");
  EXPECT_EQ(ChainLine({"/images/vm1.qcow2"}), "[vm1.qcow2]");
  EXPECT_EQ(ChainLine({"/a/vm1.qcow2", "/b/mid.qcow2", "base.raw"}),
            "[base.raw] <- [mid.qcow2] <- [vm1.qcow2]");
}

TEST(ChainLineTest, NamesBothEndsOfALongChain) {
  std::vector<std::string> layers;
  for (int i = 0; i < 9; ++i) layers.push_back("/" + std::to_string(i));
  EXPECT_EQ(ChainLine(layers), "[8] <- [7] <- [6] <- [5] <- [4] <- [3] <- [2] <- [1] <- [0]");
  layers.push_back("/9");
  EXPECT_EQ(ChainLine(layers), "[9] <- [8] <- [7] <- [6] <- (2 more) <- [3] <- [2] <- [1] <- [0]");
}

TEST(ChainLineTest, ShowsNoControlCharacters) { EXPECT_EQ(ChainLine({"/a\x1b[2J"}), "[a?[2J]"); }

}  // namespace
}  // namespace chainfs::chainctl

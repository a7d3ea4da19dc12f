// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/nearest.h"

#include <gtest/gtest.h>

namespace chainfs::chainctl {
namespace {

const std::vector<std::string> kVerbs = {"list", "info", "stream", "snapshot", "umount"};

TEST(NearestWord, FindsWhatWasMeant) {
  EXPECT_EQ(NearestWord("lst", kVerbs), "list");
  EXPECT_EQ(NearestWord("ifno", kVerbs), "info");
  EXPECT_EQ(NearestWord("steam", kVerbs), "stream");
  EXPECT_EQ(NearestWord("snap", kVerbs), "snapshot");
  EXPECT_EQ(NearestWord("unmount", kVerbs), "umount");
  EXPECT_EQ(NearestWord("foo", kVerbs), std::nullopt);
}

TEST(NearestWord, SaysNothingWhereNothingIsClose) {
  EXPECT_EQ(NearestWord("", kVerbs), std::nullopt);
  EXPECT_EQ(NearestWord("frobnicate", kVerbs), std::nullopt);
  EXPECT_EQ(NearestWord(std::string(100000, 'x'), kVerbs), std::nullopt);
  EXPECT_EQ(NearestWord("list", {}), std::nullopt);
}

}  // namespace
}  // namespace chainfs::chainctl

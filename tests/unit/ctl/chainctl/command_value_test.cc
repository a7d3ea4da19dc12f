// SPDX-License-Identifier: Apache-2.0
//
// The text of commands: a comma in a value is doubled, -v prints a line that a shell can run, made
// ids are legal.
#include "ctl/chainctl/command_value.h"

#include <gtest/gtest.h>

namespace chainfs::chainctl {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

TEST(CommandValueTest, JoinsAndDoublesCommas) {
  CommandValue value;
  value.Add("base", "/img/a,b.qcow2").AddIf("top", std::nullopt).AddIf("speed", "5").Add("id", "j");
  EXPECT_EQ(value.text(), "base=/img/a,,b.qcow2,speed=5,id=j");
}

TEST(CommandValueTest, OnlyCommasAndAnEmptyValue) {
  EXPECT_EQ(CommandValue().Add("target", ",,").Add("id", "").text(), "target=,,,,,id=");
}

TEST(SplitOptionsTest, UndoesTheDoubling) {
  EXPECT_EQ(*SplitOptions("cluster_size=64k,compat=1.1"),
            (Pairs{{"cluster_size", "64k"}, {"compat", "1.1"}}));
  EXPECT_EQ(*SplitOptions("a=x,,y,b="), (Pairs{{"a", "x,y"}, {"b", ""}}));
  EXPECT_EQ(*SplitOptions("a=b=c"), (Pairs{{"a", "b=c"}}));
}

TEST(SplitOptionsTest, RefusesMalformedItems) {
  for (const char* const list : {"", "a", "=b", "a=1,", ",a=1", "a=1,a=2"}) {
    EXPECT_FALSE(SplitOptions(list).has_value()) << list;
  }
}

TEST(SetfattrLineTest, QuotesForShellAndSetfattr) {
  EXPECT_EQ(SetfattrLine("stream", "base=b.qcow2,id=j1", "/mnt/vm1.raw"),
            "setfattr -n user.chainfs.stream -v base=b.qcow2,id=j1 /mnt/vm1.raw");
  EXPECT_EQ(SetfattrLine("flush", "", "/mnt/my vm.raw"),
            "setfattr -n user.chainfs.flush -v '' '/mnt/my vm.raw'");
  EXPECT_EQ(SetfattrLine("snapshot", R"(target=it's\x)", "-d"),
            R"(setfattr -n user.chainfs.snapshot -v 'target=it'\''s\\x' ./-d)");
}

TEST(JobIdTest, MadeIdsAreLegalAndDistinct) {
  const std::string first = NewJobId("stream");
  EXPECT_TRUE(IsPlausibleJobId(first)) << first;
  EXPECT_NE(first, NewJobId("stream"));
}

TEST(JobIdTest, RefusesWhatTheDaemonWould) {
  EXPECT_TRUE(IsPlausibleJobId("a"));
  EXPECT_TRUE(IsPlausibleJobId("Job_1.x-2"));
  for (const std::string& id :
       {std::string(), std::string("1a"), std::string("a b"), std::string("a,b"), std::string("-a"),
        std::string("a/b"), std::string("\xc3\xa4"), std::string(129, 'a')}) {
    EXPECT_FALSE(IsPlausibleJobId(id)) << id;
  }
}

}  // namespace
}  // namespace chainfs::chainctl

// SPDX-License-Identifier: Apache-2.0
//
// The syntax of command values: what is taken, and that everything odd is refused with EINVAL's
// kind and nothing else.
#include "ctl/verbs/arguments.h"

#include <gtest/gtest.h>

#include <string>

namespace chainfs::verbs {
namespace {

const std::vector<std::string_view> kKnown = {"base", "top", "speed", "id", "dry-run"};

Result<Arguments> Parse(std::string_view value) { return Arguments::Parse(value, kKnown); }

TEST(CommandParser, EmptyValueTakesTheDefaults) {
  const auto arguments = Parse("");
  ASSERT_TRUE(arguments);
  EXPECT_FALSE(arguments->Has("base"));
  EXPECT_EQ(arguments->Text("base"), std::nullopt);
}

TEST(CommandParser, ReadsKeysAndValues) {
  const auto arguments = Parse("base=/img/base.qcow2,id=j1");
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->Text("base"), "/img/base.qcow2");
  EXPECT_EQ(arguments->Text("id"), "j1");
}

TEST(CommandParser, DoubledCommaIsAComma) {
  const auto arguments = Parse("base=a,,b,,,id=x");
  ASSERT_TRUE(arguments) << arguments.error().message;
  EXPECT_EQ(arguments->Text("base"), "a,b,");
  EXPECT_EQ(arguments->Text("id"), "x");
}

TEST(CommandParser, ValuesMayContainEqualsSignsAndBeEmpty) {
  const auto arguments = Parse("base=a=b,top=");
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->Text("base"), "a=b");
  EXPECT_EQ(arguments->Text("top"), "");
}

TEST(CommandParser, TrailingNewlinesAndNulsAreDropped) {
  const auto arguments = Parse(std::string_view("id=j1\n\0", 7));
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->Text("id"), "j1");
  EXPECT_TRUE(Parse("\n"));
}

TEST(CommandParser, RefusesWhatIsMalformed) {
  for (const std::string& value :
       {std::string("base"), std::string("=x"), std::string("base=1,"), std::string(",base=1"),
        std::string("base=1,base=2"), std::string("colour=red"), std::string("base=a\nb"),
        std::string("id=\x7f"), std::string("id=a\0b", 6), std::string("Base=1"),
        std::string("{\"base\":1}"), std::string(kMaxCommandBytes + 1, 'x')}) {
    const auto arguments = Parse(value);
    ASSERT_FALSE(arguments) << value;
    EXPECT_EQ(arguments.error().kind, ErrorKind::kInvalidArgument) << value;
    EXPECT_EQ(arguments.error().message.find('\n'), std::string::npos);
  }
}

TEST(CommandParser, TheLongestValueIsTaken) {
  const std::string value = "base=" + std::string(kMaxCommandBytes - 5, 'x');
  EXPECT_TRUE(Parse(value));
}

TEST(CommandParser, SizesHaveSuffixes) {
  struct Case {
    const char* text;
    uint64_t bytes;
  };
  for (const Case& c : {Case{"0", 0}, Case{"512", 512}, Case{"3k", 3072}, Case{"50M", 50ull << 20},
                        Case{"2G", 2ull << 30}, Case{"1T", 1ull << 40}, Case{"1K", 1024}}) {
    const auto arguments = Parse(std::string("speed=") + c.text);
    ASSERT_TRUE(arguments);
    const auto size = arguments->Size("speed");
    ASSERT_TRUE(size) << c.text;
    EXPECT_EQ(*size, c.bytes) << c.text;
  }
}

TEST(CommandParser, RefusesWhatIsNoSize) {
  for (const char* text : {"", "M", "-1", "+1", " 1", "1 ", "1.5M", "1e400", "0x10", "1MB",
                           "18446744073709551616", "99999999999G", "ten"}) {
    const auto arguments = Parse(std::string("speed=") + text);
    ASSERT_TRUE(arguments);
    const auto size = arguments->Size("speed");
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_NE(size.error().message.find("speed"), std::string::npos);
  }
}

TEST(CommandParser, SwitchesAreWords) {
  const auto on = Parse("dry-run=yes");
  ASSERT_TRUE(on);
  EXPECT_EQ(on->Switch("dry-run", false), true);
  const auto off = Parse("dry-run=off");
  ASSERT_TRUE(off);
  EXPECT_EQ(off->Switch("dry-run", true), false);
  EXPECT_EQ(off->Switch("id", true), true);
  const auto odd = Parse("dry-run=maybe");
  ASSERT_TRUE(odd);
  EXPECT_FALSE(odd->Switch("dry-run", false));
}

}  // namespace
}  // namespace chainfs::verbs

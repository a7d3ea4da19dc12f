// SPDX-License-Identifier: Apache-2.0
//
// The syntax of command values: what is taken, and that everything odd is refused with EINVAL's
// kind and nothing else.
#include "ctl/verbs/arguments.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

namespace chainfs::verbs {
namespace {

// Types are another test's; so any text is a value here.
constexpr std::array kKeys = {
    Key{"base", KeyType::kText, "", ""}, Key{"top", KeyType::kText, "", ""},
    Key{"speed", KeyType::kText, "", ""}, Key{"id", KeyType::kText, "", ""},
    Key{"dry-run", KeyType::kText, "", ""}};

Result<Arguments> Parse(std::string_view value) { return Arguments::Parse(value, kKeys); }

TEST(ArgumentsTest, EmptyValueTakesTheDefaults) {
  const auto arguments = Parse("");
  ASSERT_TRUE(arguments);
  EXPECT_FALSE(arguments->Has("base"));
  EXPECT_EQ(arguments->Text("base"), std::nullopt);
}

TEST(ArgumentsTest, ReadsKeysAndValues) {
  const auto arguments = Parse("base=/img/base.qcow2,id=j1");
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->Text("base"), "/img/base.qcow2");
  EXPECT_EQ(arguments->Text("id"), "j1");
}

TEST(ArgumentsTest, DoubledCommaIsAComma) {
  const auto arguments = Parse("base=a,,b,,,id=x");
  ASSERT_TRUE(arguments) << arguments.error().message;
  EXPECT_EQ(arguments->Text("base"), "a,b,");
  EXPECT_EQ(arguments->Text("id"), "x");
}

TEST(ArgumentsTest, ValuesMayContainEqualsSignsAndBeEmpty) {
  const auto arguments = Parse("base=a=b,top=");
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->Text("base"), "a=b");
  EXPECT_EQ(arguments->Text("top"), "");
}

TEST(ArgumentsTest, TrailingNewlinesAndNulsAreDropped) {
  const auto arguments = Parse(std::string_view("id=j1\n\0", 7));
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->Text("id"), "j1");
  EXPECT_TRUE(Parse("\n"));
}

TEST(ArgumentsTest, RefusesWhatIsMalformed) {
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

TEST(ArgumentsTest, TheLongestValueIsTaken) {
  const std::string value = "base=" + std::string(kMaxCommandBytes - 5, 'x');
  EXPECT_TRUE(Parse(value));
}

TEST(ArgumentsTest, SizesHaveSuffixes) {
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

TEST(ArgumentsTest, RefusesWhatIsNoSize) {
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

TEST(ArgumentsTest, SwitchesAreWords) {
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

TEST(ArgumentsTest, ParseChecksTypesAndWhatIsRequired) {
  constexpr std::array keys = {Key{"limit", KeyType::kRate, "Bytes per second", "", {}, true},
                               Key{"id", KeyType::kNewId, "Name of the job", "a new name"}};
  EXPECT_EQ(*Arguments::Parse("limit=5k", keys)->Size("limit"), 5120U);
  EXPECT_EQ(Arguments::Parse("limit=fast", keys).error().message,
            "limit=fast is not a size; write bytes, or a number with k, M, G or T");
  EXPECT_EQ(Arguments::Parse("id=j1", keys).error().message, "limit= is missing: Bytes per second");
  EXPECT_FALSE(Arguments::Parse("limit=1,id=7up", keys));
  EXPECT_EQ(Arguments::Split("id=7up", keys)->Text("id"), "7up");
  EXPECT_EQ(Arguments::Split("ids=1", keys).error().message,
            "unknown key \"ids\"; known are limit, id");
}

TEST(ArgumentsTest, FormatDoublesCommasAndKeepsTheOrder) {
  Arguments arguments;
  arguments.Set("top", "/img/a,b.qcow2").SetIf("base", std::nullopt).SetIf("speed", "5");
  arguments.Set("id", "").Set("speed", "6");
  EXPECT_EQ(arguments.Format(), "top=/img/a,,b.qcow2,speed=6,id=");
  EXPECT_EQ(Arguments().Format(), "");
  EXPECT_EQ(Arguments().Set("top", ",,").Set("id", "x").Format(), "top=,,,,,id=x");
}

TEST(ArgumentsTest, ParseUndoesFormat) {
  std::mt19937 random(20);
  constexpr std::string_view kLetters = ",=\\\"' ax;/\xc3\xa4";
  for (int round = 0; round < 2000; ++round) {
    Arguments arguments;
    for (const Key& key : kKeys) {
      if (random() % 3 == 0) continue;
      std::string value;
      for (auto length = random() % 8; length > 0; --length) {
        value += kLetters[random() % kLetters.size()];
      }
      arguments.Set(key.name, value);
    }
    const Result<Arguments> again = Parse(arguments.Format());
    ASSERT_TRUE(again) << arguments.Format();
    EXPECT_EQ(*again, arguments) << arguments.Format();
  }
}

}  // namespace
}  // namespace chainfs::verbs

// SPDX-License-Identifier: Apache-2.0
//
// What may be a value of a key of each type, and how values are called.
#include "ctl/verbs/key.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace chainfs::verbs {
namespace {

constexpr std::array<std::string_view, 2> kWords = {"stop", "go"};

Key OfType(KeyType type) { return {"key", type, "help", "", kWords}; }

struct Case {
  KeyType type;
  std::vector<std::string> good;
  std::vector<std::string> bad;
  std::string value_name;
};

TEST(KeyTest, EachTypeTakesItsValues) {
  const std::vector<Case> cases = {
      {KeyType::kText, {"", "a", "a=b,c"}, {}, "TEXT"},
      {KeyType::kLayer, {"base.qcow2", "/img/a b"}, {""}, "LAYER"},
      {KeyType::kFile, {"x"}, {""}, "FILE"},
      {KeyType::kDisk, {"vm1"}, {""}, "NAME"},
      {KeyType::kJobId, {"7up"}, {""}, "ID"},
      {KeyType::kNewId, {"a", "Job_1.x-2"}, {"", "7up", "a b", std::string(129, 'a')}, "ID"},
      {KeyType::kNumber, {"0", "17"}, {"", "-1", "1k", "0x1"}, "N"},
      {KeyType::kSize, {"0", "1k", "2T"}, {"", "1.5M", "1MB", "fast"}, "SIZE"},
      {KeyType::kRate, {"0", "50M"}, {"", "M"}, "RATE"},
      {KeyType::kSwitch, {"yes", "off", "1"}, {"", "maybe"}, "yes|no"},
      {KeyType::kWord, {"stop", "go"}, {"", "Stop"}, "stop|go"},
  };
  for (const Case& c : cases) {
    const Key key = OfType(c.type);
    EXPECT_EQ(ValueName(key), c.value_name);
    for (const std::string& text : c.good) EXPECT_TRUE(CheckValue(key, text)) << text;
    for (const std::string& text : c.bad) {
      const Status checked = CheckValue(key, text);
      ASSERT_FALSE(checked) << c.value_name << " " << text;
      EXPECT_EQ(checked.error().kind, ErrorKind::kInvalidArgument);
    }
  }
}

TEST(KeyTest, RefusalsNameTheKeyAndWhatWouldBeRight) {
  EXPECT_EQ(CheckValue(OfType(KeyType::kWord), "halt").error().message,
            "key=halt is not one of stop, go");
  EXPECT_EQ(CheckValue(OfType(KeyType::kLayer), "").error().message, "key= has no value");
}

TEST(KeyTest, KeysAreFoundByName) {
  const std::array keys = {Key{"a", KeyType::kText, "", ""}, Key{"b", KeyType::kText, "", ""}};
  EXPECT_EQ(FindKey(keys, "b"), &keys[1]);
  EXPECT_EQ(FindKey(keys, "c"), nullptr);
  EXPECT_EQ(KeyNames(keys), "a, b");
}

}  // namespace
}  // namespace chainfs::verbs

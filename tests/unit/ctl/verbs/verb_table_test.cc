// SPDX-License-Identifier: Apache-2.0
//
// The table of verbs is well formed: names are legal and unique, each row has its help, examples
// are taken by their own row, and every verb can be rehearsed.
#include "ctl/verbs/verb_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <string>

#include "ctl/verbs/arguments.h"

namespace chainfs::verbs {
namespace {

bool IsWord(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '-' || c == '_';
  });
}

// A line for people: begins like a sentence and does not end like one.
void ExpectHelp(std::string_view help) {
  ASSERT_FALSE(help.empty());
  EXPECT_TRUE(std::isupper(static_cast<unsigned char>(help.front())) != 0) << help;
  EXPECT_NE(help.back(), '.') << help;
  EXPECT_EQ(help.find('\n'), std::string_view::npos) << help;
}

void ExpectKeys(std::span<const Key> keys) {
  std::set<std::string_view> names;
  for (const Key& key : keys) {
    EXPECT_TRUE(IsWord(key.name)) << key.name;
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    ExpectHelp(key.help);
    EXPECT_EQ(key.type == KeyType::kWord, !key.words.empty()) << key.name;
    EXPECT_TRUE(!key.required || key.otherwise.empty()) << key.name;
  }
}

TEST(VerbTableTest, RowsAreWellFormed) {
  std::set<std::string_view> names;
  for (const Verb& verb : Verbs()) {
    SCOPED_TRACE(verb.name);
    EXPECT_TRUE(IsWord(verb.name));
    EXPECT_TRUE(names.insert(verb.name).second);
    ExpectHelp(verb.help);
    ExpectKeys(verb.keys);
    EXPECT_NE(FindKey(verb.keys, "dry-run"), nullptr);
    const Key* const id = FindKey(verb.keys, "id");
    EXPECT_EQ(id != nullptr && id->type == KeyType::kJobId, verb.on_job);
    EXPECT_EQ(FindVerb(Verbs(), verb.name), &verb);
  }
  ExpectKeys(FormatKeys());
}

TEST(VerbTableTest, ExamplesAreTakenByTheirRow) {
  for (const Verb& verb : Verbs()) {
    const Result<Arguments> parsed = Arguments::Parse(verb.example, verb.keys);
    EXPECT_TRUE(parsed) << verb.name << ": " << parsed.error().message;
  }
}

// What a new verb needs: a row. Parser, error texts and names come from it.
TEST(VerbTableTest, ANewVerbIsARow) {
  static constexpr std::array<std::string_view, 2> kDirections = {"left", "right"};
  static constexpr std::array kKeys = {
      Key{"by", KeyType::kSize, "How far to turn", "", {}, true},
      Key{"towards", KeyType::kWord, "Where to turn", "left", kDirections, false},
  };
  static constexpr std::array kToys = {
      Verb{"turn", "Turn a disk", "by=4k", Scope::kDisk, DryRun::kChecks, Caller::kRoot, false,
           kKeys},
      Verb{"stop",
           "Stop turning",
           "",
           Scope::kBoth,
           DryRun::kChecks,
           Caller::kController,
           false,
           {}},
  };
  EXPECT_EQ(VerbNames(kToys), "turn, stop");
  const Verb* const turn = FindVerb(kToys, "turn");
  ASSERT_NE(turn, nullptr);
  EXPECT_EQ(*Arguments::Parse("towards=right,by=2M", turn->keys)->Size("by"), 2U << 20);
  EXPECT_EQ(Arguments::Parse("towards=up,by=1", turn->keys).error().message,
            "towards=up is not one of left, right");
  EXPECT_EQ(Arguments::Parse("", turn->keys).error().message, "by= is missing: How far to turn");
  EXPECT_EQ(Arguments::Parse("speed=1", turn->keys).error().message,
            "unknown key \"speed\"; known are by, towards");
  EXPECT_EQ(FindVerb(kToys, "turm"), nullptr);
}

}  // namespace
}  // namespace chainfs::verbs

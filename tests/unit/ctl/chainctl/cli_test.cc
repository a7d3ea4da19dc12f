// SPDX-License-Identifier: Apache-2.0
//
// What a new verb needs on the command line: a row. Options that are keys come from the table of
// verbs, sizes are sent in bytes, and a bad value is a usage error.
#include "ctl/chainctl/cli.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/verb_rows.h"

namespace chainfs::chainctl {
namespace {

std::string g_sent;  // what the toy would have sent
bool g_quiet = false;

constexpr std::array<std::string_view, 2> kDirections = {"left", "right"};
constexpr std::array kTurnKeys = {
    verbs::Key{"by", verbs::KeyType::kSize, "How far to turn", "1", {}, false},
    verbs::Key{"towards", verbs::KeyType::kWord, "Where to turn", "left", kDirections, false},
    verbs::Key{"times", verbs::KeyType::kNumber, "How often", "1", {}, false},
    verbs::Key{"gently", verbs::KeyType::kSwitch, "Take time", "no", {}, false},
    verbs::Key{"id", verbs::KeyType::kNewId, "Name of the job", "a new name", {}, false},
};
constexpr verbs::Verb kTurn = {"turn",
                               "Turn a disk",
                               "by=4k",
                               verbs::Scope::kDisk,
                               verbs::DryRun::kChecks,
                               verbs::Caller::kController,
                               false,
                               kTurnKeys};

struct TurnOptions {
  std::string disk;
  verbs::Arguments arguments;
};

VerbRow TurnVerb() {
  return {.name = kTurn.name,
          .help = kTurn.help,
          .examples = "chainctl turn vm1.raw --by 4k\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<TurnOptions>();
            AddDisk(verb, options->disk);
            AddKeyOptions(verb, kTurn, {}, options->arguments);
            return [options](const CommonOptions& common) -> Result<ExitCode> {
              CHAINFS_ASSIGN(const verbs::Arguments sent, AsSent(options->arguments, kTurn.keys));
              g_sent = options->disk + ":" + sent.Format();
              g_quiet = common.quiet;
              return ExitCode::kDone;
            };
          }};
}

int Chainctl(std::vector<std::string> words) {
  g_sent.clear();
  const std::vector<VerbRow> rows = {TurnVerb()};
  words.insert(words.begin(), "chainctl");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return RunVerbs(rows, static_cast<int>(words.size()), argv.data());
}

TEST(CliTest, ANewVerbIsARow) {
  EXPECT_EQ(Chainctl({"turn", "vm1.raw"}), 0);
  EXPECT_EQ(g_sent, "vm1.raw:");
  EXPECT_FALSE(g_quiet);
  EXPECT_EQ(Chainctl({"turn", "--gently", "--by", "1.5k", "vm1.raw", "--towards", "right", "-q",
                      "--times=3"}),
            0);
  EXPECT_EQ(g_sent, "vm1.raw:by=1536,towards=right,times=3,gently=yes");
  EXPECT_TRUE(g_quiet);
}

TEST(CliTest, BadValuesAreUsageErrors) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"turn"},
                                             {"turn", "vm1.raw", "--by", "far"},
                                             {"turn", "vm1.raw", "--towards", "up"},
                                             {"turn", "vm1.raw", "--times", "x"},
                                             {"turn", "vm1.raw", "--id", "7up"},
                                             {"turn", "vm1.raw", "--frob"},
                                             {"stream", "vm1.raw"}}) {
    EXPECT_EQ(Chainctl(words), 2) << words.back();
    EXPECT_EQ(g_sent, "");
  }
}

TEST(CliTest, VerbsDescribeThemselves) {
  const std::vector<VerbRow> rows = {TurnVerb()};
  const std::vector<DescribedVerb> described = DescribeVerbs(rows);
  ASSERT_EQ(described.size(), 1U);
  EXPECT_EQ(described[0].name, "turn");
  EXPECT_EQ(described[0].operands, std::vector<std::string>{"DISK"});
  for (const char* const option :
       {"--by", "--towards", "--times", "--gently", "--id", "--json", "-v", "--verbose", "-q"}) {
    EXPECT_NE(std::ranges::find(described[0].options, option), described[0].options.end())
        << option;
  }
}

// The verbs that give a command are those of the table: who adds a row there is reminded of this
// side.
TEST(CliTest, EveryCommandThatPeopleGiveHasAVerb) {
  const std::vector<VerbRow> rows = VerbRows();
  for (const verbs::Verb& verb : verbs::Verbs()) {
    if (verb.name == "release-events") continue;  // umount gives it
    const auto row = std::ranges::find(rows, verb.name, &VerbRow::name);
    ASSERT_NE(row, rows.end()) << verb.name;
    EXPECT_TRUE(row->sends) << verb.name;
  }
  for (const VerbRow& row : rows) {
    EXPECT_FALSE(row.help.ends_with('.')) << row.name;
    EXPECT_TRUE(row.examples.starts_with("chainctl " + std::string(row.name))) << row.name;
    EXPECT_TRUE(row.examples.ends_with('\n')) << row.name;
    const bool known = verbs::FindVerb(verbs::Verbs(), row.name) != nullptr;
    EXPECT_EQ(row.sends, known) << row.name;
  }
}

}  // namespace
}  // namespace chainfs::chainctl

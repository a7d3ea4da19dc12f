// SPDX-License-Identifier: Apache-2.0
//
// The completion of bash offers what chainctl takes: its verbs, the options of each, and the words
// that an option may have. It is run as bash would run it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "ctl/chainctl/cli.h"
#include "ctl/chainctl/verb_rows.h"
#include "ctl/verbs/verb_table.h"
#include "tests/support/command.h"

namespace chainfs {
namespace {

using Words = std::set<std::string>;

// What is offered for the last of the words.
Words Offered(const std::vector<std::string>& words) {
  const char* const top = std::getenv("CHAINFS_SOURCE_DIR");
  const std::string script = fmt::format(
      ". '{}/packaging/completions/chainctl.bash'\n"
      "COMP_WORDS=('{}')\nCOMP_CWORD={}\ncompopt() {{ :; }}\n"
      "_chainctl\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
      top != nullptr ? top : ".", fmt::join(words, "' '"), words.size() - 1);
  const CommandResult run = RunCommand({"bash", "--norc", "-c", script});
  EXPECT_EQ(run.err, "") << run.Describe();
  Words offered;
  std::istringstream lines(run.out);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) offered.insert(line);
  }
  return offered;
}

TEST(CompletionTest, EveryVerb) {
  Words verbs = {"--help", "--version"};
  for (const chainctl::VerbRow& row : chainctl::VerbRows()) verbs.emplace(row.name);
  EXPECT_EQ(Offered({"chainctl", ""}), verbs);
}

TEST(CompletionTest, EveryOptionOfEveryVerb) {
  const std::vector<chainctl::VerbRow> rows = chainctl::VerbRows();
  for (const chainctl::DescribedVerb& verb : chainctl::DescribeVerbs(rows)) {
    SCOPED_TRACE(verb.name);
    // Of an option with two names, the long one; -o has no other.
    Words options;
    for (const std::string& option : verb.options) {
      if (option.starts_with("--") || option == "-o") options.insert(option);
    }
    EXPECT_EQ(Offered({"chainctl", verb.name, "-"}), options);
  }
}

TEST(CompletionTest, WordsOfOptions) {
  const verbs::Verb* const stream = verbs::FindVerb(verbs::Verbs(), "stream");
  const verbs::Key* const on_error = verbs::FindKey(stream->keys, "on-error");
  EXPECT_EQ(Offered({"chainctl", "stream", "--on-error", ""}),
            Words(on_error->words.begin(), on_error->words.end()));
  Words keys;
  Words of_snapshot;
  const verbs::Verb* const snapshot = verbs::FindVerb(verbs::Verbs(), "snapshot");
  for (const verbs::Key& key : verbs::FormatKeys()) {
    const std::string word = fmt::format("{}=", key.name);
    keys.insert(word);
    if (verbs::FindKey(snapshot->keys, key.name) != nullptr) of_snapshot.insert(word);
  }
  EXPECT_EQ(Offered({"chainctl", "create", "-o", ""}), keys);
  EXPECT_EQ(Offered({"chainctl", "snapshot", "-o", ""}), of_snapshot);
}

}  // namespace
}  // namespace chainfs

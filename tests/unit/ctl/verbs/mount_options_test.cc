// SPDX-License-Identifier: Apache-2.0
//
// The table of mount options is well formed, and the help made of it fits a terminal's line.
#include "ctl/verbs/mount_options.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

namespace chainfs::verbs {
namespace {

TEST(MountOptionsTest, RowsAreWellFormed) {
  std::set<std::string_view> names;
  for (const MountOption& option : MountOptions()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_EQ(FindMountOption(option.name), &option);
    const bool ours = option.meant_for == OptionFor::kDaemon;
    EXPECT_EQ(!option.help.empty(), ours) << option.name;
    EXPECT_FALSE(option.help.ends_with('.')) << option.name;
    EXPECT_EQ(!option.value_name.empty(), ours && option.value == OptionValue::kRequired)
        << option.name;
  }
  EXPECT_EQ(FindMountOption("no_such_option"), nullptr);
}

TEST(MountOptionsTest, HelpHasALineForEachOfOurs) {
  const std::string help = MountOptionsHelp();
  for (const MountOption& option : MountOptions()) {
    const std::string begin = "\n  " + std::string(option.name);
    const bool listed = ("\n" + help).contains(begin + " ") || ("\n" + help).contains(begin + "=");
    EXPECT_EQ(listed, option.meant_for == OptionFor::kDaemon) << option.name;
  }
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

}  // namespace
}  // namespace chainfs::verbs

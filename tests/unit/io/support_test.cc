// SPDX-License-Identifier: Apache-2.0
//
// The small tools of the tests: temporary directories, commands, random numbers.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "tests/support/command.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

TEST(Support, TempDirsGoAway) {
  std::string path;
  {
    const TempDir temp;
    path = temp.path();
    WriteTextFile(temp / "f", "text");
    EXPECT_EQ(ReadTextFile(temp / "f"), "text");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Support, CommandsReportEverything) {
  const CommandResult result =
      RunCommand({"sh", "-c", "cat; echo $X; pwd; echo e >&2; exit 3"},
                 {.working_directory = "/", .environment = {"X=y"}, .input = "in\n"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "in\ny\n/\n");
  EXPECT_EQ(result.err, "e\n");
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(RunCommand({"/no/such/program"}).exit_code, 127);
  EXPECT_EQ(RunCommand({"sh", "-c", "kill -9 $$"}).exit_code, 128 + SIGKILL);
  EXPECT_EQ(RunCommand({"sh", "-c", "head -c 300000 /dev/zero"}).out.size(), 300000u);
}

TEST(Support, HangingCommandsEnd) {
  const CommandResult result = RunCommand({"sleep", "1000"}, {.guard = std::chrono::seconds(0)});
  EXPECT_TRUE(result.timed_out);
  EXPECT_FALSE(result.ok());
}

TEST(Support, ADaemonThatKeepsTheStreamsDoesNotHoldTheTest) {
  const CommandResult result = RunCommand({"sh", "-c", "sleep 3 & echo started"});
  EXPECT_EQ(result.out, "started\n");
  EXPECT_TRUE(result.ok());
}

TEST(Support, CommandsTalk) {
  Command cat({"cat"});
  ASSERT_TRUE(cat.Write("one\n"));
  EXPECT_TRUE(cat.WaitForOutput("one"));
  ASSERT_TRUE(cat.Write("two\n"));
  EXPECT_TRUE(cat.WaitForOutput("two"));
  EXPECT_TRUE(cat.Wait().ok());
  EXPECT_FALSE(cat.WaitForOutput("three"));
}

TEST(Support, TheSameSeedGivesTheSameNumbers) {
  Random a(7), b(7), c(8);
  EXPECT_EQ(a.Next(), b.Next());
  EXPECT_NE(a.Next(), c.Next());
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = a.Between(5, 9);
    EXPECT_TRUE(value >= 5 && value <= 9);
  }
  EXPECT_EQ(TestSeed(), TestSeed());
}

}  // namespace
}  // namespace chainfs

// SPDX-License-Identifier: Apache-2.0
#include "fusefs/helper_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <thread>

#include "blocklayer/base/unique_fd.h"
#include "fusefs/connection_guard.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs::fusefs {
namespace {

std::optional<int> EndOf(HelperProcess& helper) {
  const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < guard) {
    if (const std::optional<int> code = helper.Ended()) return code;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return std::nullopt;
}

TEST(HelperProcess, TellsHowItEnded) {
  HelperProcess helper;
  EXPECT_FALSE(helper.Ended());
  EXPECT_FALSE(helper.Start("/nowhere/at/all", {"all"}, {}));
  EXPECT_FALSE(helper.running());
  ASSERT_TRUE(helper.Start("/bin/sh", {"sh", "-c", "exit 3"}, {}));
  EXPECT_FALSE(helper.Start("/bin/true", {"true"}, {})) << "one at a time";
  EXPECT_EQ(EndOf(helper), 3);
  EXPECT_FALSE(helper.running());
  ASSERT_TRUE(helper.Start("/bin/sh", {"sh", "-c", "exec sleep 1000"}, {}));
  EXPECT_FALSE(helper.Ended());
  helper.End();
  EXPECT_FALSE(helper.running());
}

// A pipe ends when we let go of it, whatever the helper does, and it hears signals that we do not.
TEST(HelperProcess, HasNoneOfOurFilesAndBlocksNoSignals) {
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  sigset_t term;
  sigset_t before;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &term, &before), 0);
  HelperProcess sleeper;
  ASSERT_TRUE(sleeper.Start("/bin/sh", {"sh", "-c", "exec sleep 1000"}, {}));
  HelperProcess signalled;
  EXPECT_TRUE(signalled.Start("/bin/sh", {"sh", "-c", "kill -TERM $$; exit 0"}, {}));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  to = UniqueFd();
  EXPECT_EQ(EndOf(signalled), -1);
  // The kernel closes them a moment after the other program has begun.
  const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  char byte = 0;
  ssize_t got = -1;
  while (got < 0 && std::chrono::steady_clock::now() < guard) got = ::read(from.get(), &byte, 1);
  EXPECT_EQ(got, 0);
  sleeper.End();
  EXPECT_FALSE(sleeper.running());
}

TEST(HelperProcess, HasTheFilesThatItIsGiven) {
  const TempDir dir;
  WriteTextFile(dir / "from", "words");
  const UniqueFd from(::open((dir / "from").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd to(::open((dir / "to").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  HelperProcess helper;
  ASSERT_TRUE(helper.Start("/bin/sh", {"sh", "-c", "exec cat >&3"},
                           {.input = from.get(), .more = to.get()}));
  EXPECT_EQ(EndOf(helper), 0);
  EXPECT_EQ(ReadTextFile(dir / "to"), "words");
}

// The guard by itself; tests/mount/killed_daemon_test.cc has it beside a daemon.
TEST(ConnectionGuard, AbortsWhenTheOtherEndIsGone) {
  const TempDir dir;
  const UniqueFd abort_switch(
      ::open((dir / "abort").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd lifeline(ends[0]);
  UniqueFd daemon(ends[1]);
  std::thread guard([&] { EXPECT_EQ(AbortAtEnd(lifeline.get(), abort_switch.get()), 0); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ReadTextFile(dir / "abort"), "");
  daemon = UniqueFd();
  guard.join();
  EXPECT_EQ(ReadTextFile(dir / "abort"), "1");
  // Nobody to guard, nothing to do it with.
  const ConnectionGuard none(-1, abort_switch.get(), "/bin/true");
  const ConnectionGuard nobody(lifeline.get(), abort_switch.get(), "/nowhere/at/all");
}

}  // namespace
}  // namespace chainfs::fusefs

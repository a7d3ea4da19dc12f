// SPDX-License-Identifier: Apache-2.0
//
// The keeper without a mount; with one it is in every test of tests/mount.
#include "fusefs/keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>

#include "fusefs/keeper_message.h"
#include "tests/support/temp_dir.h"

namespace chainfs::fusefs {
namespace {

TEST(KeeperMessage, CarriesWordsAndFiles) {
  UniqueFd one;
  UniqueFd other;
  ASSERT_TRUE(ConnectPair(one, other));
  const TempDir dir;
  WriteTextFile(dir / "file", "contents");
  const UniqueFd file(::open((dir / "file").c_str(), O_RDONLY | O_CLOEXEC));
  const int files[] = {file.get(), file.get()};
  ASSERT_TRUE(SendMessage(one.get(), {"a", "", "b c"}, files));
  ASSERT_TRUE(SendMessage(one.get(), {"next"}, {}));
  const auto first = ReceiveMessage(other.get());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->words, (std::vector<std::string>{"a", "", "b c"}));
  ASSERT_EQ(first->files.size(), 2u);
  char text[8] = {};
  EXPECT_EQ(::read(first->files[1].get(), text, sizeof text), 8);
  EXPECT_EQ(std::string(text, sizeof text), "contents");
  EXPECT_NE(::fcntl(first->files[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  const auto second = ReceiveMessage(other.get());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->words, std::vector<std::string>{"next"});
  EXPECT_TRUE(second->files.empty());
  EXPECT_FALSE(SendMessage(one.get(), {std::string(1 << 20, 'x')}, {})) << "too long";
  one = UniqueFd();
  EXPECT_FALSE(ReceiveMessage(other.get())) << "the end";
  EXPECT_FALSE(SendMessage(other.get(), {"nobody"}, {}));
}

// Files that come with a message which is refused are closed.
TEST(KeeperMessage, OneThatIsTooLongIsDropped) {
  UniqueFd one;
  UniqueFd other;
  ASSERT_TRUE(ConnectPair(one, other));
  std::string text((64 << 10) + 1, 'x');
  ASSERT_EQ(::send(one.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  EXPECT_FALSE(ReceiveMessage(other.get()));
}

Options WithPidFile(const TempDir& dir) {
  Options options;
  options.mountpoint = dir.path();
  options.pid_file = dir / "pid";
  options.sources = {{.path = dir.path()}};
  return options;
}

TEST(Keeper, KeepsThePidFileOfTheDaemon) {
  const TempDir dir;
  const Options options = WithPidFile(dir);
  const auto keeper = Keeper::Start(options);
  ASSERT_TRUE(keeper);
  ASSERT_TRUE((*keeper)->WritePidFile());
  EXPECT_EQ(ReadTextFile(dir / "pid"), std::to_string(::getpid()) + "\n");
  (*keeper)->RemovePidFile();
  EXPECT_NE(::access((dir / "pid").c_str(), F_OK), 0);
}

// What is mounted there is not ours, so nothing happens to it.
TEST(Keeper, TouchesNoOtherMount) {
  const TempDir dir;
  const Options options = WithPidFile(dir);
  const auto keeper = Keeper::Start(options);
  ASSERT_TRUE(keeper);
  EXPECT_TRUE((*keeper)->Unmount(UnmountMode::kPolite));
  EXPECT_TRUE((*keeper)->Unmount(UnmountMode::kLazy));
  EXPECT_FALSE((*keeper)->AbortSwitch().valid());
  (*keeper)->Sync();
  (*keeper)->RaiseReadAhead(1024);
  const UniqueFd answer =
      (*keeper)->TellLoops({.device = "0:52", .inode = 1, .size = 512, .loops = {}});
  ASSERT_TRUE(answer.valid());
  EXPECT_FALSE(ReceiveMessage(answer.get())) << "a task of another mount";
}

TEST(Keeper, EndsWithTheDaemonAndSaysWhenItIsGone) {
  const TempDir dir;
  const Options options = WithPidFile(dir);
  pid_t pid = 0;
  {
    const auto keeper = Keeper::Start(options);
    ASSERT_TRUE(keeper);
    pid = (*keeper)->pid();
    ASSERT_TRUE((*keeper)->WritePidFile());
    ::kill(pid, SIGTERM);
    ::kill(pid, SIGINT);
    ASSERT_TRUE((*keeper)->WritePidFile()) << "whoever stops the daemon does not stop it";
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  const auto keeper = Keeper::Start(options);
  ASSERT_TRUE(keeper);
  ::kill((*keeper)->pid(), SIGKILL);
  const Status written = [&] {
    // It may not have died yet.
    Status status;
    while (status) status = (*keeper)->WritePidFile();
    return status;
  }();
  EXPECT_NE(written.error().message.find("keeper"), std::string::npos) << written.error().message;
}

}  // namespace
}  // namespace chainfs::fusefs
